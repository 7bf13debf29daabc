/*
 * foreign_loop - an echo server in a loop that is not the library's: a plain
 * poll(2), which has something of its own to wait for as well. Each line of
 * standard input goes to every client; the end of input ends the server.
 *
 *     foreign_loop                   on 127.0.0.1:8007; "0": on a free port
 *     nc 127.0.0.1 8007
 *
 * ASYNCORE_BACKEND=poll foreign_loop shows how the loop's array grows.
 */
#include <asyncore.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: foreign_loop [PORT | HOST:PORT | [V6]:PORT | unix:PATH]";

static int fail(const char *what)
{
    fprintf(stderr, "foreign_loop: %s: %s\n", what, strerror(errno));
    return 1;
}

/* ---- The server, as it is in any loop ---------------------------------- */

static void client_read(asyncore_dispatcher *d)
{
    char data[4096];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0 && asyncore_send(d, data, (size_t)n) > 0 &&
        asyncore_queued(d) >= ((asyncore_dispatcher_with_send *)d)->limit)
        asyncore_set_readable(d, false);
}

static void client_drain(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, true);
}

static void client_eof(asyncore_dispatcher *d)
{
    if (asyncore_shutdown(d) < 0)
        asyncore_close(d);
}

static void client_free(asyncore_dispatcher *d)
{
    free(d);
}

static const asyncore_handlers client = {
    .name = "client",
    .handle_read = client_read,
    .handle_drain = client_drain,
    .handle_eof = client_eof,
    .handle_free = client_free,
};

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    asyncore_dispatcher_with_send *c = malloc(sizeof *c);

    (void)peer;
    if (c == NULL)
        close(fd);
    else if (asyncore_dispatcher_with_send_init(c, &client, fd, d->map) < 0)
        free(c);
}

static const asyncore_handlers listener_class = {
    .name = "listener",
    .handle_accepted = accepted,
};

/* To everybody, but for those who do not read. */
static void announce(const char *data, size_t size)
{
    asyncore_dispatcher *d;

    for (int fd = -1; (d = asyncore_map_next(NULL, fd)) != NULL;) {
        fd = d->fd;
        if (!d->accepting &&
            asyncore_queued(d) < ((asyncore_dispatcher_with_send *)d)->limit)
            asyncore_send(d, data, size);
    }
}

/* ---- The loop ---------------------------------------------------------- */

static struct pollfd *fds; /* ours, and then the map's */
static int room = 2;

/* How many there are; -1 without memory. */
static int gather(void)
{
    for (;;) {
        struct pollfd *more;
        int count = 1;

        if (fds != NULL) {
            fds[0] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
            count += asyncore_map_pollfds(NULL, fds + 1, room - 1);
            if (count <= room)
                return count;
            room = 2 * count;
        }
        more = realloc(fds, (size_t)room * sizeof *fds);
        if (more == NULL)
            return -1;
        fds = more;
    }
}

/* What is ours: false at the end. */
static bool read_input(void)
{
    char line[4096];
    ssize_t n = read(STDIN_FILENO, line, sizeof line);

    if (n > 0)
        announce(line, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static int loop(void)
{
    for (;;) {
        int timeout = asyncore_map_timeout(NULL);
        int count = gather();

        if (count < 0 || (poll(fds, (nfds_t)count, timeout) < 0 &&
                          errno != EINTR && errno != EAGAIN))
            return -1;
        if (fds[0].revents != 0 && !read_input())
            return 0;
        if (asyncore_poll(NULL, 0) < 0)
            return -1;
    }
}

int main(int argc, char **argv)
{
    const char *where = argc > 1 ? argv[1] : "127.0.0.1:8007";
    asyncore_dispatcher listener;
    char text[ASYNCORE_ADDRESS_TEXT];
    asyncore_address address;
    int status = 0;

    if (argc > 1 && strcmp(where, "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    if (argc > 2 || asyncore_address_resolve(&address, where) < 0) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (asyncore_dispatcher_init(&listener, &listener_class, -1, NULL) < 0 ||
        asyncore_listen_on(&listener, where, 128) < 0 ||
        asyncore_getsockname(&listener, &address) < 0)
        return fail(where);
    printf("listening on %s\n",
           asyncore_address_format(&address, text, sizeof text));
    if (fflush(stdout) != 0)
        return fail("standard output");
    if (loop() < 0)
        status = fail("loop");
    asyncore_map_free(asyncore_set_socket_map(NULL));
    free(fds);
    return status;
}
