/*
 * http_get - the HTTP client of Python's asyncore documentation: asks for a
 * page and prints all that comes, the head too. The host is looked up, and its
 * addresses are tried, by asyncore_connect_name.
 *
 *     python3 -m http.server --bind 127.0.0.1 8000 &
 *     http_get http://localhost:8000/
 */
#include <asyncore.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char usage[] = "usage: http_get http://HOST[:PORT][/PATH]";
static const char *url;
static bool answered;
static int status;

struct page {
    char host[256];
    char port[6];
    char request[16384];
    int size; /* of the request */
};

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

static const char *reason(int error)
{
    switch (error) {
    case 0: return "no answer";
    case ENOENT: return "no such host";
    case EAGAIN: return "the host cannot be looked up now";
    default: return strerror(error);
    }
}

static void client_close(asyncore_dispatcher *d)
{
    if (d->error != 0 || !answered)
        fail(url, reason(d->error));
}

static const asyncore_handlers client_class = {
    .name = "http_get",
    .handle_read = client_read,
    .handle_close = client_close,
};

/* Text of so many bytes; -1 if it does not fit, or is none. */
static int copy(char *to, size_t room, const char *from, size_t size)
{
    if (size == 0 || size >= room)
        return -1;
    memcpy(to, from, size);
    to[size] = '\0';
    return 0;
}

/* HOST[:PORT], HOST being a name, an address, or an IPv6 address in [ ]. */
static int take_host(struct page *p, const char *text, size_t length)
{
    const char *end = text + length, *host = text, *host_end, *port;

    if (memchr(text, '@', length) != NULL)
        return -1;
    if (*host == '[') {
        host_end = memchr(++host, ']', length - 1);
        if (host_end == NULL ||
            memchr(host, ':', (size_t)(host_end - host)) == NULL)
            return -1;
        port = host_end + 1;
    } else {
        host_end = memchr(host, ':', length);
        if (host_end == NULL)
            host_end = end;
        port = host_end;
    }
    if (port < end && *port++ != ':')
        return -1;
    if (copy(p->host, sizeof p->host, host, (size_t)(host_end - host)) < 0)
        return -1;
    if (port == end)
        return copy(p->port, sizeof p->port, "80", 2);
    if (strspn(port, "0123456789") != (size_t)(end - port) ||
        copy(p->port, sizeof p->port, port, (size_t)(end - port)) < 0)
        return -1;
    return atoi(p->port) <= 65535 ? 0 : -1;
}

/*
 * What the URL means; -1 if it is no URL, or holds what could pass for a
 * further line of the request.
 */
static int take_apart(struct page *p)
{
    const char *host, *path;
    int length;

    for (const char *c = url; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~')
            return -1;
    }
    if (strncasecmp(url, "http://", strlen("http://")) != 0)
        return -1;
    host = url + strlen("http://");
    length = (int)strcspn(host, "/?#");
    path = host + length;
    if (length == 0 || take_host(p, host, (size_t)length) < 0)
        return -1;
    p->size = snprintf(p->request, sizeof p->request,
                       "GET %s%.*s HTTP/1.0\r\nHost: %.*s\r\n\r\n",
                       *path == '/' ? "" : "/", (int)strcspn(path, "#"), path,
                       length, host);
    return p->size < (int)sizeof p->request ? 0 : -1;
}

int main(int argc, char **argv)
{
    asyncore_dispatcher_with_send client;
    asyncore_dispatcher *d = &client.dispatcher;
    struct page page;

    url = argc == 2 ? argv[1] : "";
    if (strcmp(url, "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    if (take_apart(&page) < 0) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (asyncore_dispatcher_with_send_init(&client, &client_class, -1, NULL) ||
        asyncore_connect_name(d, page.host, page.port) < 0 ||
        asyncore_send(d, page.request, (size_t)page.size) < 0 ||
        asyncore_loop(NULL, -1, -1) < 0)
        fail(url, strerror(errno));
    asyncore_close(d);
    if (status == 0 && fflush(stdout) != 0)
        fail("standard output", strerror(errno));
    return status;
}
