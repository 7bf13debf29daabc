/*
 * workers.h - one server on all cores: several workers, threads or processes,
 * each with a map and a listener of its own, which share nothing. For any
 * server whose clients need not know of each other; echo_server shows it.
 *
 *     struct workers w = { .count = 4, .server = &my_listeners_class };
 *
 *     if (workers_listen(&w, "0.0.0.0:8007", &address) < 0)
 *         ...
 *     status = workers_run();
 *
 * Threads are one program in one memory: cheaper, and one crash ends all.
 * Processes fall alone, and are started anew.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include <asyncore.h>

struct workers {
    int count;
    bool processes;                  /* or threads */
    const char *backend;             /* of their maps; NULL: the best */
    const asyncore_handlers *server; /* the class of their listeners */
    int64_t linger_ms;               /* see asyncore_stop_when_done */
    const char *name;                /* the program's, for messages */
};

/*
 * Listens, with a socket for each worker, at the address; *bound tells what
 * it has become. A port has several sockets (SO_REUSEPORT), among which the
 * kernel shares the connections out. A path can have one only, of which all
 * workers accept. w must stay. EADDRINUSE, also where another server shares
 * the port already.
 */
int workers_listen(const struct workers *w, const char *address,
                   asyncore_address *bound);

/*
 * Starts them and waits for their end. At SIGINT or SIGTERM they stop when
 * they are done; at the second they are stopped. What goes wrong is told on
 * stderr, whose reader may have gone: SIGPIPE is ignored from here on. The
 * status to exit with.
 */
int workers_run(void);

#endif
