/*
 * chat_client - a terminal for chat_server, or a pipe.
 *
 *     chat_client 127.0.0.1:8008
 *     (echo robot; uptime) | chat_client unix:/tmp/chat
 *
 * What is typed is sent by the line, so that one can go on typing while lines
 * come in. The end of input half-closes; the server's end is the end.
 */
#include "chat_text.h"

#include <asynchat.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_SIZE = 65536 };

static const char usage[] =
    "usage: chat_client PORT | HOST:PORT | [V6]:PORT | unix:PATH";
static asyncore_map *map;
static asyncore_file_dispatcher input, output;
static asynchat server;
static char line[LINE_SIZE + 2]; /* line[start..end) has still to be written */
static size_t start, end;
static const char *where;
static int status;
static asyncore_signal_handler signals[3];
static int numbers[] = { SIGHUP, SIGINT, SIGTERM }, caught;

static int fail(const char *what, int error)
{
    fprintf(stderr, "chat_client: %s: %s\n", what, strerror(error));
    return status = 1;
}

/* handle_close tells all there is to tell. */
static void quiet(asyncore_dispatcher *d, const char *message, const char *type)
{
    (void)d, (void)message, (void)type;
}

static void output_write(asyncore_dispatcher *d)
{
    if (start < end) {
        ssize_t n = asyncore_send(d, line + start, end - start);
        if (n < 0)
            return;
        start += (size_t)n;
    }
    asyncore_set_writable(d, start < end);
    asyncore_set_readable(&server.dispatcher, start == end);
    if (start == end && server.dispatcher.fd < 0)
        asyncore_close(d);
}

static void output_close(asyncore_dispatcher *d)
{
    fail("standard output", d->error);
    asyncore_close_all(map);
}

static const asyncore_handlers output_class = {
    .name = "output",
    .handle_write = output_write,
    .handle_close = output_close,
    .log_info = quiet,
};

static void input_read(asyncore_dispatcher *d)
{
    char data[4096];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0 && asynchat_push(&server, data, (size_t)n) == 0 &&
        asyncore_queued(&server.dispatcher) >= server.limit)
        asyncore_set_readable(d, false);
}

static void input_close(asyncore_dispatcher *d)
{
    if (d->error != 0)
        fail("standard input", d->error);
    asyncore_shutdown(&server.dispatcher);
}

static const asyncore_handlers input_class = {
    .name = "input",
    .handle_read = input_read,
    .handle_close = input_close,
    .log_info = quiet,
};

static void server_connect(asyncore_dispatcher *d)
{
    (void)d;
    if (asyncore_file_dispatcher_init(&input, &input_class, STDIN_FILENO, map) <
        0) {
        fail("standard input", errno);
        asyncore_close_all(map);
    }
}

/* The next line has to wait until this one is written. */
static void got_line(asynchat *chat, const void *data, size_t size)
{
    (void)chat;
    plain_text(line, data, size);
    start = 0;
    end = strlen(line);
    line[end++] = '\n';
    output_write(&output.dispatcher);
}

static void server_drain(asyncore_dispatcher *d)
{
    (void)d;
    asyncore_set_readable(&input.dispatcher, true);
}

static void server_close(asyncore_dispatcher *d)
{
    if (d->error != 0)
        fail(where, d->error);
    asyncore_close(&input.dispatcher);
    asyncore_close(d);
    output_write(&output.dispatcher);
}

static const asynchat_handlers server_class = {
    .dispatcher.name = "server",
    .dispatcher.handle_connect = server_connect,
    .dispatcher.handle_drain = server_drain,
    .dispatcher.handle_close = server_close,
    .dispatcher.log_info = quiet,
    .handle_frame = got_line,
    .collect_incoming_data = got_line, /* a last line without an end */
};

/* To be killed at once would leave the terminal in non-blocking mode. */
static void interrupted(void *arg)
{
    caught = *(int *)arg;
    asyncore_close_all(map);
}

int main(int argc, char **argv)
{
    asyncore_dispatcher *d = &server.dispatcher;
    asyncore_address address;

    if (argc != 2) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    where = argv[1];
    if (asyncore_address_resolve(&address, where) < 0) {
        fprintf(stderr, "chat_client: cannot find %s; %s\n", where, usage);
        return 2;
    }
    map = asyncore_socket_map();
    if (map == NULL)
        return fail("no map", errno);
    if (asyncore_file_dispatcher_init(&output, &output_class, STDOUT_FILENO,
                                      map) < 0)
        return fail("standard output", errno);
    asyncore_set_readable(&output.dispatcher, false);
    for (int i = 0; i < 3; i++)
        asyncore_signal(&signals[i], map, numbers[i], interrupted, &numbers[i]);
    if (asynchat_init(&server, &server_class, -1, map) < 0 ||
        asynchat_set_terminator(&server, "\n", 1) < 0 ||
        asyncore_create_socket(d, address.any.sa_family, SOCK_STREAM) < 0 ||
        asyncore_connect(d, &address) < 0) {
        fail(where, errno);
        asyncore_close_all(map);
    }
    server.frame_limit = LINE_SIZE;
    if (asyncore_loop(map, -1, -1) < 0)
        fail(where, errno);
    asyncore_close_all(map);
    for (int i = 0; i < 3; i++)
        asyncore_signal_cancel(&signals[i]);
    if (caught != 0)
        raise(caught);
    return status;
}
