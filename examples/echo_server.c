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
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] = "usage: echo_server [--backend NAME] "
                            "[PORT | HOST:PORT | [V6]:PORT | unix:PATH]";

static asyncore_map *map;
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    if (!stop) { /* a second one may find the map being freed */
        stop = 1;
        asyncore_wakeup(map);
    }
}

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

/* bind(2) takes no path that is there. A socket that nobody answers on, left
   behind by a server that was killed, may go; nothing else may. */
static int listen_on(asyncore_dispatcher *d, const asyncore_address *address)
{
    const char *path = address->un.sun_path;
    struct stat file;

    if (asyncore_create_socket(d, address->any.sa_family, SOCK_STREAM) < 0)
        return -1;
    if (address->any.sa_family == AF_UNIX && lstat(path, &file) == 0 &&
        S_ISSOCK(file.st_mode) && asyncore_connect(d, address) < 0 &&
        errno == ECONNREFUSED)
        unlink(path);
    asyncore_set_reuse_addr(d);
    if (asyncore_bind(d, address) < 0)
        return -1;
    return asyncore_listen(d, SOMAXCONN);
}

static int fail(const char *what)
{
    fprintf(stderr, "echo_server: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    const struct sigaction action = { .sa_handler = on_signal };
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
    if (map == NULL) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (asyncore_address_resolve(&address, where) < 0) {
        fprintf(stderr, "echo_server: cannot find %s; %s\n", where, usage);
        return 2;
    }

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    asyncore_dispatcher_init(&d, &server, -1, map);
    asyncore_address_format(&address, text, sizeof text);
    if (listen_on(&d, &address) < 0 || asyncore_getsockname(&d, &address) < 0)
        return fail(text);
    asyncore_address_format(&address, text, sizeof text);
    if (printf("listening on %s\n", text) < 0 || fflush(stdout) != 0)
        status = fail("standard output");
    while (status == 0 && !stop) {
        if (asyncore_poll(map, -1) < 0)
            status = fail(text);
    }
    stop = 1;
    asyncore_map_free(map);
    if (address.any.sa_family == AF_UNIX)
        unlink(address.un.sun_path);
    return status;
}
