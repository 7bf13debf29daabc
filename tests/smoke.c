/*
 * One megabyte to an echo and back, through the public header alone, on every
 * backend. Needs no test library, so that it runs where the others cannot be
 * built; it is no substitute for them.
 */
#include <asyncore.h>

#include <stdio.h>
#include <string.h>

enum { TOTAL = 1 << 20 };

static unsigned char sent[TOTAL];
static unsigned char received[TOTAL + 1]; /* so that a surplus shows */
static size_t received_size;
static int closed;

static void echo_read(asyncore_dispatcher *d)
{
    char data[4096];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    if (n > 0)
        asyncore_send(d, data, (size_t)n);
}

static void finish(asyncore_dispatcher *d)
{
    asyncore_shutdown(d);
}

static void client_read(asyncore_dispatcher *d)
{
    ssize_t n = asyncore_recv(d, received + received_size,
                              sizeof received - received_size);

    if (n > 0)
        received_size += (size_t)n;
}

static void count_close(asyncore_dispatcher *d)
{
    if (d->error == 0)
        closed++;
}

static const asyncore_handlers echo = {
    .name = "echo",
    .handle_read = echo_read,
    .handle_eof = finish,
    .handle_close = count_close,
};

static const asyncore_handlers client = {
    .name = "client",
    .handle_read = client_read,
    .handle_close = count_close,
};

static const char *run(const char *backend)
{
    asyncore_dispatcher_with_send a, b;
    asyncore_map *map = asyncore_map_new(backend);
    const char *failure = NULL;
    int pair[2];

    received_size = 0;
    closed = 0;
    if (map == NULL)
        return "asyncore_map_new";
    if (strcmp(asyncore_map_backend(map), backend) != 0)
        failure = "another backend";
    else if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        failure = "socketpair";
    else if (asyncore_dispatcher_with_send_init(&a, &echo, pair[0], map) < 0 ||
             asyncore_dispatcher_with_send_init(&b, &client, pair[1], map) < 0)
        failure = "asyncore_dispatcher_with_send_init";
    else if (asyncore_send(&b.dispatcher, sent, sizeof sent) != TOTAL ||
             asyncore_shutdown(&b.dispatcher) < 0)
        failure = "asyncore_send";
    else if (asyncore_loop(map, 1000, 100000) < 0)
        failure = "asyncore_loop";
    else if (asyncore_map_count(map) != 0 || closed != 2)
        failure = "the end of the connection";
    else if (received_size != TOTAL || memcmp(received, sent, TOTAL) != 0)
        failure = "what came back";
    asyncore_map_free(map);
    return failure;
}

int main(void)
{
    const char *const *backend;
    int status = 0;
    unsigned i;

    for (i = 0; i < TOTAL; i++)
        sent[i] = (unsigned char)(i * 2654435761u >> 24);
    for (backend = asyncore_backends(); *backend != NULL; backend++) {
        const char *failure = run(*backend);

        printf("%s: %s\n", *backend, failure ? failure : "ok");
        status |= failure != NULL;
    }
    return status;
}
