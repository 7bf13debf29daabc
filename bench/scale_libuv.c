/*
 * scale_libuv.c - a million uv_poll_t or uv_tcp_t handles: see scale.h. An idle
 * timeout is a uv_timer_t besides, which those that set one have from the
 * start (poll-timer, tcp-timer).
 */
#include "scale.h"

#include <sys/socket.h>
#include <uv.h>

typedef struct poll_connection {
    uv_poll_t poll;
    uv_timer_t timer[]; /* one or none */
} poll_connection;

typedef struct tcp_connection {
    uv_tcp_t tcp;
    uv_timer_t timer[];
} tcp_connection;

static uv_loop_t loop;
static void **all;

static void check(int error, const char *what)
{
    if (error < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(error));
        exit(1);
    }
}

static void echo_poll(uv_poll_t *poll, int status, int events)
{
    char data[4096];
    uv_os_fd_t fd;
    ssize_t n;

    (void)events;
    check(status, "poll");
    uv_fileno((uv_handle_t *)poll, &fd);
    n = recv(fd, data, sizeof data, 0);
    if (n > 0) {
        messages++;
        if (send(fd, data, (size_t)n, MSG_NOSIGNAL) != n)
            die("send");
    }
}

static void lend(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    static char memory[65536];

    (void)handle;
    (void)suggested;
    buffer->base = memory;
    buffer->len = sizeof memory;
}

static void echo_tcp(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    uv_buf_t data;

    if (n > 0) {
        messages++;
        data = uv_buf_init(buffer->base, (unsigned)n);
        if (uv_try_write(stream, &data, 1) != n)
            die("uv_try_write");
    }
}

static void *new_connection(int i, size_t size)
{
    if (all == NULL)
        all = new_index();
    all[i] = malloc(size);
    if (all[i] == NULL)
        die("malloc");
    return all[i];
}

static void add_poll(int i, int fd)
{
    poll_connection *c = new_connection(i, sizeof *c);

    check(uv_poll_init(&loop, &c->poll, fd), "uv_poll_init");
    check(uv_poll_start(&c->poll, UV_READABLE, echo_poll), "uv_poll_start");
}

static void add_poll_timer(int i, int fd)
{
    poll_connection *c = new_connection(i, sizeof *c + sizeof(uv_timer_t));

    check(uv_poll_init(&loop, &c->poll, fd), "uv_poll_init");
    check(uv_poll_start(&c->poll, UV_READABLE, echo_poll), "uv_poll_start");
    uv_timer_init(&loop, c->timer);
}

static void add_tcp(int i, int fd)
{
    tcp_connection *c = new_connection(i, sizeof *c);

    check(uv_tcp_init(&loop, &c->tcp), "uv_tcp_init");
    check(uv_tcp_open(&c->tcp, fd), "uv_tcp_open");
    check(uv_read_start((uv_stream_t *)&c->tcp, lend, echo_tcp),
          "uv_read_start");
}

static void add_tcp_timer(int i, int fd)
{
    tcp_connection *c = new_connection(i, sizeof *c + sizeof(uv_timer_t));

    check(uv_tcp_init(&loop, &c->tcp), "uv_tcp_init");
    check(uv_tcp_open(&c->tcp, fd), "uv_tcp_open");
    check(uv_read_start((uv_stream_t *)&c->tcp, lend, echo_tcp),
          "uv_read_start");
    uv_timer_init(&loop, c->timer);
}

static void turn_once(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void toggle_poll(int i)
{
    uv_poll_stop(all[i]);
    uv_poll_start(all[i], UV_READABLE, echo_poll);
}

static void toggle_tcp(int i)
{
    uv_read_stop(all[i]);
    uv_read_start(all[i], lend, echo_tcp);
}

static void idle(uv_timer_t *timer)
{
    (void)timer;
    die("idle");
}

static void set_poll_timeout(int i)
{
    poll_connection *c = all[i];

    uv_timer_start(c->timer, idle, IDLE_MS, IDLE_MS);
}

static void set_tcp_timeout(int i)
{
    tcp_connection *c = all[i];

    uv_timer_start(c->timer, idle, IDLE_MS, IDLE_MS);
}

int main(int argc, char **argv)
{
    static const library kinds[] = {
        { "poll", add_poll, turn_once, toggle_poll, NULL },
        { "poll-timer", add_poll_timer, turn_once, toggle_poll,
          set_poll_timeout },
        { "tcp", add_tcp, turn_once, toggle_tcp, NULL },
        { "tcp-timer", add_tcp_timer, turn_once, toggle_tcp, set_tcp_timeout },
        { NULL, NULL, NULL, NULL, NULL },
    };

    check(uv_loop_init(&loop), "uv_loop_init");
    run(argc, argv, kinds);
    return 0;
}
