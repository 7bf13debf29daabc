/*
 * udp_echo - sends every datagram back to where it came from, empty ones too.
 *
 *     udp_echo                       on 127.0.0.1:8007; "0": on a free port
 *     nc -u 127.0.0.1 8007           type something
 *
 * Ctrl-C ends it.
 */
#include <asyncore.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char usage[] = "usage: udp_echo [PORT | HOST:PORT | [V6]:PORT]";

enum { BATCH = 64 };

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

/* One wait serves many datagrams, but not so many that a signal must wait. */
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
    const struct sigaction action = { .sa_handler = on_signal };
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

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    asyncore_address_format(&address, text, sizeof text);
    asyncore_dispatcher_init(&d, &echo, -1, map);
    if (asyncore_create_socket(&d, address.any.sa_family, SOCK_DGRAM) < 0 ||
        asyncore_bind(&d, &address) < 0 ||
        asyncore_getsockname(&d, &address) < 0)
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
    return status;
}
