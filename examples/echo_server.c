/*
 * echo_server - sends every client back what it sends. To try it:
 *
 *     echo_server &                  nc 127.0.0.1 8007
 *     echo_server [::1]:8007 &       telnet ::1 8007
 *     echo_server unix:/tmp/echo &   socat - UNIX:/tmp/echo
 *
 * A client that does not read what comes back is not read from either: none
 * can make the server's memory grow. It ends by Ctrl-C.
 */
#include <asyncore.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] = "usage: echo_server [--backend NAME] "
                            "[PORT | HOST:PORT | [V6]:PORT | unix:PATH]";

static void echo_read(asyncore_dispatcher *d)
{
    static char data[65536];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0 && asyncore_send(d, data, (size_t)n) > 0 &&
        asyncore_queued(d) >= ((asyncore_dispatcher_with_send *)d)->limit)
        asyncore_set_readable(d, false);
}

static void echo_drain(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, true);
}

static void echo_eof(asyncore_dispatcher *d)
{
    if (asyncore_shutdown(d) < 0)
        asyncore_close(d);
}

static void echo_free(asyncore_dispatcher *d)
{
    free(d);
}

static const asyncore_handlers echo = {
    .name = "echo",
    .handle_read = echo_read,
    .handle_drain = echo_drain,
    .handle_eof = echo_eof,
    .handle_free = echo_free,
};

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    asyncore_dispatcher_with_send *c = malloc(sizeof *c);

    (void)peer;
    if (c == NULL)
        close(fd);
    else if (asyncore_dispatcher_with_send_init(c, &echo, fd, d->map) < 0)
        free(c);
}

static const asyncore_handlers server = {
    .name = "echo_server",
    .handle_accepted = accepted,
};

/* These stay to the end, so that a second signal finds them still. */
static asyncore_map *map;
static asyncore_signal_handler interrupt, terminate;

static void stop(void *arg)
{
    (void)arg;
    asyncore_stop(map);
}

static int fail(const char *what)
{
    fprintf(stderr, "echo_server: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    const char *backend = NULL, *where = "127.0.0.1:8007";
    char text[ASYNCORE_ADDRESS_TEXT];
    asyncore_address address;
    asyncore_dispatcher d;
    int status = 0;

    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    if (argc > 2 && strcmp(argv[1], "--backend") == 0) {
        backend = argv[2];
        argc -= 2;
        argv += 2;
    }
    if (argc == 2)
        where = argv[1];
    map = argc <= 2 ? asyncore_map_new(backend) : NULL;
    if (map == NULL || asyncore_address_resolve(&address, where) < 0) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }

    asyncore_signal(&interrupt, map, SIGINT, stop, NULL);
    asyncore_signal(&terminate, map, SIGTERM, stop, NULL);
    asyncore_dispatcher_init(&d, &server, -1, map);
    if (asyncore_listen_on(&d, where, SOMAXCONN) < 0 ||
        asyncore_getsockname(&d, &address) < 0)
        return fail(where);
    asyncore_address_format(&address, text, sizeof text);
    if (printf("listening on %s\n", text) < 0 || fflush(stdout) != 0)
        status = fail("standard output");
    else if (asyncore_loop(map, -1, -1) < 0)
        status = fail(text);
    asyncore_close_all(map);
    if (address.any.sa_family == AF_UNIX)
        unlink(address.un.sun_path);
    return status;
}
