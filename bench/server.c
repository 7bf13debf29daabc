/* What the servers have in common: see server.h. */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

_Noreturn void server_fail(const char *what)
{
    perror(what);
    exit(1);
}

int server_listen(int port, int shared)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((unsigned short)port),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        (shared &&
         setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, SOMAXCONN) < 0)
        server_fail("listen");
    return fd;
}

int server_announce(int fd)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        server_fail("getsockname");
    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return ntohs(address.sin_port);
}

int server_accept(int fd)
{
    int accepted;

    do
        accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (accepted < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (accepted < 0 && errno != EAGAIN)
        server_fail("accept");
    return accepted;
}

void server_pin(int number)
{
    cpu_set_t allowed, one;
    int i, left;

    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        server_fail("sched_getaffinity");
    left = number % CPU_COUNT(&allowed);
    for (i = 0; !CPU_ISSET(i, &allowed) || left-- > 0; i++)
        ;
    CPU_ZERO(&one);
    CPU_SET(i, &one);
    if (sched_setaffinity(0, sizeof one, &one) < 0)
        server_fail("sched_setaffinity");
}

unsent *server_keep(int fd, const char *data, size_t size)
{
    unsent *rest = malloc(sizeof *rest + size);

    if (rest == NULL)
        server_fail("malloc");
    rest->fd = fd;
    rest->at = 0;
    rest->size = size;
    memcpy(rest->data, data, size);
    return rest;
}

int server_flush(unsent *rest)
{
    ssize_t n = send(rest->fd, rest->data + rest->at, rest->size - rest->at,
                     MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    rest->at += (size_t)n;
    if (rest->at < rest->size)
        return 0;
    free(rest);
    return 1;
}
