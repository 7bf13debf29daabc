/*
 * load.c - the client that loads the servers of the benchmarks, on epoll(7).
 *
 *     load MODE PORT [-p PID] [-c CONNECTIONS] [-s SIZE] [-d DEPTH]
 *          [-n COUNT] [-w WARM-UP] [-t MILLISECONDS]
 *
 * echo       each connection has DEPTH messages of SIZE bytes under way; COUNT
 *            of all are measured, fewer where the time is over before. A message
 *            is a line.
 * churn      COUNT times, CONNECTIONS at once: connect, a message, its echo,
 *            close.
 * broadcast  COUNT times: a line from one connection, and what it makes the
 *            server send, SIZE bytes, has come on all of them.
 * hold       each connection sends a message, gets its echo, and says nothing
 *            more until standard input has a line, or ends.
 * late       each connection sends what it can of DEPTH messages, and waits for
 *            a line before it reads; when all has come back, it waits for
 *            another one.
 *
 * Prints "NAME VALUE" lines: count, seconds, and cpu, the processor seconds
 * that PID, the server, has used meanwhile, the kernel's part included. What
 * comes before, connecting and the warm-up, is not measured. Every echo is
 * compared with what was sent. Nothing takes longer than two minutes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, BUFFER = 65536, TIME_LIMIT = 120 };

typedef struct connection {
    int fd;
    size_t at;      /* bytes of the message that is coming */
    size_t unsent;  /* bytes that are due */
    size_t sent_at; /* bytes of the message that is being sent */
} connection;

typedef struct moment {
    double wall, cpu;
} moment;

static int port, connections = 1;
static size_t size = 64, depth = 1, count = 1000, warm_up;
static double time_limit = TIME_LIMIT;
static clockid_t server_clock;
static int has_server, compared = 1;

static connection *all;
static int poller;
/* The messages of a stream, one after the other. */
static char *stream;
static char buffer[BUFFER];

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void make_stream(void)
{
    size_t i, length = BUFFER + size;

    stream = malloc(length);
    if (stream == NULL)
        fail("malloc");
    for (i = 0; i < length; i++)
        stream[i] = (char)('a' + i % size % 26);
    for (i = size; i <= length; i += size) {
        stream[i - 1] = '\n';
        if (size > 1)
            stream[i - 2] = '\r';
    }
}

static double seconds(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) < 0)
        fail("clock_gettime");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static moment now(void)
{
    moment m = { .wall = seconds(CLOCK_MONOTONIC) };

    if (has_server)
        m.cpu = seconds(server_clock);
    return m;
}

static void report(size_t n, moment begun)
{
    moment ended = now();

    printf("count %zu\nseconds %.9f\n", n, ended.wall - begun.wall);
    if (has_server)
        printf("cpu %.9f\n", ended.cpu - begun.cpu);
    fflush(stdout);
}

/*
 * Each process has an address of its own, and another one for each 4096
 * connections, so that no local port is waited for that an earlier connection
 * to the same server has used.
 */
static void choose_address(int fd)
{
    static unsigned made;
    unsigned host = (unsigned)getpid() * 64 + made++ / 4096;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr = { htonl(0x7f010001 + host % 0xfe0000) },
    };
    int on = 1;

    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) <
            0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
}

static void open_connection(connection *c)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((unsigned short)port),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET,
                                 .data = { .ptr = c } };
    int on = 1;

    *c = (connection){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) };
    if (c->fd < 0)
        fail("socket");
    choose_address(c->fd);
    if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 &&
         errno != EINPROGRESS) ||
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("connect");
}

/* Without the wait for stray segments that would use up the ports. */
static void reset_connection(connection *c)
{
    struct linger at_once = { .l_onoff = 1 };

    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(c->fd);
}

/* What the kernel takes of what is due. */
static void transmit(connection *c)
{
    while (c->unsent > 0) {
        size_t n = c->unsent < BUFFER ? c->unsent : BUFFER;
        ssize_t sent = send(c->fd, stream + c->sent_at, n, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN || errno == ENOTCONN)
                return;
            fail("send");
        }
        c->unsent -= (size_t)sent;
        c->sent_at = (c->sent_at + (size_t)sent) % size;
    }
}

/* Returns how many messages have come to their end. */
static size_t receive(connection *c)
{
    size_t whole = 0;
    ssize_t n;

    do {
        n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
            break;
        if (n <= 0)
            fail(n < 0 ? "recv" : "the server has closed");
        if (compared && memcmp(buffer, stream + c->at, (size_t)n) != 0) {
            errno = EBADMSG;
            fail("the echo");
        }
        c->at += (size_t)n;
        whole += c->at / size;
        c->at %= size;
    } while (n == (ssize_t)sizeof buffer);
    return whole;
}

static int wait_for(struct epoll_event *events)
{
    int n = epoll_wait(poller, events, BATCH, -1);

    if (n < 0 && errno != EINTR)
        fail("epoll_wait");
    return n;
}

/* Sends and receives until so many messages have come. */
static void await(int messages)
{
    struct epoll_event events[BATCH];
    int i, n;

    while (messages > 0) {
        n = wait_for(events);
        for (i = 0; i < n; i++) {
            connection *c = events[i].data.ptr;
            transmit(c);
            messages -= (int)receive(c);
        }
    }
}

/* Opens connections from..to, each of which sends a message and gets it. */
static void greet(int from, int to)
{
    int i;

    for (i = from; i < to; i++) {
        open_connection(&all[i]);
        all[i].unsent = size;
        transmit(&all[i]);
    }
    await(to - from);
}

/* Few enough at a time for any backlog. */
static void greet_all(void)
{
    int i;

    for (i = 0; i < connections; i += BATCH)
        greet(i, i + BATCH < connections ? i + BATCH : connections);
}

/* The server serves in the order in which things happen: when it has answered
   another one, it has seen those go. */
static void leave(void)
{
    int i;

    for (i = 0; i < connections; i++)
        reset_connection(&all[i]);
    greet(0, 1);
    reset_connection(&all[0]);
}

/* Whole messages for c to send, up to wanted. */
static void start(connection *c, size_t *to_start, size_t wanted)
{
    size_t n = wanted < *to_start ? wanted : *to_start;

    *to_start -= n;
    c->unsent += n * size;
    transmit(c);
}

static void echo(void)
{
    struct epoll_event events[BATCH];
    size_t to_start = count + warm_up, left = to_start, done = 0;
    moment begun;
    int i, n;

    greet_all();
    begun = now();
    for (i = 0; i < connections; i++)
        start(&all[i], &to_start, depth);
    while (left > 0) {
        size_t before = done;
        n = wait_for(events);
        for (i = 0; i < n; i++) {
            connection *c = events[i].data.ptr;
            size_t whole = receive(c);
            done += whole;
            left -= whole;
            start(c, &to_start, whole);
        }
        if (before < warm_up && done >= warm_up) {
            warm_up = done;
            begun = now();
        }
        if (seconds(CLOCK_MONOTONIC) > begun.wall + time_limit) {
            left -= to_start;
            to_start = 0;
        }
    }
    report(done - warm_up, begun);
    leave();
}

static void churn(void)
{
    struct epoll_event events[BATCH];
    size_t done = 0, opened = 0;
    moment begun = now();
    int i, n;

    for (i = 0; i < connections; i++, opened++) {
        open_connection(&all[i]);
        all[i].unsent = size;
    }
    while (done < count + warm_up) {
        n = wait_for(events);
        for (i = 0; i < n; i++) {
            connection *c = events[i].data.ptr;
            transmit(c);
            if (receive(c) == 0)
                continue;
            close(c->fd);
            if (++done == warm_up)
                begun = now();
            if (opened == count + warm_up)
                continue;
            opened++;
            open_connection(c);
            c->unsent = size;
            transmit(c);
        }
    }
    report(done - warm_up, begun);
}

/* Has one of the channels send a line; all of them get a message. */
static void trigger(connection *c, int channels)
{
    c->unsent = 1;
    transmit(c);
    await(channels);
}

static void broadcast(void)
{
    moment begun = { 0 };
    size_t done;
    int i;

    compared = 0;
    memset(stream, '\n', BUFFER);
    for (i = 0; i < connections; i++) {
        open_connection(&all[i]);
        /* When this one has its message, all before it are accepted. */
        if (i % BATCH == BATCH - 1 || i == connections - 1)
            trigger(&all[i], i + 1);
    }
    for (done = 0; done < count + warm_up; done++) {
        if (done == warm_up)
            begun = now();
        trigger(&all[0], connections);
    }
    report(count, begun);
    for (i = 0; i < connections; i++)
        reset_connection(&all[i]);
}

/* Tells the benchmark, and waits for its word. */
static void pause_here(const char *state)
{
    printf("%s\n", state);
    fflush(stdout);
    alarm(TIME_LIMIT);
    while (getchar() != '\n' && !feof(stdin))
        ;
}

static void hold(void)
{
    greet_all();
    pause_here("held");
    leave();
}

static void late(void)
{
    struct epoll_event events[BATCH];
    int i, n, left = connections * (int)depth;

    for (i = 0; i < connections; i++) {
        open_connection(&all[i]);
        all[i].unsent = depth * size;
    }
    /* Until nothing has moved for a while. */
    while ((n = epoll_wait(poller, events, BATCH, 200)) > 0)
        for (i = 0; i < n; i++)
            transmit(events[i].data.ptr);
    pause_here("blocked");
    for (i = 0; i < connections; i++)
        left -= (int)receive(&all[i]);
    await(left);
    pause_here("held");
    leave();
}

static void parse(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "p:c:s:d:n:w:t:")) != -1) {
        size_t value = strtoul(optarg, NULL, 10);
        switch (option) {
        case 'p':
            errno = clock_getcpuclockid((pid_t)value, &server_clock);
            if (errno != 0)
                fail("clock_getcpuclockid");
            has_server = 1;
            break;
        case 'c': connections = (int)value; break;
        case 's': size = value; break;
        case 'd': depth = value; break;
        case 'n': count = value; break;
        case 'w': warm_up = value; break;
        case 't': time_limit = (double)value / 1000; break;
        default: exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } modes[] = { { "echo", echo },
                  { "churn", churn },
                  { "broadcast", broadcast },
                  { "hold", hold },
                  { "late", late } };
    size_t i;

    if (argc < 3) {
        fprintf(stderr, "usage: load MODE PORT [OPTIONS], see load.c\n");
        return 2;
    }
    port = atoi(argv[2]);
    parse(argc - 2, argv + 2);
    all = calloc((size_t)connections + 1, sizeof *all);
    poller = epoll_create1(0);
    if (all == NULL || poller < 0 || size == 0)
        fail("set-up");
    alarm(TIME_LIMIT);
    make_stream();
    for (i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(argv[1], modes[i].name) == 0) {
            modes[i].run();
            return 0;
        }
    errno = EINVAL;
    fail(argv[1]);
}
