/*
 * asyncore.h - Python's asyncore for C programs: the reference manual of the
 * core. A socket map, a dispatcher with function-pointer handlers, and loop().
 *
 * The five rules
 *
 * 1. You own every dispatcher. Embed it, put it on the stack, malloc it. The
 *    map borrows it while it has a descriptor.
 *
 * 2. Anything may be closed at any time. asyncore_close(d) may be called from
 *    any handler, on any dispatcher, itself included, twice. It takes effect
 *    at once: descriptor closed, no handler of d runs again but handle_free.
 *    A class with handle_free gets d exactly once, after control is back in
 *    the loop (the end of the turn; outside a turn: the next asyncore_poll,
 *    asyncore_loop, asyncore_close_all or asyncore_map_free), never from
 *    inside an I/O call, so a handler that closed itself, or whose send
 *    failed, may finish its sentence and even call send again (it gets -1).
 *    A class without it: the library does not look at d again once
 *    asyncore_close has returned.
 *
 * 3. I/O calls route failures for you. recv, send and accept run handle_close
 *    (the peer is gone) or handle_error(d, errno) (anything else) themselves
 *    and return 0 or -1, meaning "leave". A right read handler is
 *    "if (n > 0) ...". Set-up calls (create_socket, bind, listen, connect)
 *    return -1 and errno, and never run a handler.
 *
 * 4. One map, one thread. asyncore_call_soon(map, fn, arg) and
 *    asyncore_wakeup(map) are the calls that another thread may make, and
 *    asyncore_wakeup the one that a signal handler may.
 *
 * 5. The process is yours. No signal disposition (but what you ask
 *    asyncore_signal for), no global, no stdio is touched; nothing aborts,
 *    nothing exits; out of memory is an error like any other.
 *
 * An echo server, whole:
 *
 *     static void echo_read(asyncore_dispatcher *d)
 *     {
 *         char data[4096];
 *         ssize_t n = asyncore_recv(d, data, sizeof data);
 *         if (n > 0)
 *             asyncore_send(d, data, (size_t)n);
 *     }
 *
 *     static void echo_free(asyncore_dispatcher *d) { free(d); }
 *
 *     static const asyncore_handlers echo = {
 *         .name = "echo", .handle_read = echo_read, .handle_free = echo_free,
 *     };
 *
 *     static void accepted(asyncore_dispatcher *d, int fd,
 *                          const asyncore_address *peer)
 *     {
 *         asyncore_dispatcher_with_send *c = malloc(sizeof *c);
 *         if (c == NULL)
 *             close(fd);
 *         else if (asyncore_dispatcher_with_send_init(c, &echo, fd, d->map))
 *             free(c);
 *     }
 *
 *     static const asyncore_handlers server = {
 *         .name = "server", .handle_accepted = accepted,
 *     };
 *
 *     int main(void)
 *     {
 *         asyncore_dispatcher d;
 *         asyncore_address a;
 *         if (asyncore_address_parse(&a, "127.0.0.1:8007") < 0 ||
 *             asyncore_dispatcher_init(&d, &server, -1, NULL) < 0 ||
 *             asyncore_create_socket(&d, a.any.sa_family, SOCK_STREAM) < 0 ||
 *             asyncore_bind(&d, &a) < 0 || asyncore_listen(&d, 128) < 0)
 *             return 1;
 *         return asyncore_loop(NULL, -1, -1) < 0;
 *     }
 *
 * (A real one bounds what it queues for a peer that does not read:
 * examples/echo_server.c.)
 *
 * Unless a function says otherwise it returns 0, or -1 with errno set. Times
 * are milliseconds; -1 means for ever. "Runs handlers" is said of each
 * function that may; all others never do.
 */
#ifndef ASYNCORE_H
#define ASYNCORE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#define ASYNCORE_VERSION_MAJOR 0
#define ASYNCORE_VERSION_MINOR 1
#define ASYNCORE_VERSION_PATCH 0

#if defined(ASYNCORE_BUILDING) && defined(__GNUC__)
#define ASYNCORE_API __attribute__((visibility("default")))
#else
#define ASYNCORE_API
#endif

#if defined(__GNUC__)
#define ASYNCORE_PRINTF(string, first) \
    __attribute__((format(printf, string, first)))
#else
#define ASYNCORE_PRINTF(string, first)
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct pollfd; /* of <poll.h> */

typedef struct asyncore_map asyncore_map;
typedef struct asyncore_dispatcher asyncore_dispatcher;

/* ---- Addresses --------------------------------------------------------- */

/*
 * An IPv4, IPv6 or unix address: what bind, connect and accept speak. Filled
 * in by asyncore_address_parse, or by hand through the member of its family;
 * size is the length that bind(2) and connect(2) want.
 */
typedef struct asyncore_address {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
    socklen_t size;
} asyncore_address;

/* Room for any address as text, the final NUL included. */
#define ASYNCORE_ADDRESS_TEXT 128

/*
 * Reads "PORT" (on 127.0.0.1), "HOST:PORT", "[V6]:PORT" or "unix:PATH", HOST
 * and V6 being numeric ("[fe80::1%eth0]:80" has a zone). Never blocks.
 * EINVAL: not an address. ENAMETOOLONG: the path does not fit sun_path.
 */
ASYNCORE_API int asyncore_address_parse(asyncore_address *address,
                                        const char *text);

/*
 * The same, but HOST may be a name and PORT a service, looked up with
 * getaddrinfo(3), of whose answers the first is taken. It may block for
 * seconds: for set-up, not for handlers. ENOENT: no such name. EAGAIN: no
 * answer now. EIO: an answer that is none. ENOMEM and the errors of
 * asyncore_address_parse.
 */
ASYNCORE_API int asyncore_address_resolve(asyncore_address *address,
                                          const char *text);

/*
 * Writes the address as asyncore_address_parse reads it and returns text. What
 * does not fit into size bytes is cut off, as by snprintf.
 */
ASYNCORE_API char *asyncore_address_format(const asyncore_address *address,
                                           char *text, size_t size);

/* ---- Classes: a table of handlers -------------------------------------- */

/*
 * One table per class, const, in static storage: it must outlive every
 * dispatcher that uses it. A member left NULL inherits from the base class
 * that the constructor names (asyncore_dispatcher_init: the defaults told
 * here). Designate the members by name; their order may change.
 *
 * A handler may call any function of the library on any dispatcher, close
 * itself or others, free what it closed as rule 2 allows, run a nested
 * asyncore_poll, or stop the loop. It must not block.
 */
typedef struct asyncore_handlers {
    /* The class's name, for asyncore_repr and the log. NULL: "dispatcher". */
    const char *name;

    /*
     * Predicates, for those who like asyncore's style. A class that has one
     * is asked before every wait, once per dispatcher, whether to wait for
     * that direction; its answer replaces the flag of asyncore_set_readable or
     * the derived write interest (connecting is still waited for). A class
     * without them costs nothing to wait for. A listener is not asked
     * writable, an unconnected stream socket neither.
     */
    bool (*readable)(asyncore_dispatcher *d);
    bool (*writable)(asyncore_dispatcher *d);

    /*
     * There is something to read: data, a datagram, the end, or an error; the
     * next asyncore_recv tells which. It need not read everything: what is
     * left is reported again. Default: log a warning and stop reading, as if
     * by asyncore_set_readable(d, false), rather than be called for ever.
     */
    void (*handle_read)(asyncore_dispatcher *d);

    /*
     * There is room to write. Runs only when asked for, see
     * asyncore_set_writable. Default: log a warning and stop asking;
     * dispatcher_with_send: send what is queued.
     */
    void (*handle_write)(asyncore_dispatcher *d);

    /*
     * Out-of-band data has arrived: recv(d->fd, &byte, 1, MSG_OOB) takes it.
     * It is waited for only in a class that has this handler, so that a peer
     * cannot wake those that do not know of it. Default: log a warning.
     */
    void (*handle_expt)(asyncore_dispatcher *d);

    /*
     * The connection asked for by asyncore_connect or asyncore_connect_name
     * stands; d->connected is true already, and d may send. Always from the
     * loop, never from inside those. Default: log a warning.
     */
    void (*handle_connect)(asyncore_dispatcher *d);

    /*
     * One of the addresses that asyncore_connect_name found did not answer, or
     * could not be tried, for the reason error; others are still being tried,
     * or will be, unless handle_close follows. address lives until you return.
     * Default: log a warning.
     */
    void (*handle_connect_error)(asyncore_dispatcher *d,
                                 const asyncore_address *address, int error);

    /*
     * A listener has connections waiting. Default: asyncore_accept until
     * there is none left, at most 64 in a turn, each given to
     * handle_accepted, or refused (asyncore_set_limits), which is one of the
     * 64, too.
     */
    void (*handle_accept)(asyncore_dispatcher *d);

    /*
     * A connection was accepted; fd is yours, non-blocking and close-on-exec.
     * peer lives until you return. Give fd to an _init, which takes it even
     * when it fails, or close it. An _init in here takes fd for non-blocking
     * without asking. The listener is not concerned in what goes wrong here.
     * Default: log a warning and close fd.
     */
    void (*handle_accepted)(asyncore_dispatcher *d, int fd,
                            const asyncore_address *peer);

    /*
     * The connection is over: the peer closed it, it broke, or it never came
     * to be. d->error tells: 0 after an orderly end, else the errno. Runs
     * exactly once for each connection, and never because of your own
     * asyncore_close. d is still open, so that it can be named and read from;
     * when the handler returns without having closed it, the library does.
     * It may close d, create a socket and connect anew. Default: log a
     * warning.
     */
    void (*handle_close)(asyncore_dispatcher *d);

    /*
     * The peer has finished sending; we may go on (half-close, RFC 9293
     * section 3.6). A class that has this handler is not read from again, and
     * is closed by itself, by asyncore_shutdown, which ends the connection
     * once what is queued is sent, or by handle_close when the connection
     * breaks. Default: handle_close.
     */
    void (*handle_eof)(asyncore_dispatcher *d);

    /*
     * Something other than the end of the connection went wrong, such as no
     * memory (ENOMEM), no descriptors for a listener (EMFILE, ENFILE: once
     * per shortage), or a descriptor closed behind the library's back
     * (EBADF). Default: log it with asyncore_repr(d), then handle_close with
     * d->error set; a listener that lacks resources only logs, and goes on
     * listening. An override that does not close d keeps it open, except
     * where d cannot be waited for any more, or where there was no memory for
     * the rest of what was sent in part.
     */
    void (*handle_error)(asyncore_dispatcher *d, int error);

    /*
     * The output queue of a dispatcher_with_send has been up to its limit and
     * is down to half of it: time to produce again. Always from the loop.
     * Default: nothing.
     */
    void (*handle_drain)(asyncore_dispatcher *d);

    /*
     * For as long as asyncore_set_timeout said, nothing was received, sent or
     * accepted, or the connection did not come to be. Another period begins.
     * Default: handle_close with d->error ETIMEDOUT.
     */
    void (*handle_timeout)(asyncore_dispatcher *d);

    /*
     * asyncore_stop_when_done: what d had received has been given to
     * handle_read, and d is to end. Always from the loop.
     * A class that has yet to answer, or to say a last word, does so, and
     * then calls asyncore_shutdown or asyncore_close; one that does nothing
     * goes on until it ends by itself. Not for a connection that is half-closed
     * already, which has heard that it ends. Default: asyncore_shutdown, or
     * asyncore_close where there is no connection; asynchat:
     * asynchat_close_when_done.
     */
    void (*handle_stop)(asyncore_dispatcher *d);

    /*
     * d is closed and the library is done with it: rule 2. free it here.
     * Default: none, which lets d's memory be reused as soon as
     * asyncore_close has returned.
     */
    void (*handle_free)(asyncore_dispatcher *d);

    /*
     * The transport: recv(2) and send(2) as asyncore_recv and asyncore_send
     * call them, with their results: bytes, 0 at the end (recv), -1 and
     * errno, EAGAIN where they would block. A TLS class overrides these two.
     * They must not run handlers.
     */
    ssize_t (*recv)(asyncore_dispatcher *d, void *data, size_t size);
    ssize_t (*send)(asyncore_dispatcher *d, const void *data, size_t size);

    /*
     * Where asyncore_log and asyncore_log_info end. Both write one line to
     * descriptor 2, "log: message" and "type: message"; log_info leaves out
     * those of type "warning" unless d->debug is set. A line that cannot be
     * written is lost; SIGPIPE is not raised.
     */
    void (*log)(asyncore_dispatcher *d, const char *message);
    void (*log_info)(asyncore_dispatcher *d, const char *message,
                     const char *type);
} asyncore_handlers;

/* ---- The dispatcher ---------------------------------------------------- */

/*
 * Its states, by the flags:
 *
 *     no socket        fd == -1: before create_socket, after close
 *     unconnected      a fresh stream socket: in the map, never waited for
 *     connecting       from asyncore_connect, or asyncore_connect_name, to
 *                      handle_connect
 *     connected        to handle_close or asyncore_close
 *     accepting        a listener
 *
 * Datagram sockets are waited for in any of them. All flags are false once it
 * is closed.
 */
struct asyncore_dispatcher {
    /* Read-only. */
    int fd;            /* -1: none */
    int error;         /* the errno it died of; 0 after an orderly end */
    asyncore_map *map; /* the map it is, was or will be in; never NULL */
    unsigned connected : 1;
    unsigned connecting : 1;
    unsigned accepting : 1;
    unsigned closing : 1; /* handle_close is running */

    /* Yours. */
    unsigned debug : 1; /* log_info prints warnings too */

    /* Private. */
    unsigned naming : 1;      /* fd is not yet a socket, see connector.c */
    unsigned inner : 1;       /* the library's own, in no walk of the map */
    unsigned stream : 1;      /* it has an end; unconnected is not watched */
    unsigned reading : 1;     /* as asyncore_set_readable left it */
    unsigned writing : 1;     /* as asyncore_set_writable left it */
    unsigned queued : 1;      /* the class has output waiting */
    unsigned flow : 1;        /* that output has been up to its limit */
    unsigned eof : 1;         /* the peer has finished sending */
    unsigned shut : 1;        /* we have, or shall when drained */
    unsigned muted : 1;       /* hung up behind unread data, see dispatch.c */
    unsigned listed : 1;      /* in its map */
    unsigned asked : 1;       /* before every wait, see map.h */
    unsigned primed : 1;      /* has input of its own, as if readable */
    unsigned held : 1;        /* its class takes no input now */
    unsigned serving : 1;     /* its class is being given input */
    unsigned corking : 1;     /* what it pushes is gathered in its map's cork */
    unsigned draining : 1;    /* asynchat_close_when_done */
    unsigned blocking : 1;    /* gets its blocking mode back when closed */
    unsigned sigpipe : 1;     /* write(2) to it may raise SIGPIPE */
    unsigned lost : 1;        /* its descriptor is not there to close */
    unsigned evicted : 1;     /* its number was taken over, see map.h */
    unsigned retired : 1;     /* closed, handle_free is due */
    unsigned freed : 1;       /* handle_free has had it */
    unsigned finishing : 1;   /* handle_stop is due when its input is read */
    unsigned apart : 1;       /* in no map, or has an extra: see extra.h */
    unsigned throttled : 1;   /* it spun: see guard.c */
    unsigned custom : 1;      /* its class is: see asyncore__classify */
    unsigned char interest;   /* what it wants to wait for */
    unsigned char registered; /* what its poller was last told */
    const asyncore_handlers *handlers;
    const struct asyncore__class *base;
    union {
        struct asyncore__extra *extra;    /* of the living; NULL: none */
        struct asyncore_dispatcher *next; /* in the map's list of the dead */
    };
};

/*
 * Makes *d a dispatcher of the class handlers, with fd (-1: none yet) for the
 * map (NULL: the default map). fd becomes non-blocking and the dispatcher's
 * own, even when the call fails: then it has been closed. A connected socket
 * makes it connected, one whose connect(2) is under way connecting, a
 * listening one accepting; a connection that broke before it got here counts
 * as connected, so that what it had sent can be read and handle_close tells
 * its end. Call it on memory that is no dispatcher in use. EBADF, ENOTSOCK;
 * ENOMEM; EMFILE: the backend takes no descriptor as high as fd (select:
 * FD_SETSIZE).
 */
ASYNCORE_API int asyncore_dispatcher_init(asyncore_dispatcher *d,
                                          const asyncore_handlers *handlers,
                                          int fd, asyncore_map *map);

/*
 * Swaps the class's table: a state machine for free. NULL members inherit
 * from the same base class as before. ENOMEM, only where the new table has a
 * predicate; the old one is kept then.
 */
ASYNCORE_API int asyncore_set_handlers(asyncore_dispatcher *d,
                                       const asyncore_handlers *handlers);

/*
 * The base class's table, complete: asyncore_base(d)->handle_error(d, error)
 * is Python's super().handle_error().
 */
ASYNCORE_API const asyncore_handlers *asyncore_base(
    const asyncore_dispatcher *d);

/*
 * A new socket, non-blocking and close-on-exec, in d's map; as socket(2), and
 * EMFILE as asyncore_dispatcher_init. A socket that d has is EEXIST: close it
 * first. A dispatcher closed but not yet given to handle_free comes back to
 * life: handle_free will run after its next close.
 */
ASYNCORE_API int asyncore_create_socket(asyncore_dispatcher *d, int family,
                                        int type);

/* The same with a socket that you have, on the terms of _init. */
ASYNCORE_API int asyncore_set_socket(asyncore_dispatcher *d, int fd);

/*
 * Takes d, with its descriptor open, out of its map: no handler runs until
 * asyncore_add_channel. Together they move a dispatcher to the map of another
 * thread. Without effect on one that is in no map. One that is taken out in
 * its handle_close stays open, and is told of its end again when it is back in
 * a map. EBUSY: an asynchat that is being given input, or that
 * asynchat_close_when_done has; asyncore_call_soon can do it after the input.
 * EBUSY also before the handle_connect of asyncore_connect_name.
 */
ASYNCORE_API int asyncore_del_channel(asyncore_dispatcher *d);

/*
 * Puts d into the map (NULL: the default map). EBADF: it has no descriptor;
 * EEXIST: it is in a map; ENOMEM, EMFILE. A dispatcher found under the same
 * number must have had its descriptor closed behind the library's back: it is
 * out of the map, and the next turn runs its handle_close with EBADF.
 */
ASYNCORE_API int asyncore_add_channel(asyncore_dispatcher *d,
                                      asyncore_map *map);

/* SO_REUSEADDR (POSIX, socket(7)); errors are ignored, as in Python. */
ASYNCORE_API void asyncore_set_reuse_addr(asyncore_dispatcher *d);

/*
 * SO_REUSEPORT (socket(7)), before asyncore_bind: several sockets of one user
 * may be bound to one port, and Linux shares the connections out among those
 * that listen: a listener for each thread's map. As setsockopt(2): EBADF,
 * ENOPROTOOPT where the system has no such thing. Not for unix sockets
 * (EOPNOTSUPP, but older kernels do not say so).
 */
ASYNCORE_API int asyncore_set_reuse_port(asyncore_dispatcher *d);

/* As bind(2). */
ASYNCORE_API int asyncore_bind(asyncore_dispatcher *d,
                               const asyncore_address *address);

/*
 * As listen(2), and ENOMEM. From the next turn on, connections go to
 * handle_accept. The listener survives everything: connections that break
 * before they are accepted, errors of the network, and the lack of
 * descriptors or memory. In a lack it waits, without using the processor,
 * until a dispatcher of its map is closed, 100 ms at most; then those who
 * still wait are refused, so that they know.
 */
ASYNCORE_API int asyncore_listen(asyncore_dispatcher *d, int backlog);

/*
 * A listener in one call: asyncore_address_resolve (so it may block),
 * asyncore_create_socket, asyncore_set_reuse_addr where the family has ports,
 * asyncore_bind and asyncore_listen. "[::]:PORT" takes IPv4 as well. A unix
 * socket's path that is there already is taken over if it is a socket and
 * nobody answers on it, as a server that was killed leaves it behind;
 * otherwise it is EADDRINUSE. Removing the path in the end is yours. The errors
 * of all these; d has no socket then.
 */
ASYNCORE_API int asyncore_listen_on(asyncore_dispatcher *d, const char *address,
                                    int backlog);

/*
 * The limits of a listener, or of several of one map that share them. Yours,
 * all zero bytes at first, and on the terms of a timer: it must stay where it
 * is until no listener has it.
 *
 *     static asyncore_limits limits = {
 *         .connections = 1000, .per_peer = 20, .ipv6_prefix = 64,
 *         .word = "421 Too many connections\r\n",
 *     };
 *     asyncore_set_limits(&listener, &limits);
 *
 * Those over a limit are refused: sent the word, as far as that goes without
 * waiting, and closed. handle_accepted does not see them. Lowering a limit
 * closes nobody.
 */
typedef struct asyncore_limits {
    /* Yours, to be changed at any time. */
    size_t connections;   /* at once; 0: no limit */
    size_t per_peer;      /* of them, from one IP address; 0: no limit */
    unsigned ipv6_prefix; /* so many bits of an IPv6 address are compared: who
                             has a network of 64 has many; 0: all of them */
    const char *word;     /* NULL: none */

    /* Read-only. */
    size_t open;      /* connections counted now */
    uint64_t refused; /* in all */

    /* Private. */
    struct asyncore__census *census; /* NULL: no listener has it */
} asyncore_limits;

/*
 * Gives d, which has a socket, these limits (NULL: none) in place of those it
 * had, for as long as it is in its map. They are kept by the default
 * handle_accept. What handle_accepted puts into the listener's map counts
 * until it leaves that (asyncore_close, asyncore_del_channel), what it closes
 * or gives to another map only while it runs. An IPv4 address counts as one
 * with that address mapped into IPv6; unix sockets have no address, and count
 * as connections only. Without memory to count it, a connection is refused.
 *
 * When the last listener that has the limits is closed or given others, those
 * counted are forgotten, and open is 0: to go on counting, give them to the
 * new listener before the old one is closed. EBADF: d is in no map; EINVAL: a
 * listener of another map has these limits; ENOMEM. What d had is kept then.
 */
ASYNCORE_API int asyncore_set_limits(asyncore_dispatcher *d,
                                     asyncore_limits *limits);

/*
 * As connect(2) without blocking: 0 means connecting, or for a datagram
 * socket connected. The outcome comes from the loop, at the next turn or
 * later: handle_connect, or handle_close with d->error. -1: the kernel
 * refused at once (a unix socket: ENOENT, ECONNREFUSED, EAGAIN when its
 * backlog is full); d is unconnected and may try again. EISCONN.
 */
ASYNCORE_API int asyncore_connect(asyncore_dispatcher *d,
                                  const asyncore_address *address);

/*
 * The next waiting connection of a listener, non-blocking and close-on-exec,
 * or -1. *peer may be NULL. EAGAIN: none is waiting, or resources lack. An
 * error of its own runs handle_error.
 */
ASYNCORE_API int asyncore_accept(asyncore_dispatcher *d,
                                 asyncore_address *peer);

/*
 * Up to size bytes into data. >0: so many. 0: the end (handle_eof or
 * handle_close has run), or size is 0, or a datagram socket got an empty
 * datagram. -1: nothing now (EAGAIN, no handler has run), a failure
 * (handle_close or handle_error has run), or d is closed (EBADF) or not
 * connected (ENOTCONN). Runs handlers.
 */
ASYNCORE_API ssize_t asyncore_recv(asyncore_dispatcher *d, void *data,
                                   size_t size);

/*
 * How many of the size bytes were taken. A plain dispatcher gives them to the
 * kernel and may take fewer, 0 when it would block. A dispatcher_with_send
 * takes all: it queues what the kernel did not, and may be used while
 * connecting. -1: as asyncore_recv, and ESHUTDOWN after asyncore_shutdown.
 * SIGPIPE is never raised. Runs handlers.
 */
ASYNCORE_API ssize_t asyncore_send(asyncore_dispatcher *d, const void *data,
                                   size_t size);

/*
 * One datagram, as recvfrom(2) and sendto(2). What goes wrong here concerns
 * one datagram or one peer, not the socket: they return -1 and errno (EAGAIN:
 * nothing now) and run no handler. A datagram of 0 bytes is a datagram. *peer
 * may be NULL.
 */
ASYNCORE_API ssize_t asyncore_recvfrom(asyncore_dispatcher *d, void *data,
                                       size_t size, asyncore_address *peer);
ASYNCORE_API ssize_t asyncore_sendto(asyncore_dispatcher *d, const void *data,
                                     size_t size, const asyncore_address *peer);

/* The bytes queued for sending; 0 for classes without a queue. */
ASYNCORE_API size_t asyncore_queued(const asyncore_dispatcher *d);

/*
 * Half-close: the peer sees the end of our data, after what is queued, and we
 * go on reading, as shutdown(2) with SHUT_WR. When the peer has finished too,
 * handle_close follows from the loop. Calling it again is fine. EBADF,
 * ENOTCONN; ENOTSOCK for files.
 */
ASYNCORE_API int asyncore_shutdown(asyncore_dispatcher *d);

/*
 * Closes d: rule 2. Whatever is queued is dropped; asyncore_shutdown comes
 * before where it should not be. NULL, a closed one, or one that is all zero
 * bytes is fine. errno is kept.
 */
ASYNCORE_API void asyncore_close(asyncore_dispatcher *d);

/*
 * Whether to wait for reading: true at first. Turning it off pauses a peer:
 * its data stays in the kernel, which slows it down in time.
 */
ASYNCORE_API void asyncore_set_readable(asyncore_dispatcher *d, bool readable);

/*
 * Whether to wait for room to write: false at first. Write interest is
 * derived (connecting, or output is queued); this asks for it besides.
 */
ASYNCORE_API void asyncore_set_writable(asyncore_dispatcher *d, bool writable);

/*
 * handle_timeout after so many milliseconds of silence, counted from now and
 * anew whenever data is received or sent, a connection is made or one is
 * accepted; -1: never (as at first). That costs a store, not a timer: the
 * clock is that of the turn in which it happens. To set the same time again in
 * a handler, because something else has shown that the peer is alive, costs as
 * little. Set while d is connecting it bounds how long that may take. It ends
 * with the connection, and when d leaves its map. EBADF: d is in no map;
 * ENOMEM.
 */
ASYNCORE_API int asyncore_set_timeout(asyncore_dispatcher *d,
                                      int64_t timeout_ms);

/* What the next wait will wait for. Runs the predicates of its class. */
ASYNCORE_API bool asyncore_readable(asyncore_dispatcher *d);
ASYNCORE_API bool asyncore_writable(asyncore_dispatcher *d);

/*
 * Does what the loop does when poll(2) says revents (POLLIN, POLLOUT, POLLPRI,
 * POLLERR, POLLHUP, POLLNVAL) of d, for those who have their own loop; d must
 * be in a map. What was not asked for is passed over. Runs handlers.
 *
 *     readable                handle_accept of a listener, else handle_read
 *     writable                handle_write
 *     exceptional             handle_expt
 *     any, connecting         handle_connect and then the above; or, if
 *                             SO_ERROR is set, d->error and handle_close
 *     hangup or error         as if ready for whatever was asked for, so that
 *                             what was received is read before the end comes
 *     the same, nothing asked d->error from SO_ERROR and handle_close; a
 *                             hangup without an error waits behind a reader
 *                             that pauses with data unread until that reads on
 *     not an open descriptor  handle_error(d, EBADF) and handle_close
 *
 * After every handler it is asked anew whether d is still there.
 */
ASYNCORE_API void asyncore_readwrite(asyncore_dispatcher *d, int revents);

/* The socket's own address, or its peer's; as getsockname(2), getpeername(2). */
ASYNCORE_API int asyncore_getsockname(const asyncore_dispatcher *d,
                                      asyncore_address *address);
ASYNCORE_API int asyncore_getpeername(const asyncore_dispatcher *d,
                                      asyncore_address *address);

/* Room for what asyncore_repr writes of a class with a name up to 40 bytes. */
#define ASYNCORE_REPR_TEXT (ASYNCORE_ADDRESS_TEXT + 96)

/*
 * Writes "<name connected 127.0.0.1:8007 at 0x7f...>", with "listening" and
 * its own address for a listener, neither for the rest, and returns text. Cut
 * off at size bytes, as by snprintf.
 */
ASYNCORE_API char *asyncore_repr(const asyncore_dispatcher *d, char *text,
                                 size_t size);

/* strerror(3), safe for threads and never empty. Returns text. */
ASYNCORE_API char *asyncore_strerror(int error, char *text, size_t size);

/*
 * Give a line, formatted as by printf(3), to the class's log or log_info. A
 * line of over 1023 bytes is cut off. The types that the library uses are
 * "error" and "warning", and what is asked for in "Seeing inside".
 */
ASYNCORE_API void asyncore_log(asyncore_dispatcher *d, const char *format, ...)
    ASYNCORE_PRINTF(2, 3);
ASYNCORE_API void asyncore_log_info(asyncore_dispatcher *d, const char *type,
                                    const char *format, ...)
    ASYNCORE_PRINTF(3, 4);

/* ---- dispatcher_with_send: buffered output ----------------------------- */

/*
 * asyncore_send on it tries the kernel at once when nothing is queued, and
 * queues only what did not fit; the loop sends the rest. The limit is a mark,
 * not a wall: send takes all, and a producer that finds
 * asyncore_queued(d) >= limit should pause until handle_drain runs.
 */
typedef struct asyncore_dispatcher_with_send {
    asyncore_dispatcher dispatcher;
    size_t limit;                      /* yours, in bytes; 65536 at first */
    struct asyncore__outqueue *output; /* private; NULL when drained */
} asyncore_dispatcher_with_send;

/* As asyncore_dispatcher_init. */
ASYNCORE_API int asyncore_dispatcher_with_send_init(
    asyncore_dispatcher_with_send *d, const asyncore_handlers *handlers, int fd,
    asyncore_map *map);

/* ---- file_dispatcher: pipes, terminals, files -------------------------- */

/* asyncore_recv and asyncore_send read(2) and write(2). Connected at once. */
typedef struct asyncore_file_dispatcher {
    asyncore_dispatcher dispatcher;
} asyncore_file_dispatcher;

/*
 * As asyncore_dispatcher_init, but fd is duplicated and stays yours; you may
 * close it at any time. Non-blocking mode belongs to what the two share: it
 * is turned on, and given back as it was when d is closed. One that is open
 * for writing only is not read from, and one that is readable always (a
 * regular file) is always reported. Write errors come as errors: SIGPIPE is
 * never raised.
 */
ASYNCORE_API int asyncore_file_dispatcher_init(
    asyncore_file_dispatcher *d, const asyncore_handlers *handlers, int fd,
    asyncore_map *map);

/* ---- The map ----------------------------------------------------------- */

/*
 * The default map: what NULL means wherever a map is taken. Made at the first
 * call that needs it; NULL and ENOMEM or EMFILE if that fails. It belongs to
 * the process, but like any map to one thread at a time.
 */
ASYNCORE_API asyncore_map *asyncore_socket_map(void);

/*
 * Makes map the default map and returns the one that was (NULL: none had been
 * made). Nothing is freed.
 */
ASYNCORE_API asyncore_map *asyncore_set_socket_map(asyncore_map *map);

/*
 * A new map, on the backend of that name: "epoll", "poll" or "select". NULL:
 * what the environment's ASYNCORE_BACKEND says, else the best here. EINVAL:
 * no such backend; ENOMEM, EMFILE, ENFILE.
 */
ASYNCORE_API asyncore_map *asyncore_map_new(const char *backend);

/*
 * Closes everything in the map as asyncore_close_all does, and frees it; NULL
 * is fine. From a handler of that map it takes effect when its loop has been
 * left, which it stops. Calls not yet run (asyncore_call_soon) are dropped.
 * What was taken out of it (asyncore_del_channel) and is in no other map is to
 * be closed before. Runs handle_free.
 */
ASYNCORE_API void asyncore_map_free(asyncore_map *map);

/*
 * For the child of a fork(2) by the map's thread, before it does anything else
 * with the map: parent and child share what the kernel watches, and what the
 * child closes would be gone for both. From here on the child's map is its
 * own, and the parent's goes on undisturbed. It may be called in a handler of
 * the map, which then goes on in both.
 *
 *     pid = fork();
 *     if (pid == 0 && asyncore_map_after_fork(map) < 0)
 *         _exit(1);
 *
 * Dispatchers, timers and signal handlers stay: both processes are told of
 * what happens to the descriptors that they share, so close in the child what
 * the parent is to serve, and the other way round. Calls posted and not yet
 * run (asyncore_call_soon), and signals that came before the fork, are the
 * parent's. So is the blocking mode that a file_dispatcher gives back: the
 * child leaves it alone. A map of another thread is nothing that the child
 * could use or free.
 *
 * EMFILE, ENFILE, ENOMEM, ENOSPC: the map is as it was, but for the calls, and
 * it may be called again. A child that forgets it disturbs its parent; where
 * the library was built for debugging (without NDEBUG) asyncore_poll and
 * asyncore_loop return -1 and ECHILD instead.
 */
ASYNCORE_API int asyncore_map_after_fork(asyncore_map *map);

/* The names of the backends here, the best first, ended by NULL. */
ASYNCORE_API const char *const *asyncore_backends(void);

/* The name of the map's backend. */
ASYNCORE_API const char *asyncore_map_backend(asyncore_map *map);

/* How many dispatchers are in the map. */
ASYNCORE_API size_t asyncore_map_count(asyncore_map *map);

/* The dispatcher with that descriptor, or NULL. */
ASYNCORE_API asyncore_dispatcher *asyncore_map_get(asyncore_map *map, int fd);

/*
 * The dispatcher with the lowest descriptor above fd, or NULL: a walk that
 * may close what it meets.
 *
 *     for (int fd = -1; (d = asyncore_map_next(map, fd)) != NULL;) {
 *         fd = d->fd;
 *         ...
 *     }
 */
ASYNCORE_API asyncore_dispatcher *asyncore_map_next(asyncore_map *map, int fd);

/* ---- The loop ---------------------------------------------------------- */

/*
 * Turns until nothing can ever happen again (no dispatcher in the map, no
 * timer set, no call posted), asyncore_stop, or count turns are done (-1: no
 * bound). Each turn waits at most timeout_ms. The timeout bounds a turn, not the loop: a
 * turn in which nothing happened counts. 0, or -1 when the backend fails
 * (ENOMEM; EBADF: somebody has closed the map's own descriptors), or with
 * ECHILD, see asyncore_map_after_fork; the map is as it was then. Runs
 * handlers.
 */
ASYNCORE_API int asyncore_loop(asyncore_map *map, int timeout_ms, int count);

/*
 * One turn: waits up to timeout_ms for something to happen, and serves it.
 * Returns how many dispatchers were ready, 0 when there was nothing, a signal
 * came or asyncore_wakeup was called. An empty map with no timer set and
 * nothing posted is not waited for. It may be nested in a handler. Runs handlers.
 */
ASYNCORE_API int asyncore_poll(asyncore_map *map, int timeout_ms);

/*
 * A map inside another loop. What that loop waits for is the map's
 * descriptors, beside its own:
 *
 *     for (;;) {
 *         int timeout = asyncore_map_timeout(map);
 *         int count = asyncore_map_pollfds(map, fds, capacity);
 *         if (count > capacity)
 *             ... make room, and continue
 *         poll(fds, count, timeout);
 *         asyncore_poll(map, 0);
 *     }
 *
 * or, for loops in which descriptors are registered once (epoll(7), libuv),
 * the one of asyncore_map_fileno. examples/foreign_loop.c is a whole program.
 *
 * asyncore_map_timeout does the first half of a turn, as far as the wait:
 * predicates are asked and the kernel is told what has changed. It returns
 * after how many milliseconds asyncore_poll must be called even if nothing is
 * ready: 0, at once; -1, never. Call it right before each wait, for what is
 * changed after it is not waited for. If it cannot do its work it returns 0,
 * and asyncore_poll tells why. Runs handlers.
 */
ASYNCORE_API int asyncore_map_timeout(asyncore_map *map);

/*
 * Fills in up to capacity of what poll(2) has to wait for, and returns how
 * many there are; with more than capacity, call it again with more room. When
 * any of them is ready, for other threads' calls and signals too,
 * asyncore_poll has something to do. They are those of the last
 * asyncore_map_timeout. epoll has one, poll and select one for each
 * dispatcher, and one more. -1 and errno only where the default map is made.
 */
ASYNCORE_API int asyncore_map_pollfds(asyncore_map *map, struct pollfd *fds,
                                      int capacity);

/*
 * A descriptor that is readable as long as asyncore_poll has something to do
 * other than what asyncore_map_timeout tells: for every wait that allows for
 * both. It stays the same, and the library's, until asyncore_map_free; after
 * asyncore_map_after_fork there is another. Wait for it as level-triggered.
 * ENOTSUP: poll and select have none. EMFILE, ENFILE, ENOMEM, ENOSPC.
 */
ASYNCORE_API int asyncore_map_fileno(asyncore_map *map);

/*
 * Python's ExitNow: every asyncore_loop and asyncore_poll now running on the
 * map returns as soon as the handler that called this does. What was ready
 * and not served will be reported again. If none is running, the next one
 * returns at once.
 */
ASYNCORE_API void asyncore_stop(asyncore_map *map);

/*
 * The gentle asyncore_stop, for a server that is told to end:
 *
 *  - Listeners accept those who wait, and are closed.
 *  - What has been received by now is read. A connection that has nothing
 *    unread any more gets handle_stop, which half-closes it behind what is
 *    queued. Everything gets a turn first, so that what one has sent can
 *    still reach another. One that does not stop sending gets it after half
 *    of linger_ms.
 *  - Connections end as ever, with handle_close, when the peer has finished
 *    too. Those made meanwhile are left to themselves.
 *  - When the map is empty the loop ends, whatever timers are set. After
 *    linger_ms (-1: never), asyncore_close_all and asyncore_stop end it.
 *
 * Called again it sets another end; for an end at once there is asyncore_stop.
 * Another thread has it called by asyncore_call_soon. Runs handlers.
 */
ASYNCORE_API void asyncore_stop_when_done(asyncore_map *map, int64_t linger_ms);

/*
 * Closes all dispatchers of the map; handle_close does not run. Outside a
 * turn handle_free runs now, and what it adds to the map is closed too; in a
 * turn it runs at the end of that.
 */
ASYNCORE_API void asyncore_close_all(asyncore_map *map);

/*
 * Makes the turn that is waiting, or else the next one, return from its wait
 * at once. For signal handlers and other threads: async-signal-safe
 * (POSIX, section 2.4.3) and keeps errno. map must not be NULL, and must
 * not be freed meanwhile.
 */
ASYNCORE_API void asyncore_wakeup(asyncore_map *map);

/*
 * Has fn(arg) called by the loop of the map, in its next turn, from any
 * thread; a thread's calls run in the order in which it posted them. ENOMEM.
 * map must not be freed meanwhile. fn may do what a handler may.
 */
ASYNCORE_API int asyncore_call_soon(asyncore_map *map, void (*fn)(void *arg),
                                    void *arg);

/* ---- Timers ------------------------------------------------------------ */

/*
 * A call at a later time. Yours, embedded wherever it is needed, and never
 * allocated by the library. All zero bytes: not set. While it is set it must
 * stay where it is: cancel it before you free it. A loop goes on while a timer
 * is set; asyncore_map_free cancels those of the map.
 */
typedef struct asyncore_timer {
    /* Private. */
    asyncore_map *map; /* NULL: not set */
    void (*fn)(void *arg);
    void *arg;
    int64_t every;  /* nanoseconds; 0: once */
    int64_t when;   /* by the monotonic clock */
    uint64_t order; /* among those of one moment */
    int64_t key;    /* see timer.c */
    uint64_t key_order;
    struct asyncore_timer *child, *next, *previous;
} asyncore_timer;

/*
 * Has fn(arg) called by the loop of the map (NULL: the default map), once, not
 * before delay_ms have passed; 0 or less: in the next turn. Timers of one
 * moment run in the order in which they were set. One that is set already is
 * set anew, to a later time by a few stores. fn may do what a handler may, and
 * set, cancel or free any timer, its own included. -1 and ENOMEM only where the
 * default map is made.
 */
ASYNCORE_API int asyncore_call_later(asyncore_timer *timer, asyncore_map *map,
                                     int64_t delay_ms, void (*fn)(void *arg),
                                     void *arg);

/*
 * The same every interval_ms (at least 1), first after one interval, until
 * cancelled. It keeps to the beat of its first call: a late one does not move
 * those that follow, and what was missed meanwhile is left out.
 */
ASYNCORE_API int asyncore_call_every(asyncore_timer *timer, asyncore_map *map,
                                     int64_t interval_ms, void (*fn)(void *arg),
                                     void *arg);

/* fn will not be called; fine if it is not set. */
ASYNCORE_API void asyncore_timer_cancel(asyncore_timer *timer);

/* ---- Seeing inside ----------------------------------------------------- */

/*
 * What has happened on a map since it was made. Counting is always on: it costs
 * an addition for each turn and for each call that moves bytes.
 */
typedef struct asyncore_stats {
    uint64_t turns;    /* waits for something to happen */
    uint64_t events;   /* dispatchers that those found ready */
    uint64_t received; /* bytes, by calls of the library */
    uint64_t sent;     /* bytes, which the kernel has taken */
    uint64_t accepted; /* connections */
    uint64_t closed;   /* connections, by whichever side; pipes and files too */

    /* Of asyncore_set_slow_callback_duration, while it is on. */
    uint64_t slow;      /* how many took longer than that */
    int64_t longest_ns; /* the longest of all, in nanoseconds */
    char longest[64];   /* whose it was: "echo.handle_read", "a timer", "" */
} asyncore_stats;

/* Fills in *stats. Those of a map that cannot be made are all 0. */
ASYNCORE_API void asyncore_map_stats(asyncore_map *map, asyncore_stats *stats);

/*
 * Has everything reported that holds the loop of the map (NULL: the default
 * map) for more than limit_ms, each time that it does; -1: nothing (as at
 * first). The line goes to the dispatcher's log_info, of type "slow",
 *
 *     slow: echo.handle_read held the loop for 53 ms
 *
 * or, if it is gone, or it was "a timer", "a call" (asyncore_call_soon) or "a
 * signal", to descriptor 2. What a handler has called counts as its own, a
 * nested asyncore_poll and all before that excepted. Predicates and handle_stop
 * are not timed, nor is what asyncore_readwrite runs for a loop of yours. The
 * loop reads the clock once a turn for that, and after each handler. -1 and
 * ENOMEM only where the default map is made.
 */
ASYNCORE_API int asyncore_set_slow_callback_duration(asyncore_map *map,
                                                     int64_t limit_ms);

/*
 * Has an eye on dispatchers that make the loop of the map (NULL: the default
 * map) spin: those reported ready a thousand times running, within a second,
 * with no effect. An effect is a byte received or sent, a connection accepted,
 * or another state, by calls of the library or on d->fd itself. The first time
 * for each socket, a line of type "spin" goes to its log_info,
 *
 *     spin: <echo connected 127.0.0.1:50404 at 0x55d0c8> is ready to write,
 *     and nothing is written, again and again
 *
 * and the dispatcher is not watched for that, reading or writing, for 10 ms.
 * If nothing comes of the next event either, that is doubled, up to a second,
 * until something changes. What it is watched for besides, and all others, go
 * on as ever; nothing is lost. What a class does on d->fd by itself is told
 * from what the kernel holds before and after, where datagrams that are sent,
 * or are of one size on a unix socket, leave no trace. ENOMEM.
 */
ASYNCORE_API int asyncore_set_spin_guard(asyncore_map *map, bool on);

/* ---- Signals ----------------------------------------------------------- */

/*
 * A signal that becomes a call in the loop. Yours, on the terms of a timer:
 * all zero bytes is not set, and while it is set it must stay where it is.
 */
typedef struct asyncore_signal_handler {
    /* Private. */
    asyncore_map *map; /* NULL: not set */
    void (*fn)(void *arg);
    void *arg;
    int number;
    int caught; /* it has come to this process, and fn is due; 0: not */
    struct asyncore_signal_handler *next, *next_of_map;
} asyncore_signal_handler;

/*
 * Has fn(arg) called by the loop of the map (NULL: the default map) whenever
 * the signal comes; several that come before the loop's turn make one call. fn
 * may do what a handler may. One that is set already is set anew.
 *
 * This replaces the signal's disposition (sigaction(2), with SA_RESTART) for
 * as long as anybody has a handler for it set, in any map of any thread; the
 * former one comes back with the last cancel. All that are set for a signal
 * are called. They do not keep a loop going. EINVAL: the signal cannot be
 * caught. ENOMEM only where the default map is made.
 */
ASYNCORE_API int asyncore_signal(asyncore_signal_handler *handler,
                                 asyncore_map *map, int number,
                                 void (*fn)(void *arg), void *arg);

/* fn will not be called; fine if it is not set. asyncore_map_free does it for
   those of the map. */
ASYNCORE_API void asyncore_signal_cancel(asyncore_signal_handler *handler);

/* ---- Names ------------------------------------------------------------- */

/*
 * Connects d, which has no socket and is of any class but file_dispatcher's,
 * to a service of a host: an address ("192.0.2.1", "2001:db8::1",
 * "fe80::1%eth0", without brackets) or a name, and a port ("80") or the name
 * of a service ("http"). Never blocks: names are looked up with getaddrinfo(3)
 * in threads of the map's, which end when there is nothing more to look up and
 * to which no signal is delivered.
 *
 * 0: d is connecting, and the outcome comes from the loop. The addresses, of
 * which the first 32 count, are tried as RFC 8305 says: the families in turn,
 * beginning with that of the first answer; the next one as soon as one has
 * failed, or 250 ms after the one before it began. The first to connect has
 * won, and the others are closed: handle_connect. handle_connect_error tells
 * of each that failed. When all have, handle_close follows, with the error of
 * the first address, the preferred one, in d->error. When there is no address:
 * handle_close with ENOENT (no such name; ".invalid" is not even asked for,
 * RFC 6761), EAGAIN (no answer now), EIO (an answer that is none), EINVAL,
 * ENOMEM.
 *
 * Meanwhile d may be closed at any time, which waits for nothing,
 * asyncore_set_timeout bounds all of it together, and classes with a queue
 * take what is sent. d->fd is the number that the connection will have, but no
 * socket before handle_connect, which is where options of it are set. The
 * attempts have sockets of their own, of which asyncore_map_next and its kin
 * do not tell: only a loop of the library's serves them.
 *
 * EEXIST: d has a socket. EINVAL: host or service is empty, longer than any,
 * or a number that is no port. ENOMEM, EMFILE; EAGAIN: no thread.
 */
ASYNCORE_API int asyncore_connect_name(asyncore_dispatcher *d, const char *host,
                                       const char *service);

/*
 * How long to wait before one tries again what has failed: ever longer, and
 * not all at the same time. Yours; both bounds set, all else zero bytes.
 */
typedef struct asyncore_backoff {
    int64_t first_ms; /* at least 1 */
    int64_t most_ms;  /* at least first_ms */

    /* Private. */
    int64_t next_ms;
    uint64_t random;
} asyncore_backoff;

/*
 * The delay, for asyncore_call_later: at random between the half and the whole
 * of first_ms, the next time of twice that, and so on up to most_ms.
 */
ASYNCORE_API int64_t asyncore_backoff_next(asyncore_backoff *backoff);

/* It has not failed: the next delay is the first again. */
ASYNCORE_API void asyncore_backoff_reset(asyncore_backoff *backoff);

#ifdef __cplusplus
}
#endif

#endif
