/*
 * test_failures.c - every call that the library makes to libc fails once, at
 * every place where it is made, with every errno that its manual page lists.
 *
 * A scenario is run once for each of these failures. What was to arrive need
 * not all arrive then, but what arrives is what was sent; and everything comes
 * to an end, without spinning, without a hang, with no memory and no
 * descriptor left, and with one handle_close and one handle_free for whoever
 * is owed them.
 */
#include "support/faults.h"
#include "support/world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- What every run is held against ------------------------------------ */

enum { ACTORS = 256, AMOUNT = 300 * 1024, CLIENTS = 3, CROWD = 12 };

/* More than the default handle_accept takes in a turn. */
enum { FLOOD = 100 };

/*
 * A dispatcher and its accounts. Every connection that has begun (connect
 * returned 0, or it was accepted) is ended by one handle_close, or by us:
 *     begun == closes + ours
 */
typedef struct actor {
    union {
        asyncore_dispatcher dispatcher;
        asyncore_dispatcher_with_send with_send;
        asyncore_file_dispatcher file;
    };
    bool initialised;
    int begun, closes, ours;
    int frees, errors;
    size_t done; /* bytes or events, as the scenario counts them */
} actor;

static struct {
    asyncore_map *map;
    actor actors[ACTORS];
    int count;
    bool told;        /* the library has said that something went wrong */
    int connects;     /* how often handle_connect ran */
    int finished;     /* clients that are at their end */
    int wait_limit;   /* more calls that wait than these are a spin */
    int guests;       /* how many will come */
    int turns, forks; /* of turn_elsewhere */
    int peer;         /* a plain descriptor of the scenario's */
    bool by_name;     /* asyncore_connect_name, not asyncore_connect */
    char complaint[200];
} run;

static char payload[AMOUNT];

static void complain(const char *format, ...) ASYNCORE_PRINTF(1, 2);

static void complain(const char *format, ...)
{
    va_list arguments;

    if (run.complaint[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(run.complaint, sizeof run.complaint, format, arguments);
    va_end(arguments);
}

/* A result that the library gave: -1 says that something went wrong. */
static int noted(int result)
{
    run.told |= result < 0;
    return result;
}

static actor *actor_of(asyncore_dispatcher *d)
{
    return (actor *)d;
}

static actor *new_actor(void)
{
    return &run.actors[run.count < ACTORS ? run.count++ : ACTORS - 1];
}

static void close_actor(actor *a)
{
    if (a->begun > a->closes + a->ours)
        a->ours++;
    asyncore_close(&a->dispatcher);
}

static void count_close(asyncore_dispatcher *d)
{
    actor *a = actor_of(d);

    a->closes++;
    run.told |= d->error != 0;
    if (a->closes + a->ours > a->begun)
        complain("handle_close of what had not begun, or had ended");
}

static void count_error(asyncore_dispatcher *d, int error)
{
    actor_of(d)->errors++;
    run.told = true;
    if (error == 0)
        complain("handle_error without an errno");
    asyncore_base(d)->handle_error(d, error);
}

static void count_free(asyncore_dispatcher *d)
{
    actor_of(d)->frees++;
    if (d->fd != -1)
        complain("handle_free with descriptor %d", d->fd);
}

static void swallow(asyncore_dispatcher *d, const char *message,
                    const char *type)
{
    (void)d, (void)message, (void)type;
}

static void check_actors(void)
{
    for (int i = 0; i < run.count; i++) {
        const actor *a = &run.actors[i];

        if (a->begun != a->closes + a->ours)
            complain("actor %d: %d begun, %d times handle_close, %d by us", i,
                     a->begun, a->closes, a->ours);
        if (a->initialised && a->frees != 1)
            complain("actor %d: handle_free ran %d times", i, a->frees);
        if (!a->initialised && a->frees != 0)
            complain("actor %d: never was, but handle_free ran", i);
    }
}

static int (*turn)(asyncore_map *map, int timeout_ms) = asyncore_poll;

/* Turns until done says so; a fault may make it wait, but not for long. */
static void turn_until(bool (*done)(void))
{
    int64_t until = now_ms() + DEADLINE_MS / 2;
    int failed = 0;

    while (!done() && run.complaint[0] == '\0') {
        failed += turn(run.map, 100) < 0;
        if (failed > 3)
            complain("asyncore_poll fails for ever (%s)", strerror(errno));
        if (now_ms() > until)
            complain("hangs");
        if (run.wait_limit > 0 && faults_waits() > run.wait_limit)
            complain("spins: %d waits", faults_waits());
    }
}

static bool map_is_empty(void)
{
    return asyncore_map_count(run.map) == 0;
}

/* The map is done with: whoever is still in it is closed by us. */
static void free_map(void)
{
    for (int i = 0; i < run.count; i++)
        if (run.actors[i].initialised && run.actors[i].dispatcher.fd >= 0)
            close_actor(&run.actors[i]);
    asyncore_map_free(run.map);
}

static asyncore_address loopback(void)
{
    asyncore_address a;

    memset(&a, 0, sizeof a);
    a.in.sin_family = AF_INET;
    a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.size = sizeof a.in;
    return a;
}

/* A listener, or NULL where setting one up has failed. */
static actor *new_listener(const asyncore_handlers *handlers,
                           asyncore_address *at)
{
    actor *a = new_actor();
    asyncore_dispatcher *d = &a->dispatcher;

    *at = loopback();
    if (noted(asyncore_dispatcher_init(d, handlers, -1, run.map)) < 0)
        return NULL;
    a->initialised = true;
    if (noted(asyncore_create_socket(d, AF_INET, SOCK_STREAM)) == 0) {
        asyncore_set_reuse_addr(d);
        if (noted(asyncore_bind(d, at)) == 0 &&
            noted(asyncore_listen(d, 128)) == 0 &&
            noted(asyncore_getsockname(d, at)) == 0) {
            a->begun++;
            return a;
        }
    }
    close_actor(a);
    return NULL;
}

/* ---- Echo -------------------------------------------------------------- */

static void finish_client(void)
{
    /* The last one shuts the door: the listener is the first actor. */
    if (++run.finished == CLIENTS)
        close_actor(&run.actors[0]);
}

static void echo_read(asyncore_dispatcher *d)
{
    actor *a = actor_of(d);
    char data[65536];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0 && asyncore_send(d, data, (size_t)n) > 0 &&
        asyncore_queued(d) >= a->with_send.limit)
        asyncore_set_readable(d, false);
}

static void echo_drain(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, true);
}

static void echo_eof(asyncore_dispatcher *d)
{
    if (noted(asyncore_shutdown(d)) < 0)
        close_actor(actor_of(d));
}

static const asyncore_handlers echo_channel = {
    .handle_read = echo_read,
    .handle_drain = echo_drain,
    .handle_eof = echo_eof,
    .handle_close = count_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

static void echo_accepted(asyncore_dispatcher *d, int fd,
                          const asyncore_address *peer)
{
    actor *a = new_actor();

    (void)peer;
    if (noted(asyncore_dispatcher_with_send_init(&a->with_send, &echo_channel,
                                                 fd, d->map)) == 0) {
        a->initialised = true;
        a->begun++;
    }
}

static const asyncore_handlers echo_listener = {
    .handle_accepted = echo_accepted,
    .handle_close = count_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

static void client_read(asyncore_dispatcher *d)
{
    actor *a = actor_of(d);
    char data[65536];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n <= 0)
        return;
    if (a->done + (size_t)n > sizeof payload ||
        memcmp(payload + a->done, data, (size_t)n) != 0)
        complain("what came back is not what was sent");
    a->done += (size_t)n;
}

static void client_close(asyncore_dispatcher *d)
{
    count_close(d);
    finish_client();
}

static void client_connect(asyncore_dispatcher *d)
{
    (void)d;
}

static const asyncore_handlers echo_client = {
    .handle_connect = client_connect,
    .handle_read = client_read,
    .handle_close = client_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

static void start_client(const asyncore_address *at)
{
    actor *a = new_actor();
    asyncore_dispatcher *d = &a->dispatcher;

    if (noted(asyncore_dispatcher_with_send_init(&a->with_send, &echo_client,
                                                 -1, run.map)) < 0) {
        finish_client();
        return;
    }
    a->initialised = true;
    if (noted(asyncore_create_socket(d, AF_INET, SOCK_STREAM)) < 0 ||
        noted(asyncore_connect(d, at)) < 0) {
        close_actor(a);
        finish_client();
        return;
    }
    a->begun++;
    /* A send that fails has run handle_close already. */
    if (asyncore_send(d, payload, sizeof payload) > 0 &&
        noted(asyncore_shutdown(d)) < 0) {
        close_actor(a);
        finish_client();
    }
}

static bool echo_scenario(void)
{
    asyncore_address at;
    size_t back = 0;

    if (new_listener(&echo_listener, &at) != NULL) {
        for (int i = 0; i < CLIENTS; i++)
            start_client(&at);
        turn_until(map_is_empty);
    }
    for (int i = 0; i < run.count; i++)
        back += run.actors[i].done;
    return back == CLIENTS * sizeof payload;
}

/* ---- Reconnecting ------------------------------------------------------ */

enum { ATTEMPTS = 4 };

static asyncore_address refusing;

static int connect_to_refusing(asyncore_dispatcher *d)
{
    char port[8];

    snprintf(port, sizeof port, "%u", (unsigned)ntohs(refusing.in.sin_port));
    if (run.by_name)
        return asyncore_connect_name(d, "127.0.0.1", port);
    if (noted(asyncore_create_socket(d, AF_INET, SOCK_STREAM)) < 0)
        return -1;
    return asyncore_connect(d, &refusing);
}

/* done: the attempts that were made. */
static void attempt(actor *a)
{
    asyncore_dispatcher *d = &a->dispatcher;

    if (++a->done == ATTEMPTS) {
        faults_pause();
        listen(run.peer, 1);
        faults_resume();
    }
    if (noted(connect_to_refusing(d)) == 0)
        a->begun++;
    else
        close_actor(a);
}

static void retry(asyncore_dispatcher *d)
{
    actor *a = actor_of(d);

    count_close(d);
    if (a->done >= ATTEMPTS)
        return;
    asyncore_close(d);
    attempt(a);
}

/* The plain peer sees it come and go. */
static void retry_connected(asyncore_dispatcher *d)
{
    int fd;

    (void)d;
    run.connects++;
    faults_pause();
    fd = accept4(run.peer, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        close(fd);
    run.finished += fd >= 0;
    faults_resume();
}

static const asyncore_handlers retrying = {
    .handle_connect = retry_connected,
    .handle_read = client_read,
    .handle_close = retry,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

static bool reconnect_scenario(void)
{
    actor *a = new_actor();

    /* Bound, but not listening: it refuses, and keeps the port from others. */
    faults_pause();
    refusing = loopback();
    run.peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bind(run.peer, &refusing.any, refusing.size);
    getsockname(run.peer, &refusing.any, &refusing.size);
    fcntl(run.peer, F_SETFL, O_NONBLOCK);
    faults_resume();
    if (noted(asyncore_dispatcher_init(&a->dispatcher, &retrying, -1,
                                       run.map)) == 0) {
        a->initialised = true;
        attempt(a);
        turn_until(map_is_empty);
    }
    faults_pause();
    close(run.peer);
    faults_resume();
    return a->done == ATTEMPTS && run.connects == 1 && run.finished == 1 &&
           a->errors == 0;
}

static bool names_scenario(void)
{
    run.by_name = true;
    return reconnect_scenario();
}

/* ---- A crowd ----------------------------------------------------------- */

static const asyncore_handlers guest = {
    .handle_read = echo_read,
    .handle_close = count_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

static void welcome(asyncore_dispatcher *d, int fd,
                    const asyncore_address *peer)
{
    actor *a = new_actor();

    (void)peer;
    run.finished++;
    if (noted(asyncore_dispatcher_init(&a->dispatcher, &guest, fd, d->map)) ==
        0) {
        a->initialised = true;
        a->begun++;
    }
    if (run.finished == run.guests)
        close_actor(actor_of(d));
}

static const asyncore_handlers host = {
    .handle_accepted = welcome,
    .handle_close = count_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

/* They are all gone again before anyone looks: every third with a reset. */
static bool receive(int guests)
{
    asyncore_address at;

    run.guests = guests;
    if (new_listener(&host, &at) == NULL)
        return false;
    faults_pause();
    for (int i = 0; i < guests; i++) {
        struct linger at_once = { .l_onoff = 1 };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (connect(fd, &at.any, at.size) < 0)
            complain("a peer's connect: %s", strerror(errno));
        if (i % 3 == 0)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        else
            send(fd, "hello", 5, MSG_NOSIGNAL);
        close(fd);
    }
    faults_resume();
    turn_until(map_is_empty);
    return run.finished == guests;
}

static bool crowd_scenario(void)
{
    return receive(CROWD);
}

static bool flood_scenario(void)
{
    return receive(FLOOD);
}

/* ---- Limits ------------------------------------------------------------ */

enum { CALLERS = 20, TWICE = 4 };

static asyncore_limits limits;

static void let_in(asyncore_dispatcher *d, int fd, const asyncore_address *peer)
{
    actor *a = new_actor();

    (void)peer;
    if (noted(asyncore_dispatcher_init(&a->dispatcher, &guest, fd, d->map)) ==
        0) {
        a->initialised = true;
        a->begun++;
        run.finished++;
    }
}

static const asyncore_handlers doorman = {
    .handle_accepted = let_in,
    .handle_close = count_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

static bool all_were_seen(void)
{
    return run.finished + (int)limits.refused == CALLERS + TWICE || run.told;
}

/* The listener is the first actor. */
static size_t guests_inside(void)
{
    size_t inside = 0;

    for (int i = 1; i < run.count; i++)
        inside += run.actors[i].initialised && run.actors[i].dispatcher.fd >= 0;
    return inside;
}

static bool all_have_gone(void)
{
    return guests_inside() == 0;
}

static void check_census(void)
{
    size_t open = run.actors[0].dispatcher.fd >= 0 ? guests_inside() : 0;

    if (limits.open != open)
        complain("%zu are counted, %zu are there", limits.open, open);
    if ((limits.census != NULL) != (run.actors[0].dispatcher.fd >= 0))
        complain("the limits are not those of a living listener");
}

/* From more addresses than the census begins with; the last few are there
   already. */
static void call(int number, const asyncore_address *at, int *fd)
{
    asyncore_address from = loopback();

    from.in.sin_addr.s_addr =
        htonl(INADDR_LOOPBACK + (uint32_t)(number % CALLERS));
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(*fd, &from.any, from.size) < 0 ||
        connect(*fd, &at->any, at->size) < 0)
        complain("a peer's connect: %s", strerror(errno));
    send(*fd, "hello", 5, MSG_NOSIGNAL);
}

static bool limits_scenario(void)
{
    int peers[CALLERS + TWICE];
    asyncore_address at;
    actor *listener = new_listener(&doorman, &at);

    limits = (asyncore_limits){ .per_peer = 1, .word = "busy" };
    if (listener == NULL)
        return false;
    if (noted(asyncore_set_limits(&listener->dispatcher, &limits)) < 0) {
        if (limits.census != NULL)
            complain("limits that failed are in use");
        return false;
    }
    faults_pause();
    for (int i = 0; i < CALLERS + TWICE; i++)
        call(i, &at, &peers[i]);
    faults_resume();
    turn_until(all_were_seen);
    check_census();
    faults_pause();
    for (int i = 0; i < CALLERS + TWICE; i++)
        close(peers[i]);
    faults_resume();
    turn_until(all_have_gone);
    check_census();
    close_actor(listener);
    check_census();
    /* Without memory to count it, one is refused. */
    run.told |= limits.refused > TWICE;
    return run.finished == CALLERS && limits.refused == TWICE;
}

/* ---- Files ------------------------------------------------------------- */

static void pour(asyncore_dispatcher *d)
{
    actor *a = actor_of(d);
    ssize_t n = asyncore_send(d, payload + a->done, sizeof payload - a->done);

    if (n < 0)
        return;
    a->done += (size_t)n;
    if (a->done == sizeof payload)
        close_actor(a);
}

static const asyncore_handlers pouring = {
    .handle_write = pour,
    .handle_close = count_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

static const asyncore_handlers drinking = {
    .handle_read = client_read,
    .handle_close = count_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

/* fd is closed as soon as the library has its own. */
static actor *new_file(const asyncore_handlers *handlers, int fd)
{
    actor *a = new_actor();

    if (noted(asyncore_file_dispatcher_init(&a->file, handlers, fd, run.map)) ==
        0) {
        a->initialised = true;
        a->begun++;
    }
    faults_pause();
    close(fd);
    faults_resume();
    return a;
}

static bool files_scenario(void)
{
    actor *reader, *writer, *file;
    char name[] = "/tmp/asyncore.XXXXXX";
    int ends[2], fd;

    faults_pause();
    if (pipe2(ends, O_CLOEXEC) < 0)
        return false;
    fd = mkstemp(name);
    unlink(name);
    if (pwrite(fd, payload, sizeof payload, 0) != sizeof payload)
        complain("a file could not be written");
    faults_resume();
    reader = new_file(&drinking, ends[0]);
    writer = new_file(&pouring, ends[1]);
    file = new_file(&drinking, fd);
    if (writer->initialised)
        asyncore_set_writable(&writer->dispatcher, true);
    turn_until(map_is_empty);
    return reader->done == sizeof payload && file->done == sizeof payload;
}

/* ---- Datagrams --------------------------------------------------------- */

enum { PINGS = 5 };

static void pong(asyncore_dispatcher *d)
{
    asyncore_address from;
    char data[64];
    ssize_t n = asyncore_recvfrom(d, data, sizeof data, &from);

    if (n > 0)
        n = asyncore_sendto(d, data, (size_t)n, &from);
    if (n < 0 && errno == EBADF) {
        run.told = true;
        close_actor(actor_of(d));
    }
}

static const asyncore_handlers ponging = {
    .handle_read = pong,
    .handle_close = count_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

static void ping(asyncore_dispatcher *d)
{
    char data[64];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n < 0)
        return;
    if (n != 4 || memcmp(data, "ping", 4) != 0)
        complain("another datagram came back");
    if (++actor_of(d)->done < PINGS)
        asyncore_send(d, "ping", 4);
}

static const asyncore_handlers pinging = {
    .handle_read = ping,
    .handle_close = count_close,
    .handle_error = count_error,
    .handle_free = count_free,
    .log_info = swallow,
};

static actor *new_datagram(const asyncore_handlers *handlers)
{
    actor *a = new_actor();

    if (noted(asyncore_dispatcher_init(&a->dispatcher, handlers, -1, run.map)) <
        0)
        return a;
    a->initialised = true;
    if (noted(asyncore_create_socket(&a->dispatcher, AF_INET, SOCK_DGRAM)) == 0)
        a->begun++;
    return a;
}

static bool datagram_scenario(void)
{
    actor *server = new_datagram(&ponging);
    actor *client = new_datagram(&pinging);
    asyncore_dispatcher *d = &client->dispatcher;
    asyncore_address at = loopback();
    int64_t until = now_ms() + DEADLINE_MS / 2;
    bool whole = false;

    if (server->begun > 0 && client->begun > 0 &&
        noted(asyncore_bind(&server->dispatcher, &at)) == 0 &&
        noted(asyncore_getsockname(&server->dispatcher, &at)) == 0 &&
        noted(asyncore_connect(d, &at)) == 0) {
        /* A datagram may be lost, and nobody is told: it is sent again. */
        while (server->dispatcher.fd >= 0 && d->fd >= 0 &&
               client->done < PINGS && run.complaint[0] == '\0') {
            asyncore_send(d, "ping", 4);
            while (asyncore_poll(run.map, 10) > 0 && client->done < PINGS)
                ;
            if (now_ms() > until)
                complain("hangs");
        }
        whole = client->done >= PINGS;
    }
    /* With a map of their own to come to an end in, so that both do. */
    if (server->initialised)
        close_actor(server);
    if (client->initialised)
        close_actor(client);
    return whole;
}

/* ---- In another loop, with forks --------------------------------------- */

/* The map is as good as new after asyncore_map_after_fork, in whatever process;
   where that fails it is called again. */
static int turn_elsewhere(asyncore_map *map, int timeout_ms)
{
    struct pollfd fds[64];
    int timeout, count, fd = -1;

    if (run.turns++ % 4 == 2)
        while (noted(asyncore_map_after_fork(map)) < 0 && run.forks++ < 10)
            ;
    if (run.turns % 2 == 0) {
        fd = asyncore_map_fileno(map);
        noted(fd < 0 && errno != ENOTSUP ? -1 : 0);
    }
    timeout = asyncore_map_timeout(map);
    if (timeout < 0 || timeout > timeout_ms)
        timeout = timeout_ms;
    count = asyncore_map_pollfds(map, fds, 64);
    if (fd >= 0) {
        fds[0] = (struct pollfd){ .fd = fd, .events = POLLIN };
        count = 1;
    }
    faults_pause();
    poll(fds, (nfds_t)count, timeout);
    faults_resume();
    return asyncore_poll(map, 0);
}

static bool elsewhere_scenario(void)
{
    bool whole;

    turn = turn_elsewhere;
    whole = echo_scenario();
    turn = asyncore_poll;
    return whole;
}

/* ---- The map alone ----------------------------------------------------- */

static int calls_run;

static void called(void *arg)
{
    if (*(int *)arg != calls_run++)
        complain("calls ran out of order");
}

static bool calls_scenario(void)
{
    static int numbers[4];
    int posted = 0;

    calls_run = 0;
    for (int i = 0; i < 4; i++) {
        numbers[posted] = posted;
        if (noted(asyncore_call_soon(run.map, called, &numbers[posted])) == 0)
            posted++;
    }
    asyncore_wakeup(run.map);
    asyncore_poll(run.map, 100);
    asyncore_wakeup(run.map);
    for (int i = 0; i < 3 && asyncore_loop(run.map, 100, 10) < 0; i++)
        ;
    if (calls_run != posted)
        complain("%d calls posted, %d run", posted, calls_run);
    /* One that is never run is dropped. */
    asyncore_call_soon(run.map, called, &numbers[0]);
    return posted == 4;
}

/* ---- All failures ------------------------------------------------------ */

/* As the manual pages list them, section ERRORS. */
static const struct {
    fault f;
    int errors[28];
} manual[] = {
    { FAULT_malloc, { ENOMEM } },
    { FAULT_calloc, { ENOMEM } },
    { FAULT_realloc, { ENOMEM } },
    { FAULT_socket,
      { EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM,
        EPROTONOSUPPORT } },
    { FAULT_accept,
      { EAGAIN,       EBADF,          ECONNABORTED, EFAULT,      EINTR,
        EINVAL,       EMFILE,         ENFILE,       ENOBUFS,     ENOMEM,
        ENOTSOCK,     EOPNOTSUPP,     EPERM,        EPROTO,      ENETDOWN,
        ENOPROTOOPT,  EHOSTDOWN,      EHOSTUNREACH, ENETUNREACH, ETIMEDOUT,
#ifdef ENONET
        ENONET,
#endif
        EAFNOSUPPORT, EPROTONOSUPPORT } },
    { FAULT_connect,
      { EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN,
        EALREADY, EBADF, ECONNREFUSED, EFAULT, EINPROGRESS, EINTR, EISCONN,
        ENETUNREACH, ENOTSOCK, EPROTOTYPE, ETIMEDOUT } },
    { FAULT_bind,
      { EACCES, EADDRINUSE, EBADF, EINVAL, ENOTSOCK, EADDRNOTAVAIL, EFAULT,
        ENOMEM } },
    { FAULT_listen, { EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP } },
    { FAULT_recv,
      { FAULT_SHORT, EAGAIN, EBADF, ECONNREFUSED, ECONNRESET, EFAULT, EINTR,
        EINVAL, ENOMEM, ENOTCONN, ENOTSOCK, ETIMEDOUT } },
    { FAULT_recvfrom,
      { EAGAIN, EBADF, ECONNREFUSED, EFAULT, EINTR, EINVAL, ENOMEM, ENOTCONN,
        ENOTSOCK } },
    { FAULT_send,
      { FAULT_SHORT, EACCES, EAGAIN, EALREADY, EBADF, ECONNRESET, EDESTADDRREQ,
        EFAULT, EINTR, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN,
        ENOTSOCK, EOPNOTSUPP, EPIPE, ECONNREFUSED } },
    { FAULT_sendmsg,
      { FAULT_SHORT, EACCES, EAGAIN, EALREADY, EBADF, ECONNRESET, EDESTADDRREQ,
        EFAULT, EINTR, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN,
        ENOTSOCK, EOPNOTSUPP, EPIPE } },
    { FAULT_sendto,
      { EACCES, EAGAIN, EBADF, ECONNREFUSED, EDESTADDRREQ, EFAULT, EINTR,
        EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK,
        EPIPE } },
    { FAULT_read,
      { FAULT_SHORT, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR } },
    { FAULT_write,
      { FAULT_SHORT, EAGAIN, EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG, EINTR,
        EINVAL, EIO, ENOSPC, EPERM, EPIPE } },
    { FAULT_shutdown, { EBADF, EINVAL, ENOTCONN, ENOTSOCK, ENOBUFS } },
    { FAULT_getsockopt,
      { EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, ENOBUFS } },
    { FAULT_setsockopt,
      { EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, ENOMEM } },
    { FAULT_getsockname, { EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK } },
    { FAULT_getpeername,
      { EBADF, EFAULT, EINVAL, ENOBUFS, ENOTCONN, ENOTSOCK } },
    { FAULT_fcntl, { EACCES, EAGAIN, EBADF, EFAULT, EINVAL, EMFILE, EPERM } },
    { FAULT_fstat, { EBADF, EFAULT, ENOMEM, EACCES } },
    { FAULT_ioctl, { EBADF, EFAULT, EINVAL, ENOTTY } },
    { FAULT_close, { EINTR, EIO, ENOSPC, EDQUOT } },
    { FAULT_poll, { EFAULT, EINTR, EINVAL, ENOMEM } },
    { FAULT_select, { EBADF, EINTR, EINVAL, ENOMEM } },
    { FAULT_pthread_mutex_init, { EAGAIN, ENOMEM, EPERM } },
#ifdef ASYNCORE_HAVE_EPOLL
    { FAULT_epoll_create1, { EINVAL, EMFILE, ENFILE, ENOMEM } },
    { FAULT_epoll_ctl,
      { EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC } },
    { FAULT_epoll_wait, { EFAULT, EINTR, EINVAL } },
#endif
#ifdef ASYNCORE_HAVE_DUP3
    { FAULT_dup3, { EBADF, EBUSY, EINTR, EINVAL, EMFILE } },
#endif
#ifdef ASYNCORE_HAVE_EVENTFD
    { FAULT_eventfd, { EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM } },
#endif
#ifdef ASYNCORE_HAVE_GETENTROPY
    { FAULT_getentropy, { EFAULT, EIO, ENOSYS } },
#endif
};

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS ||
           error == ENOMEM;
}

/* Those that are about the listener itself, which it cannot survive. */
static bool is_fatal(int error)
{
    return error == EBADF || error == EFAULT || error == EINVAL ||
           error == ENOTSOCK || error == EAFNOSUPPORT ||
           error == EPROTONOSUPPORT;
}

/* What nobody need hear of: try again, or it does not matter. */
static bool is_harmless(fault f, int error)
{
    switch (f) {
    case FAULT_recv:
    case FAULT_send:
    case FAULT_sendmsg:
    case FAULT_read:
    case FAULT_write:
        return error == FAULT_SHORT || error == EAGAIN || error == EINTR;
    case FAULT_accept:
        return error == EAGAIN || error == EINTR ||
               (!is_fatal(error) && !is_shortage(error));
    case FAULT_connect: return error == EINTR || error == EINPROGRESS;
    case FAULT_close: return true;
#ifdef ASYNCORE_HAVE_EPOLL
    case FAULT_epoll_ctl: return error == EEXIST || error == ENOENT;
#endif
    case FAULT_setsockopt: return error != EBADF;
#ifdef ASYNCORE_HAVE_GETENTROPY
    case FAULT_getentropy: return true; /* the time will do */
#endif
    default: return error == EINTR;
    }
}

/* One run, from a new map to its end. Returns whether all went as if there
   were no faults. */
static bool run_once(bool (*scenario)(void), fault f, int n, int times,
                     int error, bool *struck)
{
    int allocations = faults_allocations();
    int descriptors = faults_descriptors();
    int limit = run.wait_limit;
    bool whole = false;

    memset(&run, 0, sizeof run);
    run.wait_limit = limit;
    faults_arm(f, n, times, error);
    run.map = asyncore_map_new(NULL);
    if (noted(run.map != NULL ? 0 : -1) == 0) {
        whole = scenario();
        free_map();
    }
    *struck = faults_disarm();
    check_actors();
    if (!whole && !run.told)
        complain("something was lost without a word");
    if (!whole && *struck && is_harmless(f, error))
        complain("took a passing condition for a failure");
    if (faults_stray_closes() > 0)
        complain("closed %d times what was not open", faults_stray_closes());
    if (faults_allocations() != allocations)
        complain("%d allocations left", faults_allocations() - allocations);
    if (faults_descriptors() != descriptors)
        complain("%d descriptors left", faults_descriptors() - descriptors);
    return whole;
}

/* A datagram is never cut; and of the map's own descriptors, for waking and
   for waiting, nobody else knows, so that little can happen to them. */
static bool is_possible(bool (*scenario)(void), fault f, int error)
{
#ifdef ASYNCORE_HAVE_EPOLL
    if (scenario == elsewhere_scenario && f == FAULT_epoll_ctl)
        return error != EBADF;
#endif
    if (scenario == datagram_scenario)
        return error != FAULT_SHORT;
    return scenario != calls_scenario ||
           (f != FAULT_write && f != FAULT_read) || error == EINTR;
}

/* Without faults; calls: how often each function was called then. */
static void try_none(bool (*scenario)(void), int calls[FAULT_COUNT])
{
    bool struck;

    run.wait_limit = 0;
    if (!run_once(scenario, FAULT_malloc, 0, 0, 0, &struck))
        complain("does not even work without faults");
    if (run.complaint[0] != '\0')
        fail_msg("%s", run.complaint);
    for (int f = 0; f < FAULT_COUNT; f++)
        calls[f] = faults_calls((fault)f);
    run.wait_limit = 4 * faults_waits() + 100;
}

/* Only: of all functions, or of one; step: of the n, every so many. With ONE_IN
   the errors begin at different ones, so that each is met by some. */
static void try_some(bool (*scenario)(void), fault only, int step)
{
    int calls[FAULT_COUNT], faults = 0;
    bool struck;

    try_none(scenario, calls);

    for (size_t row = 0; row < sizeof manual / sizeof *manual; row++) {
        fault f = manual[row].f;

        if (calls[f] == 0 || (only != FAULT_COUNT && only != f))
            continue;
        for (int i = 0; manual[row].errors[i] != 0; i++) {
            int error = manual[row].errors[i], n = 1 + i % ONE_IN;

            if (!is_possible(scenario, f, error))
                continue;
            for (struck = true; struck; n += step * ONE_IN, faults++) {
                bool whole = run_once(scenario, f, n, 1, error, &struck);

                if (!struck && !whole)
                    complain("failed with nothing failing");
                if (run.complaint[0] != '\0')
                    fail_msg("%s no. %d, %s: %s", fault_names[f], n,
                             error == FAULT_SHORT ? "half" : strerror(error),
                             run.complaint);
            }
        }
    }
    print_message("%d runs\n", faults);
}

static void try_all(bool (*scenario)(void))
{
    try_some(scenario, FAULT_COUNT, 1);
}

static void echo(void **state)
{
    (void)state;
    try_all(echo_scenario);
}

/* Were the calls not caught, everything here would pass. */
static void caught(void **state)
{
    static const fault expected[] = {
        FAULT_malloc,     FAULT_calloc,     FAULT_realloc,     FAULT_socket,
        FAULT_accept,     FAULT_connect,    FAULT_bind,        FAULT_listen,
        FAULT_recv,       FAULT_send,       FAULT_sendmsg,     FAULT_shutdown,
        FAULT_getsockopt, FAULT_setsockopt, FAULT_getpeername, FAULT_close,
    };
    int calls[FAULT_COUNT];

    (void)state;
    try_none(echo_scenario, calls);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (calls[expected[i]] == 0)
            fail_msg("no call of %s", fault_names[expected[i]]);
    assert_true(run.wait_limit > 100);
}

/* From the n-th on there is no memory at all. */
static void no_memory(void **state)
{
    static bool (*const scenarios[])(void) = {
        calls_scenario,     files_scenario,     datagram_scenario,
        reconnect_scenario, names_scenario,     crowd_scenario,
        echo_scenario,      elsewhere_scenario, limits_scenario,
    };
    static const fault functions[] = { FAULT_malloc, FAULT_calloc,
                                       FAULT_realloc };
    int calls[FAULT_COUNT];

    (void)state;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        try_none(scenarios[i], calls);
        for (size_t j = 0; j < sizeof functions / sizeof *functions; j++) {
            bool struck = true;

            for (int n = 1; struck; n++) {
                run_once(scenarios[i], functions[j], n, 1 << 20, ENOMEM,
                         &struck);
                if (run.complaint[0] != '\0')
                    fail_msg("scenario %zu, %s from no. %d on: %s", i,
                             fault_names[functions[j]], n, run.complaint);
            }
        }
    }
}

/* ---- The listener ------------------------------------------------------ */

/* A listener with a map of its own, and a plain peer that has connected. */
static asyncore_address open_house(void)
{
    asyncore_address at;

    memset(&run, 0, sizeof run);
    run.map = asyncore_map_new(NULL);
    assert_non_null(run.map);
    assert_non_null(new_listener(&host, &at));
    return at;
}

static void close_house(void)
{
    free_map();
    check_actors();
    assert_string_equal(run.complaint, "");
}

/* Whatever accept says of one connection, the next one is accepted. */
static void accept_again(void **state)
{
    (void)state;
    for (size_t row = 0; row < sizeof manual / sizeof *manual; row++) {
        for (int i = 0; manual[row].errors[i] != 0; i++) {
            int error = manual[row].errors[i];
            asyncore_address at;
            actor *listener = &run.actors[0];
            int peers[2];

            if (manual[row].f != FAULT_accept || is_fatal(error))
                continue;
            at = open_house();
            peers[0] = peer_connect(&at);
            faults_arm(FAULT_accept, 1, 1, error);
            run_until(run.map, run.finished == 1);
            assert_true(faults_disarm());
            peers[1] = peer_connect(&at);
            run_until(run.map, run.finished == 2);
            assert_true(listener->dispatcher.accepting);
            assert_int_equal(listener->errors, is_shortage(error));
            assert_int_equal(listener->closes, 0);
            close(peers[0]);
            close(peers[1]);
            close_house();
        }
    }
}

/* Reported once for each shortage, and waited for without spinning. */
static void shortage(void **state)
{
    static const int errors[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM };

    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        asyncore_address at = open_house();
        actor *listener = &run.actors[0];
        int peers[4];

        for (int episode = 0; episode < 2; episode++) {
            int64_t until = now_ms() + 250;

            peers[2 * episode] = peer_connect(&at);
            faults_arm(FAULT_accept, 1, 1 << 20, errors[i]);
            while (now_ms() < until)
                assert_true(asyncore_poll(run.map, 50) >= 0);
            assert_true(faults_disarm());
            assert_int_equal(run.finished, episode);
            assert_int_equal(listener->errors, episode + 1);
            assert_in_range(faults_calls(FAULT_accept), 1, 50);
            assert_in_range(faults_waits(), 1, 50);

            /* There is enough again: whoever waited or comes is let in. */
            peers[2 * episode + 1] = peer_connect(&at);
            run_until(run.map, run.finished > episode);
            assert_int_equal(listener->errors, episode + 1);
            assert_true(listener->dispatcher.accepting);
            run_until(run.map, run.actors[run.count - 1].dispatcher.fd >= 0);
            run.finished = episode + 1;
        }
        for (int j = 0; j < 4; j++)
            close(peers[j]);
        close_house();
    }
}

/* Nobody comes back in time: those who wait are refused, so that they know. */
static void refusal(void **state)
{
    asyncore_address at = open_house();
    actor *listener = &run.actors[0];
    int peers[3];
    int64_t begin = now_ms();
    char byte;

    (void)state;
    for (int i = 0; i < 3; i++)
        peers[i] = peer_connect(&at);
    /* The first try, and the one after the pause; the reserve succeeds. */
    faults_arm(FAULT_accept, 1, 2, EMFILE);
    while (faults_calls(FAULT_accept) < 5) {
        assert_true(asyncore_poll(run.map, 50) >= 0);
        assert_true(now_ms() - begin < DEADLINE_MS);
    }
    assert_true(faults_disarm());
    for (int i = 0; i < 3; i++) {
        assert_true(recv(peers[i], &byte, 1, 0) <= 0);
        close(peers[i]);
    }
    assert_int_equal(run.finished, 0);
    assert_int_equal(listener->errors, 1);
    peers[0] = peer_connect(&at);
    run_until(run.map, run.finished == 1);
    assert_true(listener->dispatcher.accepting);
    close(peers[0]);
    close_house();
}

/* A pause is over as soon as something is closed. */
static void shortage_relieved(void **state)
{
    asyncore_address at = open_house();
    int peers[2];

    (void)state;
    peers[0] = peer_connect(&at);
    run_until(run.map, run.finished == 1);
    peers[1] = peer_connect(&at);
    faults_arm(FAULT_accept, 1, 1, EMFILE);
    run_until(run.map, run.actors[0].errors == 1);
    assert_true(faults_disarm());
    close_actor(&run.actors[1]);
    /* Without waiting, and so long before the pause would have ended. */
    for (int i = 0; i < 3; i++)
        assert_true(asyncore_poll(run.map, 0) >= 0);
    assert_int_equal(run.finished, 2);
    close(peers[0]);
    close(peers[1]);
    close_house();
}

/* ---- The loop ---------------------------------------------------------- */

/* It says so, loses nothing, and can go on. */
static void wait_failed(void **state)
{
    asyncore_address at = open_house();
    const char *backend = asyncore_map_backend(run.map);
    fault f = FAULT_poll;
    int peer;

    (void)state;
    if (strcmp(backend, "select") == 0)
        f = FAULT_select;
#ifdef ASYNCORE_HAVE_EPOLL
    if (strcmp(backend, "epoll") == 0)
        f = FAULT_epoll_wait;
#endif
    peer = peer_connect(&at);
    faults_arm(f, 1, 1, ENOMEM);
    errno = 0;
    assert_int_equal(asyncore_loop(run.map, DEADLINE_MS, 1), -1);
    assert_int_equal(errno, ENOMEM);
    faults_disarm();
    faults_arm(f, 1, 1, ENOMEM);
    assert_int_equal(asyncore_poll(run.map, DEADLINE_MS), -1);
    faults_disarm();
    faults_arm(f, 1, 1, EINTR);
    assert_int_equal(asyncore_poll(run.map, DEADLINE_MS), 0);
    faults_disarm();
    assert_int_equal(asyncore_map_count(run.map), 1);
    assert_int_equal(run.actors[0].errors + run.actors[0].closes, 0);
    run_until(run.map, run.finished == 1);
    close(peer);
    close_house();
}

/* What is made anew after a fork, and for another loop. */
static void elsewhere(void **state)
{
    static const fault functions[] = {
        FAULT_malloc,        FAULT_calloc,    FAULT_realloc,
#ifdef ASYNCORE_HAVE_EPOLL
        FAULT_epoll_create1, FAULT_epoll_ctl,
#endif
#ifdef ASYNCORE_HAVE_EVENTFD
        FAULT_eventfd,
#endif
    };

    (void)state;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        try_some(elsewhere_scenario, functions[i], 1);
}

static void reconnect(void **state)
{
    (void)state;
    try_all(reconnect_scenario);
}

static void names(void **state)
{
    (void)state;
    try_all(names_scenario);
}

static void crowd(void **state)
{
    (void)state;
    try_all(crowd_scenario);
}

/* Only what a crowd does not show: a batch is not all that wait. */
static void flood(void **state)
{
    (void)state;
    try_some(flood_scenario, FAULT_accept, 7);
}

static void limited(void **state)
{
    (void)state;
    try_all(limits_scenario);
}

static void files(void **state)
{
    (void)state;
    try_all(files_scenario);
}

static void datagrams(void **state)
{
    (void)state;
    try_all(datagram_scenario);
}

static void calls(void **state)
{
    (void)state;
    try_all(calls_scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caught),       cmocka_unit_test(calls),
        cmocka_unit_test(reconnect),    cmocka_unit_test(names),
        cmocka_unit_test(files),        cmocka_unit_test(datagrams),
        cmocka_unit_test(crowd),        cmocka_unit_test(flood),
        cmocka_unit_test(limited),      cmocka_unit_test(echo),
        cmocka_unit_test(elsewhere),    cmocka_unit_test(no_memory),
        cmocka_unit_test(accept_again), cmocka_unit_test(shortage),
        cmocka_unit_test(refusal),      cmocka_unit_test(shortage_relieved),
        cmocka_unit_test(wait_failed),
    };

    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (char)(i * 7 + i / 251);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
