/*
 * udp_echo - sends every datagram back to where it came from, empty ones too.
 *
 *     udp_echo                       on 127.0.0.1:8007; "0": on a free port
 *     nc -u 127.0.0.1 8007           type something
 *
 * Ctrl-C ends it, when what has come is answered; another at once.
 */
#include <asyncore.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char usage[] = "usage: udp_echo [PORT | HOST:PORT | [V6]:PORT]";

enum { BATCH = 64, STOP_MS = 700 };

/* These stay to the end, so that a second signal finds them still. */
static asyncore_map *map;
static asyncore_signal_handler interrupt, terminate;

static void stop(void *arg)
{
    static bool again;

    (void)arg;
    if (again)
        asyncore_stop(map);
    else
        asyncore_stop_when_done(map, STOP_MS);
    again = true;
}

/* One wait serves many datagrams, but not so many that others must wait. */
static void echo_read(asyncore_dispatcher *d)
{
    static char data[65536];
    asyncore_address peer;

    for (int i = 0; i < BATCH; i++) {
        ssize_t n = asyncore_recvfrom(d, data, sizeof data, &peer);
        if (n < 0)
            return;
        asyncore_sendto(d, data, (size_t)n, &peer);
    }
}

static const asyncore_handlers echo = {
    .name = "udp_echo",
    .handle_read = echo_read,
};

static int fail(const char *what)
{
    fprintf(stderr, "udp_echo: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    const char *where = argc > 1 ? argv[1] : "127.0.0.1:8007";
    char text[ASYNCORE_ADDRESS_TEXT];
    asyncore_address address;
    asyncore_dispatcher d;
    int status = 0;

    if (argc > 2) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (strcmp(where, "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    if (asyncore_address_resolve(&address, where) < 0 ||
        address.any.sa_family == AF_UNIX) {
        fprintf(stderr, "udp_echo: cannot find %s; %s\n", where, usage);
        return 2;
    }
    map = asyncore_map_new(NULL);
    if (map == NULL)
        return fail("map");

    asyncore_signal(&interrupt, map, SIGINT, stop, NULL);
    asyncore_signal(&terminate, map, SIGTERM, stop, NULL);
    asyncore_address_format(&address, text, sizeof text);
    asyncore_dispatcher_init(&d, &echo, -1, map);
    if (asyncore_create_socket(&d, address.any.sa_family, SOCK_DGRAM) < 0 ||
        asyncore_bind(&d, &address) < 0 ||
        asyncore_getsockname(&d, &address) < 0)
        return fail(text);
    asyncore_address_format(&address, text, sizeof text);
    if (printf("listening on %s\n", text) < 0 || fflush(stdout) != 0)
        status = fail("standard output");
    else if (asyncore_loop(map, -1, -1) < 0)
        status = fail(text);
    asyncore_close_all(map);
    return status;
}
