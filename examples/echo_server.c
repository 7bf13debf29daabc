/*
 * echo_server - sends every client back what it sends. To try it:
 *
 *     echo_server &                  nc 127.0.0.1 8007
 *     echo_server [::1]:8007 &       telnet ::1 8007
 *     echo_server unix:/tmp/echo &   socat - UNIX:/tmp/echo
 *
 * A client that does not read what comes back is not read from either: none
 * can make the server's memory grow. One that for --timeout seconds (300; 0:
 * for ever) neither sends nor reads is cut off.
 *
 * It ends by Ctrl-C, within a second: first everybody gets what is his. With
 * a second Ctrl-C it ends at once. With --threads or --processes it serves on
 * several cores: see workers.h.
 */
#include "workers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINGER_MS = 700 };

static const char usage[] =
    "usage: echo_server [--backend NAME] [--timeout SECONDS] "
    "[--threads N | --processes N] "
    "[PORT | HOST:PORT | [V6]:PORT | unix:PATH]";

static int64_t timeout_ms = 300000;

static void echo_read(asyncore_dispatcher *d)
{
    char data[65536];
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
    else if (asyncore_set_timeout(&c->dispatcher, timeout_ms) < 0)
        asyncore_close(&c->dispatcher);
}

static const asyncore_handlers server = {
    .name = "echo_server",
    .handle_accepted = accepted,
};

static int fail(const char *what)
{
    fprintf(stderr, "echo_server: %s: %s\n", what, strerror(errno));
    return 1;
}

static int say_where(const asyncore_address *address)
{
    char text[ASYNCORE_ADDRESS_TEXT];

    asyncore_address_format(address, text, sizeof text);
    if (printf("listening on %s\n", text) < 0 || fflush(stdout) != 0)
        return fail("standard output");
    return 0;
}

/* These stay to the end, so that a second signal finds them still. */
static asyncore_map *map;
static asyncore_dispatcher listener;
static asyncore_signal_handler interrupt, terminate;

static void stop(void *arg)
{
    static bool again;

    (void)arg;
    if (again)
        asyncore_stop(map);
    else
        asyncore_stop_when_done(map, LINGER_MS);
    again = true;
}

static int listen_alone(const char *where, asyncore_address *bound)
{
    asyncore_signal(&interrupt, map, SIGINT, stop, NULL);
    asyncore_signal(&terminate, map, SIGTERM, stop, NULL);
    asyncore_dispatcher_init(&listener, &server, -1, map);
    if (asyncore_listen_on(&listener, where, SOMAXCONN) < 0)
        return -1;
    return asyncore_getsockname(&listener, bound);
}

static int run_alone(void)
{
    int status = asyncore_loop(map, -1, -1) < 0 ? fail("loop") : 0;

    asyncore_close_all(map);
    return status;
}

/* ---- The command line --------------------------------------------------- */

static int read_number(const char *text)
{
    bool is_number =
        *text != '\0' && strspn(text, "0123456789") == strlen(text);

    return is_number && strlen(text) < 9 ? atoi(text) : -1;
}

/* The first argument that is no option, or NULL for misuse. */
static char **read_options(char **argv, struct workers *w)
{
    for (argv++; *argv != NULL && strncmp(*argv, "--", 2) == 0; argv += 2) {
        int n = argv[1] != NULL ? read_number(argv[1]) : -1;
        if (strcmp(*argv, "--backend") == 0 && argv[1] != NULL) {
            w->backend = argv[1];
        } else if (strcmp(*argv, "--timeout") == 0 && n >= 0) {
            timeout_ms = n > 0 ? (int64_t)n * 1000 : -1;
        } else if ((strcmp(*argv, "--threads") == 0 ||
                    strcmp(*argv, "--processes") == 0) &&
                   n > 0 && n <= 1000 && w->count == 0) {
            w->count = n;
            w->processes = strcmp(*argv, "--processes") == 0;
        } else {
            return NULL;
        }
    }
    return argv;
}

int main(int argc, char **argv)
{
    const char *where = "127.0.0.1:8007";
    struct workers w = {
        .name = "echo_server",
        .server = &server,
        .linger_ms = LINGER_MS,
    };
    asyncore_address address;
    int status;

    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    argv = read_options(argv, &w);
    if (argv != NULL && *argv != NULL)
        where = *argv++;
    map = argv != NULL && *argv == NULL ? asyncore_map_new(w.backend) : NULL;
    if (map == NULL || asyncore_address_resolve(&address, where) < 0) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (w.count > 0)
        asyncore_map_free(map); /* each of them makes its own */
    if ((w.count > 0 ? workers_listen(&w, where, &address)
                     : listen_alone(where, &address)) < 0)
        return fail(where);
    status = say_where(&address);
    if (status == 0)
        status = w.count > 0 ? workers_run() : run_alone();
    if (address.any.sa_family == AF_UNIX)
        unlink(address.un.sun_path);
    return status;
}
