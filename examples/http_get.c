/*
 * http_get - the HTTP client of Python's asyncore documentation: asks for a
 * page and prints all that comes, the head too.
 *
 *     python3 -m http.server --bind 127.0.0.1 8000 &
 *     http_get http://127.0.0.1:8000/
 */
#include <asyncore.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char usage[] = "usage: http_get http://HOST[:PORT][/PATH]";
static const char *url;
static bool answered;
static int status;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "http_get: %s: %s\n", what, why);
    status = 1;
}

static void client_read(asyncore_dispatcher *d)
{
    char data[65536];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0)
        answered = true;
    if (n > 0 && fwrite(data, 1, (size_t)n, stdout) != (size_t)n) {
        fail("standard output", strerror(errno));
        asyncore_close(d);
    }
}

static void client_close(asyncore_dispatcher *d)
{
    if (d->error != 0 || !answered)
        fail(url, d->error != 0 ? strerror(d->error) : "no answer");
}

static const asyncore_handlers client_class = {
    .name = "http_get",
    .handle_read = client_read,
    .handle_close = client_close,
};

/*
 * The address and the request that the URL means; -1 if it is no URL, or
 * holds what could pass for a further line of the request.
 */
static int take_apart(char *address, size_t room, char *request, size_t size)
{
    const char *host, *port, *path;
    int length, written;

    for (const char *c = url; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~')
            return -1;
    }
    if (strncasecmp(url, "http://", strlen("http://")) != 0)
        return -1;
    host = url + strlen("http://");
    path = port = host + strcspn(host, "/?#");
    length = (int)(path - host);
    while (port > host && port[-1] >= '0' && port[-1] <= '9')
        port--;
    if (port == host || port[-1] != ':')
        port = ":80";
    else
        port = port == path ? "80" : "";
    written = snprintf(address, room, "%.*s%s", length, host, port);
    if (length == 0 || written >= (int)room ||
        memchr(host, '@', (size_t)length) != NULL)
        return -1;
    written = snprintf(
        request, size, "GET %s%.*s HTTP/1.0\r\nHost: %.*s\r\n\r\n",
        *path == '/' ? "" : "/", (int)strcspn(path, "#"), path, length, host);
    return written < (int)size ? written : -1;
}

int main(int argc, char **argv)
{
    char where[300], request[16384];
    asyncore_dispatcher_with_send client;
    asyncore_dispatcher *d = &client.dispatcher;
    asyncore_address address;
    int size;

    url = argc == 2 ? argv[1] : "";
    if (strcmp(url, "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    size = take_apart(where, sizeof where, request, sizeof request);
    if (size < 0) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (asyncore_address_resolve(&address, where) < 0 ||
        address.any.sa_family == AF_UNIX) {
        fprintf(stderr, "http_get: cannot find %s; %s\n", where, usage);
        return 2;
    }
    if (asyncore_dispatcher_with_send_init(&client, &client_class, -1, NULL) ||
        asyncore_create_socket(d, address.any.sa_family, SOCK_STREAM) < 0 ||
        asyncore_connect(d, &address) < 0 ||
        asyncore_send(d, request, (size_t)size) < 0 ||
        asyncore_loop(NULL, -1, -1) < 0)
        fail(url, strerror(errno));
    asyncore_close(d);
    if (status == 0 && fflush(stdout) != 0)
        fail("standard output", strerror(errno));
    return status;
}
