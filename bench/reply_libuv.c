/*
 * reply_libuv.c - the echo with streams: see reply.h. What uv_try_write does not
 * take is copied and given to uv_write. libuv does not know lines; they are
 * found here by hand, with memchr, where they came in one piece, as they do
 * here, and a line in several pieces is put together in a buffer.
 */
#include "reply.h"

#include <uv.h>

typedef struct connection {
    uv_pipe_t stream;
    char *part; /* of a line, or NULL */
    size_t part_size;
} connection;

typedef struct writing {
    uv_write_t request;
    char data[];
} writing;

static uv_loop_t loop;

static void check(int error, const char *what)
{
    if (error < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(error));
        exit(1);
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

static void closed(uv_handle_t *handle)
{
    connection *c = handle->data;

    free(c->part);
    free(c);
}

static void written(uv_write_t *request, int status)
{
    if (status < 0 && !uv_is_closing((uv_handle_t *)request->handle))
        uv_close((uv_handle_t *)request->handle, closed);
    free(request->data);
}

/* Sends the pieces, of size bytes together. */
static void send_all(uv_stream_t *stream, const uv_buf_t *pieces,
                     unsigned count, size_t size)
{
    int n = uv_try_write(stream, pieces, count);
    size_t sent = n > 0 ? (size_t)n : 0, at = 0;
    uv_buf_t rest;
    writing *w;
    unsigned i;

    if (sent == size)
        return;
    w = malloc(sizeof *w + size);
    if (w == NULL)
        die("malloc");
    for (i = 0; i < count; at += pieces[i++].len)
        memcpy(w->data + at, pieces[i].base, pieces[i].len);
    w->request.data = w;
    rest = uv_buf_init(w->data + sent, (unsigned)(size - sent));
    check(uv_write(&w->request, stream, &rest, 1, written), "uv_write");
}

static void echo_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    uv_buf_t data;

    if (n > 0) {
        messages++;
        data = uv_buf_init(buffer->base, (unsigned)n);
        send_all(stream, &data, 1, (size_t)n);
    } else if (n < 0) {
        uv_close((uv_handle_t *)stream, closed);
    }
}

static void echo_line(connection *c, char *line, size_t size)
{
    static char end[] = "\r\n";
    uv_buf_t pieces[2];

    messages++;
    pieces[0] = uv_buf_init(line, (unsigned)size);
    pieces[1] = uv_buf_init(end, 2);
    send_all((uv_stream_t *)&c->stream, pieces, 2, size + 2);
}

static void keep(connection *c, const char *data, size_t size)
{
    char *part = realloc(c->part, c->part_size + size);

    if (part == NULL)
        die("realloc");
    memcpy(part + c->part_size, data, size);
    c->part = part;
    c->part_size += size;
}

static void drop_part(connection *c)
{
    free(c->part);
    c->part = NULL;
    c->part_size = 0;
}

/* Gives away the lines in the data; what is left of it. */
static size_t take_lines(connection *c, char *data, size_t size)
{
    char *at = data, *end = data + size, *from = data, *found;

    while ((found = memchr(from, '\n', (size_t)(end - from))) != NULL) {
        from = found + 1;
        if (found > at && found[-1] == '\r') {
            echo_line(c, at, (size_t)(found - 1 - at));
            at = from;
        }
    }
    return (size_t)(end - at);
}

static void echo_lines(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    connection *c = stream->data;
    size_t left;

    if (n < 0) {
        uv_close((uv_handle_t *)stream, closed);
        return;
    }
    if (n == 0)
        return;
    if (c->part == NULL) {
        left = take_lines(c, buffer->base, (size_t)n);
        if (left > 0)
            keep(c, buffer->base + n - left, left);
        return;
    }
    keep(c, buffer->base, (size_t)n);
    left = take_lines(c, c->part, c->part_size);
    memmove(c->part, c->part + c->part_size - left, left);
    c->part_size = left;
    if (left == 0)
        drop_part(c);
}

void serve(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void add(int fd)
{
    connection *c = calloc(1, sizeof *c);

    if (c == NULL)
        die("calloc");
    check(uv_pipe_init(&loop, &c->stream, 0), "uv_pipe_init");
    check(uv_pipe_open(&c->stream, fd), "uv_pipe_open");
    c->stream.data = c;
    check(uv_read_start((uv_stream_t *)&c->stream, lend,
                        lines ? echo_lines : echo_bytes),
          "uv_read_start");
}

int main(int argc, char **argv)
{
    long rounds = parse_arguments(argc, argv);
    int *loads = calloc((size_t)connections, sizeof *loads);
    int i;

    if (loads == NULL)
        die("calloc");
    check(uv_loop_init(&loop), "uv_loop_init");
    for (i = 0; i < connections; i++)
        add(open_connection(&loads[i]));
    run(loads, rounds);
    return 0;
}
