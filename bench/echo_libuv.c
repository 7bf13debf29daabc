/*
 * echo_libuv.c - an echo server on libuv: all streams receive into one buffer
 * and answer with uv_try_write, which needs no request; a uv_write_t is made
 * only for what the kernel did not take, and nothing is read until that has
 * gone.
 */
#include "server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

typedef struct rest {
    uv_write_t request;
    char data[];
} rest;

static char buffer[SERVER_BUFFER];

static void lend(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    (void)size;
    *buf = uv_buf_init(buffer, sizeof buffer);
}

static void closed(uv_handle_t *handle)
{
    free(handle);
}

static void end(uv_stream_t *stream)
{
    if (!uv_is_closing((uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, closed);
}

static void received(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;

    free(request);
    if (status < 0 || uv_read_start(stream, lend, received) < 0)
        end(stream);
}

static void keep(uv_stream_t *stream, const char *data, size_t size)
{
    rest *r = malloc(sizeof *r + size);
    uv_buf_t left;

    if (r == NULL)
        server_fail("malloc");
    memcpy(r->data, data, size);
    left = uv_buf_init(r->data, (unsigned)size);
    uv_read_stop(stream);
    if (uv_write(&r->request, stream, &left, 1, written) < 0) {
        free(r);
        end(stream);
    }
}

static void received(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    uv_buf_t answer;
    int sent;

    if (n <= 0) {
        if (n < 0)
            end(stream);
        return;
    }
    answer = uv_buf_init(buf->base, (unsigned)n);
    sent = uv_try_write(stream, &answer, 1);
    if (sent == n)
        return;
    if (sent < 0 && sent != UV_EAGAIN) {
        end(stream);
        return;
    }
    if (sent < 0)
        sent = 0;
    keep(stream, buf->base + sent, (size_t)(n - sent));
}

static void accepted(uv_stream_t *listener, int status)
{
    uv_tcp_t *c = malloc(sizeof *c);

    if (status < 0 || c == NULL || uv_tcp_init(listener->loop, c) < 0)
        server_fail("accept");
    if (uv_accept(listener, (uv_stream_t *)c) < 0 ||
        uv_read_start((uv_stream_t *)c, lend, received) < 0)
        end((uv_stream_t *)c);
}

int main(void)
{
    int fd = server_listen(0, 0);
    uv_loop_t loop;
    uv_tcp_t listener;

    /* libuv writes with write(2). */
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&loop) < 0 || uv_tcp_init(&loop, &listener) < 0 ||
        uv_tcp_open(&listener, fd) < 0 ||
        uv_listen((uv_stream_t *)&listener, SOMAXCONN, accepted) < 0)
        server_fail("libuv");
    server_announce(fd);
    return uv_run(&loop, UV_RUN_DEFAULT);
}
