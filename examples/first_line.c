/*
 * first_line - connects, prints the first line that comes, and leaves.
 *
 *     (printf 'half a '; sleep 1; echo line) | nc -l 127.0.0.1 8008 &
 *     first_line 127.0.0.1:8008
 *
 * A stream knows nothing of lines: one may arrive in any number of pieces,
 * and the last of them may hold the beginning of the next.
 */
#include <asyncore.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: first_line PORT | HOST:PORT | [V6]:PORT | unix:PATH";
static const char *where;
static char line[65536];
static size_t used;
static int status;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "first_line: %s: %s\n", what, why);
    status = 1;
}

static void client_read(asyncore_dispatcher *d)
{
    ssize_t n = asyncore_recv(d, line + used, sizeof line - used);
    const char *end;

    if (n <= 0)
        return;
    end = memchr(line + used, '\n', (size_t)n);
    used += (size_t)n;
    if (end == NULL && used < sizeof line)
        return;
    asyncore_close(d);
    if (end == NULL)
        fail(where, "the line is too long");
    else if (fwrite(line, (size_t)(end + 1 - line), 1, stdout) != 1 ||
             fflush(stdout) != 0)
        fail("standard output", strerror(errno));
}

static void client_close(asyncore_dispatcher *d)
{
    fail(where, d->error ? strerror(d->error) : "ended before its first line");
}

static const asyncore_handlers client = {
    .name = "first_line",
    .handle_read = client_read,
    .handle_close = client_close,
};

int main(int argc, char **argv)
{
    asyncore_address address;
    asyncore_dispatcher d;

    if (argc != 2) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    where = argv[1];
    if (asyncore_address_resolve(&address, where) < 0) {
        fprintf(stderr, "first_line: cannot find %s; %s\n", where, usage);
        return 2;
    }
    if (asyncore_dispatcher_init(&d, &client, -1, NULL) < 0 ||
        asyncore_create_socket(&d, address.any.sa_family, SOCK_STREAM) < 0 ||
        asyncore_connect(&d, &address) < 0 || asyncore_loop(NULL, -1, -1) < 0)
        fail(where, strerror(errno));
    asyncore_close(&d);
    return status;
}
