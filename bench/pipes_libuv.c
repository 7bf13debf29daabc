/*
 * pipes_libuv.c - the ring with uv_poll_t handles, for descriptors that are
 * the user's, or with uv_pipe_t streams, which libuv reads from by itself
 * (modes that begin with "stream-"). timeout is uv_timer_again. See pipes.h.
 */
#include "pipes.h"

#include <uv.h>

typedef struct reader {
    union {
        uv_poll_t poll;
        uv_pipe_t stream;
    };
    pipe_end end;
    uv_timer_t timer;
    uint64_t active;
} reader;

static uv_loop_t loop;
static bool toggling, again, lazy, streaming;

static void check(int error, const char *what)
{
    if (error < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(error));
        exit(1);
    }
}

static inline void relay(const reader *r, char byte)
{
    if (pass_on(&r->end, byte))
        uv_stop(&loop);
}

/* ---- uv_poll_t --------------------------------------------------------- */

static void plain_poll(uv_poll_t *poll, int status, int events)
{
    reader *r = poll->data;

    (void)events;
    check(status, "poll");
    relay(r, take(&r->end));
}

static void toggle_poll(uv_poll_t *poll, int status, int events)
{
    uv_poll_stop(poll);
    uv_poll_start(poll, UV_READABLE, toggle_poll);
    plain_poll(poll, status, events);
}

static void timeout_poll(uv_poll_t *poll, int status, int events)
{
    reader *r = poll->data;

    uv_timer_again(&r->timer);
    plain_poll(poll, status, events);
}

static void lazy_poll(uv_poll_t *poll, int status, int events)
{
    reader *r = poll->data;

    r->active = uv_now(&loop);
    plain_poll(poll, status, events);
}

static void open_poll(reader *r)
{
    check(uv_poll_init(&loop, &r->poll, r->end.fd), "uv_poll_init");
    r->poll.data = r;
    check(uv_poll_start(&r->poll, UV_READABLE,
                        toggling ? toggle_poll
                        : again  ? timeout_poll
                        : lazy   ? lazy_poll
                                 : plain_poll),
          "uv_poll_start");
}

/* ---- uv_pipe_t --------------------------------------------------------- */

static void lend(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    static char memory[65536];

    (void)handle;
    (void)suggested;
    buffer->base = memory;
    buffer->len = sizeof memory;
}

static void plain_stream(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    if (n == 0)
        return;
    if (n != 1)
        die("read");
    relay(stream->data, buffer->base[0]);
}

static void toggle_stream(uv_stream_t *stream, ssize_t n,
                          const uv_buf_t *buffer)
{
    uv_read_stop(stream);
    uv_read_start(stream, lend, toggle_stream);
    plain_stream(stream, n, buffer);
}

static void timeout_stream(uv_stream_t *stream, ssize_t n,
                           const uv_buf_t *buffer)
{
    reader *r = stream->data;

    uv_timer_again(&r->timer);
    plain_stream(stream, n, buffer);
}

static void lazy_stream(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    reader *r = stream->data;

    r->active = uv_now(&loop);
    plain_stream(stream, n, buffer);
}

static void open_stream(reader *r)
{
    check(uv_pipe_init(&loop, &r->stream, 0), "uv_pipe_init");
    check(uv_pipe_open(&r->stream, r->end.fd), "uv_pipe_open");
    r->stream.data = r;
    check(uv_read_start((uv_stream_t *)&r->stream, lend,
                        toggling ? toggle_stream
                        : again  ? timeout_stream
                        : lazy   ? lazy_stream
                                 : plain_stream),
          "uv_read_start");
}

/* ---- Timeouts ---------------------------------------------------------- */

static void idle(uv_timer_t *timer)
{
    (void)timer;
    die("idle");
}

static void perhaps_idle(uv_timer_t *timer)
{
    reader *r = timer->data;
    uint64_t until = r->active + IDLE_MS, now = uv_now(&loop);

    if (until <= now)
        die("idle");
    uv_timer_start(timer, perhaps_idle, until - now, 0);
}

static void parse_mode(const char *program)
{
    const char *name = mode;

    streaming = strncmp(name, "stream-", 7) == 0;
    if (streaming)
        name += 7;
    toggling = strcmp(name, "toggle") == 0;
    again = strcmp(name, "timeout") == 0;
    lazy = strcmp(name, "lazy") == 0;
    if (!toggling && !again && !lazy && strcmp(name, "plain") != 0)
        usage(program);
}

int main(int argc, char **argv)
{
    reader *all = open_pipes(argc, argv, sizeof *all, offsetof(reader, end));
    int i;

    parse_mode(argv[0]);
    check(uv_loop_init(&loop), "uv_loop_init");
    for (i = 0; i < pipes; i++) {
        reader *r = &all[i];
        if (streaming)
            open_stream(r);
        else
            open_poll(r);
        uv_timer_init(&loop, &r->timer);
        r->timer.data = r;
        r->active = uv_now(&loop);
        if (again)
            uv_timer_start(&r->timer, idle, IDLE_MS, IDLE_MS);
        else if (lazy)
            uv_timer_start(&r->timer, perhaps_idle, IDLE_MS, 0);
    }
    start_pipes();
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}
