/*
 * ends.c - see ends.h.
 */
#include "ends.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char complaint[200];

void complain(const char *format, ...)
{
    va_list args;

    if (complaint[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(complaint, sizeof complaint, format, args);
    va_end(args);
}

void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void stream_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        complain("socketpair: %s", strerror(errno));
}

int listen_on_loopback(asyncore_address *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(address, 0, sizeof *address);
    address->in.sin_family = AF_INET;
    address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->size = sizeof address->in;
    if (fd < 0 || bind(fd, &address->any, address->size) < 0 ||
        listen(fd, 128) < 0 ||
        getsockname(fd, &address->any, &address->size) < 0)
        complain("listen: %s", strerror(errno));
    return fd;
}

int connect_to_loopback(const asyncore_address *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, &address->any, address->size) < 0)
        complain("connect: %s", strerror(errno));
    return fd;
}

void tcp_pair(int ends[2])
{
    asyncore_address address;
    int listener = listen_on_loopback(&address);

    ends[1] = connect_to_loopback(&address);
    ends[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
}

/* fd under another number; the old one is free again. */
static int move_descriptor(int fd, int number)
{
    if (fd == number)
        return fd;
    if (dup2(fd, number) < 0)
        complain("dup2: %s", strerror(errno));
    close(fd);
    return number;
}

void pair_at(int number, int ends[2])
{
    stream_pair(ends);
    if (ends[1] == number)
        ends[1] = fcntl(ends[1], F_DUPFD_CLOEXEC, number + 1);
    ends[0] = move_descriptor(ends[0], number);
}
