/*
 * Threads or processes that serve: see workers.h.
 *
 * Each worker is kept on a leash, a pair of connected sockets. We let go of
 * our end to have it stop, or because we have died; its own end closes with
 * it, however it ends. We need no more of each other, and no lock.
 *
 * The listeners of processes are ours, too. Those who wait for a worker that
 * dies are served by its successor, which gets the same socket.
 */
#include "workers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RESTART_MS = 1000 /* from one start of a worker to the next */ };

struct worker {
    asyncore_dispatcher leash; /* our end of it */
    asyncore_dispatcher held;  /* the worker's */
    asyncore_dispatcher listener;
    asyncore_map *map; /* NULL: it does not run */
    bool told;         /* to stop */
    int end;           /* of the leash, until it is held */
    pthread_t thread;
    pid_t pid;
    int64_t started;
    asyncore_timer restart;
};

static const struct workers *all;
static struct worker *each; /* of them */
static asyncore_map *map;
static asyncore_signal_handler interrupt, terminate;
static enum { SERVING, STOPPING, STOPPED } state; /* STOPPED: by force */
static bool failed;
static struct worker *self; /* in a process that is a worker */
static sigset_t unblocked;  /* all but those that are held back */

static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", all->name, what, strerror(errno));
}

/* For while nobody knows what to do with them: at the birth of a worker, and in
   the end, when there is nothing more to stop. */
static void hold_signals_back(void)
{
    sigset_t ours;

    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ours, &unblocked);
}

/* ---- In a worker ------------------------------------------------------- */

/* Off the map, the leash does not keep the loop going. */
static void stop_serving(void *arg)
{
    struct worker *w = arg;

    if (!w->told) {
        w->told = true;
        asyncore_del_channel(&w->held);
        asyncore_stop_when_done(w->map, all->linger_ms);
    }
}

static void let_go(asyncore_dispatcher *d)
{
    stop_serving((char *)d - offsetof(struct worker, held));
}

/* Nothing is ever said. */
static void read_end(asyncore_dispatcher *d)
{
    char nothing;

    asyncore_recv(d, &nothing, 1);
}

static const asyncore_handlers held = {
    .name = "held",
    .handle_read = read_end,
    .handle_eof = let_go,
};

static int serve(struct worker *w)
{
    int result = -1;

    if (asyncore_dispatcher_init(&w->held, &held, w->end, w->map) == 0 &&
        asyncore_add_channel(&w->listener, w->map) == 0)
        result = asyncore_loop(w->map, -1, -1);
    asyncore_del_channel(&w->held);
    asyncore_close_all(w->map);
    return result;
}

static void *run_thread(void *arg)
{
    struct worker *w = arg;
    int result = serve(w);

    asyncore_close(&w->held);
    return result < 0 ? w : NULL;
}

/* A Ctrl-C goes to all processes of the terminal; ours tells the others. The
   end of the leash stays open until the process has gone, so that whoever sees
   it closed does not wait for one that hangs on its last way. */
static int run_process(struct worker *w)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    int result = -1;

    sigaction(SIGINT, &ignore, NULL);
    w->map = asyncore_map_new(all->backend);
    if (w->map != NULL &&
        asyncore_signal(&terminate, w->map, SIGTERM, stop_serving, w) == 0) {
        pthread_sigmask(SIG_SETMASK, &unblocked, NULL);
        result = serve(w);
        hold_signals_back();
    }
    if (result < 0)
        complain("worker");
    if (w->map != NULL)
        asyncore_map_free(w->map);
    return result < 0;
}

/* ---- Starting them ------------------------------------------------------ */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* In the worker: of what was ours, only its listener is left. */
static void become(struct worker *w)
{
    self = w;
    for (int i = 0; i < all->count; i++) {
        if (&each[i] != w)
            asyncore_close(&each[i].listener);
    }
    if (asyncore_map_after_fork(map) < 0)
        _exit(1);
    asyncore_map_free(map);
}

static int start_process(struct worker *w)
{
    hold_signals_back();
    w->pid = fork();
    if (w->pid == 0)
        become(w);
    else
        pthread_sigmask(SIG_SETMASK, &unblocked, NULL);
    return w->pid < 0 ? -1 : 0;
}

static int start_thread(struct worker *w)
{
    w->map = asyncore_map_new(all->backend);
    if (w->map == NULL)
        return -1;
    errno = pthread_create(&w->thread, NULL, run_thread, w);
    if (errno == 0)
        return 0;
    asyncore_map_free(w->map);
    w->map = NULL;
    return -1;
}

static void ended(asyncore_dispatcher *d);

static const asyncore_handlers leash = {
    .name = "leash",
    .handle_read = read_end,
    .handle_close = ended,
};

static int start(struct worker *w)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return -1;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    w->end = ends[1];
    w->started = now_ms();
    if (asyncore_dispatcher_init(&w->leash, &leash, ends[0], map) < 0) {
        close(ends[1]);
        return -1;
    }
    if ((all->processes ? start_process(w) : start_thread(w)) < 0) {
        asyncore_close(&w->leash);
        close(ends[1]);
        return -1;
    }
    if (all->processes && self == NULL)
        close(ends[1]);
    return 0;
}

/* ---- Their end ---------------------------------------------------------- */

static void start_again(void *arg)
{
    struct worker *w = arg;

    if (start(w) < 0) {
        complain("worker");
        asyncore_call_later(&w->restart, map, RESTART_MS, start_again, w);
    }
}

static void stop_now(void *worker_map)
{
    asyncore_stop(worker_map);
}

/* A thread's map is freed here, where it is called from, not by the thread. */
static void end_now(struct worker *w)
{
    if (w->pid > 0)
        kill(w->pid, SIGKILL);
    if (w->map != NULL)
        asyncore_call_soon(w->map, stop_now, w->map);
}

static void stop(void *arg)
{
    (void)arg;
    for (int i = 0; i < all->count; i++) {
        struct worker *w = &each[i];
        if (state != SERVING) {
            end_now(w);
            continue;
        }
        asyncore_timer_cancel(&w->restart);
        /* While we have it open, too, somebody might be put in its queue
           after the worker has looked into it for the last time. */
        if (all->processes)
            asyncore_close(&w->listener);
        asyncore_shutdown(&w->leash);
    }
    state = state == SERVING ? STOPPING : STOPPED;
}

static void process_ended(struct worker *w)
{
    int64_t wait = w->started + RESTART_MS - now_ms();
    int status = 0;

    waitpid(w->pid, &status, 0);
    if (state == SERVING || (state == STOPPING && status != 0))
        fprintf(stderr, "%s: worker %ld has ended: %s %d\n", all->name,
                (long)w->pid, WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (state == SERVING)
        asyncore_call_later(&w->restart, map, wait, start_again, w);
    else if (state == STOPPING && status != 0)
        failed = true;
    w->pid = 0;
}

static void thread_ended(struct worker *w)
{
    void *result;

    pthread_join(w->thread, &result);
    asyncore_map_free(w->map);
    w->map = NULL;
    if (state == SERVING) {
        fprintf(stderr, "%s: a thread has ended\n", all->name);
        failed = true;
        stop(NULL);
    }
}

static void ended(asyncore_dispatcher *d)
{
    struct worker *w = (struct worker *)d;

    if (all->processes)
        process_ended(w);
    else
        thread_ended(w);
}

/* ---- All of it ---------------------------------------------------------- */

/* The first socket has the port alone before it lets others in, so that
   another server that is there is noticed. */
static int listen_at(struct worker *w, bool first, asyncore_address *address)
{
    asyncore_dispatcher *d = &w->listener;

    if (asyncore_create_socket(d, address->any.sa_family, SOCK_STREAM) < 0)
        return -1;
    asyncore_set_reuse_addr(d);
    if ((!first && asyncore_set_reuse_port(d) < 0) ||
        asyncore_bind(d, address) < 0 ||
        (first && asyncore_set_reuse_port(d) < 0))
        return -1;
    return asyncore_listen(d, SOMAXCONN);
}

static int listen_path(struct worker *w, bool first, const char *path)
{
    if (first)
        return asyncore_listen_on(&w->listener, path, SOMAXCONN);
    return asyncore_set_socket(&w->listener, dup(each->listener.fd));
}

int workers_listen(const struct workers *workers, const char *where,
                   asyncore_address *bound)
{
    all = workers;
    each = calloc((size_t)all->count, sizeof *each);
    map = asyncore_map_new(all->backend);
    if (map == NULL || each == NULL ||
        asyncore_address_resolve(bound, where) < 0)
        return -1;
    asyncore_signal(&interrupt, map, SIGINT, stop, NULL);
    asyncore_signal(&terminate, map, SIGTERM, stop, NULL);
    for (int i = 0; i < all->count; i++) {
        struct worker *w = &each[i];
        asyncore_dispatcher_init(&w->leash, &leash, -1, map);
        asyncore_dispatcher_init(&w->listener, all->server, -1, map);
        if ((bound->any.sa_family == AF_UNIX
                 ? listen_path(w, i == 0, where)
                 : listen_at(w, i == 0, bound)) < 0 ||
            asyncore_getsockname(&w->listener, bound) < 0)
            return -1;
        asyncore_del_channel(&w->listener);
    }
    return 0;
}

int workers_run(void)
{
    /* We are to outlive those who read what we complain of. */
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < all->count && !failed && self == NULL; i++) {
        if (start(&each[i]) < 0) {
            complain("worker");
            failed = true;
            stop(NULL);
        }
    }
    if (self == NULL && asyncore_loop(map, -1, -1) < 0) {
        complain("workers");
        failed = true;
    }
    if (self != NULL)
        exit(run_process(self));
    hold_signals_back();
    asyncore_map_free(map);
    for (int i = 0; i < all->count; i++)
        asyncore_close(&each[i].listener);
    free(each);
    return failed;
}
