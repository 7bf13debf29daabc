/*
 * trouble.c - see random.h. Between the library and the kernel, by the linker's
 * --wrap: what the kernel may answer and seldom does, and nobody is to notice.
 *
 * It does less than it is asked for, is interrupted, or tells of what is then
 * not there. The test's own calls are left alone: they say MSG_DONTWAIT, or they
 * accept what may wait.
 */
#include "random.h"
#include "support/accept.h"

#include <errno.h>
#include <poll.h>
#include <sys/select.h>
#ifdef ASYNCORE_HAVE_EPOLL
#include <sys/epoll.h>
#endif

static bool strikes(void)
{
    return play.trouble > 0 && chance(play.trouble);
}

static bool is_interrupted(void)
{
    errno = EINTR;
    return strikes();
}

static bool is_refused(void)
{
    if (is_interrupted())
        return true;
    errno = EAGAIN;
    return strikes();
}

static size_t less(size_t size)
{
    return size > 0 && strikes() ? any((uint32_t)size) + 1 : size;
}

ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    if ((flags & MSG_DONTWAIT) == 0) {
        if (is_refused())
            return -1;
        size = less(size);
    }
    return __real_recv(fd, data, size, flags);
}

ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    if ((flags & MSG_DONTWAIT) == 0) {
        if (is_refused())
            return -1;
        size = less(size);
    }
    return __real_send(fd, data, size, flags);
}

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (is_refused())
        return -1;
    if (strikes())
        return __real_send(fd, message->msg_iov->iov_base,
                           less(message->msg_iov->iov_len), flags);
    return __real_sendmsg(fd, message, flags);
}

/* An interrupted connect goes on (POSIX). */
int __real_connect(int fd, const struct sockaddr *peer, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *peer, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *peer, socklen_t size)
{
    int result = __real_connect(fd, peer, size);

    if (result < 0 && errno == EINPROGRESS && strikes())
        errno = EINTR;
    return result;
}

int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    return is_interrupted() ? -1 : __real_poll(fds, count, timeout);
}

int __real_select(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
                  struct timeval *timeout);
int __wrap_select(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
                  struct timeval *timeout);
int __wrap_select(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
                  struct timeval *timeout)
{
    return is_interrupted()
               ? -1
               : __real_select(count, reads, writes, excepts, timeout);
}

#ifdef ASYNCORE_HAVE_EPOLL
int __real_epoll_wait(int epoll, struct epoll_event *events, int count,
                      int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int count,
                      int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int count,
                      int timeout)
{
    if (is_interrupted())
        return -1;
    return __real_epoll_wait(epoll, events, (int)less((size_t)count), timeout);
}
#endif

#ifdef ASYNCORE_HAVE_ACCEPT4
WRAP_ACCEPT
{
    return (flags & SOCK_NONBLOCK) != 0 && is_refused() ? -1 : REAL_ACCEPT();
}
#endif
