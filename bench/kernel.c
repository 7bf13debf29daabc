/*
 * kernel.c - see kernel.h.
 */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* The prototypes that --wrap does not declare. */
int __wrap_epoll_ctl(int epoll, int operation, int fd,
                     struct epoll_event *event);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int size,
                      int timeout);
int __wrap_epoll_pwait(int epoll, struct epoll_event *events, int size,
                       int timeout, const sigset_t *mask);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __wrap_readv(int fd, const struct iovec *pieces, int count);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_writev(int fd, const struct iovec *pieces, int count);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_getsockopt(int fd, int level, int name, void *value,
                      socklen_t *size);
int __wrap_setsockopt(int fd, int level, int name, const void *value,
                      socklen_t size);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size);
int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __real_readv(int fd, const struct iovec *pieces, int count);
ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __real_writev(int fd, const struct iovec *pieces, int count);
int __real_fcntl(int fd, int command, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __real_getsockopt(int fd, int level, int name, void *value,
                      socklen_t *size);
int __real_setsockopt(int fd, int level, int name, const void *value,
                      socklen_t size);
int __real_getsockname(int fd, struct sockaddr *address, socklen_t *size);
int __real_getpeername(int fd, struct sockaddr *address, socklen_t *size);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);

typedef struct socket_state {
    uint64_t data;
    uint32_t wanted;
    bool watched, readable;
} socket_state;

long kernel_reads, kernel_writes, kernel_others, kernel_allocations;

static socket_state *sockets;
static int socket_count;
static const char *content;
static size_t content_size;
static const int *busy;
static int busy_count;

void kernel_open(int count, const char *message, size_t size)
{
    sockets = __real_malloc((size_t)count * sizeof *sockets);
    if (sockets == NULL) {
        perror("malloc");
        exit(1);
    }
    /* Written to, so that it is in memory before anything is measured. */
    memset(sockets, 0, (size_t)count * sizeof *sockets);
    socket_count = count;
    content = message;
    content_size = size;
}

void kernel_busy(const int *fds, int count)
{
    busy = fds;
    busy_count = count;
}

void kernel_deliver(void)
{
    int i;

    for (i = 0; i < busy_count; i++)
        sockets[busy[i] - KERNEL_FIRST].readable = true;
}

static bool is_ours(int fd)
{
    return fd >= KERNEL_FIRST && fd < KERNEL_FIRST + socket_count;
}

static int fail(int error)
{
    errno = error;
    return -1;
}

/* ---- epoll ------------------------------------------------------------- */

int __wrap_epoll_ctl(int epoll, int operation, int fd,
                     struct epoll_event *event)
{
    socket_state *s;

    (void)epoll;
    kernel_others++;
    if (!is_ours(fd))
        return 0;
    s = &sockets[fd - KERNEL_FIRST];
    if (operation == EPOLL_CTL_ADD && s->watched)
        return fail(EEXIST);
    if (operation != EPOLL_CTL_ADD && !s->watched)
        return fail(ENOENT);
    s->watched = operation != EPOLL_CTL_DEL;
    s->wanted = 0;
    if (s->watched) {
        s->wanted = event->events;
        s->data = event->data.u64;
    }
    return 0;
}

static int wait_for(struct epoll_event *events, int size)
{
    int i, n = 0;

    kernel_others++;
    for (i = 0; i < busy_count && n < size; i++) {
        const socket_state *s = &sockets[busy[i] - KERNEL_FIRST];
        uint32_t ready = s->readable ? EPOLLIN | EPOLLOUT : EPOLLOUT;
        if (s->watched && (ready & s->wanted) != 0) {
            events[n].events = ready & s->wanted;
            events[n++].data.u64 = s->data;
        }
    }
    return n;
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int size,
                      int timeout)
{
    (void)epoll;
    (void)timeout;
    return wait_for(events, size);
}

int __wrap_epoll_pwait(int epoll, struct epoll_event *events, int size,
                       int timeout, const sigset_t *mask)
{
    (void)epoll;
    (void)timeout;
    (void)mask;
    return wait_for(events, size);
}

/* ---- Reading and writing ----------------------------------------------- */

static ssize_t take(int fd, void *data, size_t size)
{
    socket_state *s = &sockets[fd - KERNEL_FIRST];

    kernel_reads++;
    if (!s->readable)
        return fail(EAGAIN);
    if (size < content_size)
        return fail(EINVAL);
    memcpy(data, content, content_size);
    s->readable = false;
    return (ssize_t)content_size;
}

static ssize_t swallow(const struct iovec *pieces, size_t count)
{
    size_t i, size = 0;

    kernel_writes++;
    for (i = 0; i < count; i++)
        size += pieces[i].iov_len;
    return (ssize_t)size;
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    return is_ours(fd) ? take(fd, data, size)
                       : __real_recv(fd, data, size, flags);
}

ssize_t __wrap_read(int fd, void *data, size_t size)
{
    return is_ours(fd) ? take(fd, data, size) : __real_read(fd, data, size);
}

ssize_t __wrap_readv(int fd, const struct iovec *pieces, int count)
{
    return is_ours(fd) ? take(fd, pieces[0].iov_base, pieces[0].iov_len)
                       : __real_readv(fd, pieces, count);
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    if (!is_ours(fd))
        return __real_send(fd, data, size, flags);
    kernel_writes++;
    return (ssize_t)size;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return is_ours(fd) ? swallow(message->msg_iov, message->msg_iovlen)
                       : __real_sendmsg(fd, message, flags);
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    if (!is_ours(fd))
        return __real_write(fd, data, size);
    kernel_writes++;
    return (ssize_t)size;
}

ssize_t __wrap_writev(int fd, const struct iovec *pieces, int count)
{
    return is_ours(fd) ? swallow(pieces, (size_t)count)
                       : __real_writev(fd, pieces, count);
}

/* ---- What sockets are asked when they are adopted ----------------------- */

static int control(int fd, int command, void *argument)
{
    if (!is_ours(fd))
        return __real_fcntl(fd, command, argument);
    kernel_others++;
    return command == F_GETFL ? O_RDWR | O_NONBLOCK : 0;
}

int __wrap_fcntl(int fd, int command, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, command);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    return control(fd, command, argument);
}

int __wrap_fcntl64(int fd, int command, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, command);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    return control(fd, command, argument);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (!is_ours(fd))
        return __real_ioctl(fd, request, argument);
    kernel_others++;
    if (request == FIONREAD)
        *(int *)argument =
            sockets[fd - KERNEL_FIRST].readable ? (int)content_size : 0;
    return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    if (!is_ours(fd))
        return __real_getsockopt(fd, level, name, value, size);
    kernel_others++;
    *(int *)value = name == SO_TYPE ? SOCK_STREAM : 0;
    *size = sizeof(int);
    return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value,
                      socklen_t size)
{
    if (!is_ours(fd))
        return __real_setsockopt(fd, level, name, value, size);
    kernel_others++;
    return 0;
}

static int name_of(struct sockaddr *address, socklen_t *size)
{
    struct sockaddr some = { .sa_family = AF_INET };

    kernel_others++;
    if (*size > sizeof some)
        *size = sizeof some;
    memcpy(address, &some, *size);
    return 0;
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
    return is_ours(fd) ? name_of(address, size)
                       : __real_getsockname(fd, address, size);
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *size)
{
    return is_ours(fd) ? name_of(address, size)
                       : __real_getpeername(fd, address, size);
}

/* ---- Memory, which is only counted -------------------------------------- */

void *__wrap_malloc(size_t size)
{
    kernel_allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    kernel_allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    kernel_allocations++;
    return __real_realloc(old, size);
}
