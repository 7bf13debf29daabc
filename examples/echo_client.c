/*
 * echo_client - standard input to a server, what comes back to standard
 * output. The end of input half-closes; the server's end is the end.
 *
 *     echo_client 127.0.0.1:8007 < file | cmp - file
 *     echo_client unix:/tmp/echo
 *
 * Whoever cannot pass on what he has does not read more: memory is bounded,
 * and neither direction holds up the other.
 */
#include <asyncore.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: echo_client PORT | HOST:PORT | [V6]:PORT | unix:PATH";
static asyncore_file_dispatcher input, output;
static asyncore_dispatcher_with_send server;
static char reply[65536]; /* reply[start..end) has still to be written */
static size_t start, end;
static const char *where;
static bool input_ended;
static int status;

static int fail(const char *what, int error)
{
    fprintf(stderr, "echo_client: %s: %s\n", what,
            error != 0 ? strerror(error) : "closed too early");
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
        ssize_t n = asyncore_send(d, reply + start, end - start);
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
    asyncore_close_all(d->map);
}

static const asyncore_handlers output_class = {
    .name = "output",
    .handle_write = output_write,
    .handle_close = output_close,
    .log_info = quiet,
};

static void input_read(asyncore_dispatcher *d)
{
    char data[65536];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0 && asyncore_send(&server.dispatcher, data, (size_t)n) > 0 &&
        asyncore_queued(&server.dispatcher) >= server.limit)
        asyncore_set_readable(d, false);
}

static void input_close(asyncore_dispatcher *d)
{
    input_ended = true;
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
    if (asyncore_file_dispatcher_init(&input, &input_class, STDIN_FILENO,
                                      d->map) < 0) {
        fail("standard input", errno);
        asyncore_close_all(d->map);
    }
}

static void server_read(asyncore_dispatcher *d)
{
    ssize_t n = asyncore_recv(d, reply, sizeof reply);

    if (n > 0) {
        start = 0;
        end = (size_t)n;
        output_write(&output.dispatcher);
    }
}

static void server_drain(asyncore_dispatcher *d)
{
    (void)d;
    asyncore_set_readable(&input.dispatcher, true);
}

static void server_close(asyncore_dispatcher *d)
{
    if (d->error != 0 || !input_ended)
        fail(where, d->error);
    asyncore_close(&input.dispatcher);
    asyncore_close(d);
    output_write(&output.dispatcher);
}

static const asyncore_handlers server_class = {
    .name = "server",
    .handle_connect = server_connect,
    .handle_read = server_read,
    .handle_drain = server_drain,
    .handle_close = server_close,
    .log_info = quiet,
};

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
        fprintf(stderr, "echo_client: cannot find %s; %s\n", where, usage);
        return 2;
    }
    if (asyncore_file_dispatcher_init(&output, &output_class, STDOUT_FILENO,
                                      NULL) < 0)
        return fail("standard output", errno);
    asyncore_set_readable(&output.dispatcher, false);
    if (asyncore_dispatcher_with_send_init(&server, &server_class, -1, NULL) ||
        asyncore_create_socket(d, address.any.sa_family, SOCK_STREAM) < 0 ||
        asyncore_connect(d, &address) < 0 || asyncore_loop(NULL, -1, -1) < 0)
        fail(where, errno);
    asyncore_close_all(NULL);
    return status;
}
