/*
 * The system calls: see sock.h. One function here is one question put to the
 * kernel, with its answer made the same on every system.
 */
#include "sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef ASYNCORE_HAVE_EVENTFD
#include <sys/eventfd.h>
#endif
#ifdef ASYNCORE_HAVE_SENDFILE
#include <sys/sendfile.h>
#endif

/* Evaluates a call again for as long as a signal interrupts it. */
#define RETRY(result, call) \
    do \
        (result) = (call); \
    while ((result) == -1 && errno == EINTR)

#if !defined(SOCK_NONBLOCK) || !defined(SOCK_CLOEXEC) || \
    !defined(ASYNCORE_HAVE_ACCEPT4) || !defined(ASYNCORE_HAVE_EVENTFD)
static int set_flags(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    if (flags == -1 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == -1)
        return -1;
    return asyncore__fd_set_blocking(fd, false);
}
#endif

#if !defined(SOCK_NONBLOCK) || !defined(SOCK_CLOEXEC) || \
    !defined(ASYNCORE_HAVE_ACCEPT4)
/* Systems without the flags of Linux need four more calls, and lose a race
   with fork in another thread that they cannot win. */
static int flagged(int fd)
{
    if (fd != -1 && set_flags(fd) == -1) {
        asyncore__fd_close(fd);
        return -1;
    }
    return fd;
}
#endif

int asyncore__sock_open(int family, int type)
{
#if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
    return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
#else
    return flagged(socket(family, type, 0));
#endif
}

int asyncore__sock_accept(int fd, struct sockaddr *peer, socklen_t *size)
{
    int accepted;
#ifdef ASYNCORE_HAVE_ACCEPT4
    RETRY(accepted, accept4(fd, peer, size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return accepted;
#else
    RETRY(accepted, accept(fd, peer, size));
    if (accepted == -1 || flagged(accepted) != -1)
        return accepted;
    /* Somebody was there and is lost, which EAGAIN or EPERM would not say. */
    errno = EINVAL;
    return -1;
#endif
}

int asyncore__sock_bind(int fd, const struct sockaddr *address, socklen_t size)
{
    return bind(fd, address, size);
}

int asyncore__sock_listen(int fd, int backlog)
{
    return listen(fd, backlog);
}

int asyncore__sock_reuse_address(int fd)
{
    int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
}

int asyncore__sock_reuse_port(int fd)
{
#ifdef SO_REUSEPORT
    int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
#else
    (void)fd;
    errno = ENOPROTOOPT;
    return -1;
#endif
}

void asyncore__sock_take_v4(int fd)
{
    int off = 0;
    (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
}

void asyncore__sock_unlink_stale(const struct sockaddr_un *address,
                                 socklen_t size)
{
    struct stat file;
    int fd;

    if (lstat(address->sun_path, &file) == -1 || !S_ISSOCK(file.st_mode))
        return;
    fd = asyncore__sock_open(AF_UNIX, SOCK_STREAM);
    if (fd == -1)
        return;
    if (connect(fd, (const struct sockaddr *)address, size) == -1 &&
        errno == ECONNREFUSED)
        (void)unlink(address->sun_path);
    asyncore__fd_close(fd);
}

int asyncore__sock_name(int fd, struct sockaddr *address, socklen_t *size)
{
    return getsockname(fd, address, size);
}

int asyncore__sock_peer(int fd, struct sockaddr *address, socklen_t *size)
{
    return getpeername(fd, address, size);
}

int asyncore__sock_connect(int fd, const struct sockaddr *address,
                           socklen_t size)
{
    if (connect(fd, address, size) == 0)
        return 0;
    /* An interrupted connect goes on by itself (POSIX). EAGAIN is not among
       these: of a unix socket it means that the backlog is full and nothing is
       in progress (connect(2)). */
    if (errno == EINPROGRESS || errno == EINTR || errno == EALREADY)
        return 1;
    return -1;
}

ssize_t asyncore__sock_recvfrom(int fd, void *data, size_t size,
                                struct sockaddr *peer, socklen_t *peer_size)
{
    ssize_t n;
    RETRY(n, recvfrom(fd, data, size, 0, peer, peer_size));
    return n;
}

ssize_t asyncore__sock_sendv(int fd, struct iovec *pieces, unsigned short count)
{
    struct msghdr message = { .msg_iov = pieces };
    ssize_t n;
    message.msg_iovlen = count; /* size_t or int, as libc likes */
    RETRY(n, sendmsg(fd, &message, MSG_NOSIGNAL));
    return n;
}

ssize_t asyncore__sock_sendto(int fd, const void *data, size_t size,
                              const struct sockaddr *peer, socklen_t peer_size)
{
    ssize_t n;
    RETRY(n, sendto(fd, data, size, MSG_NOSIGNAL, peer, peer_size));
    return n;
}

int asyncore__sock_shutdown(int fd)
{
    /* ENOTCONN after a reset: what we wanted is so, and the reading side
       learns of the rest. */
    return shutdown(fd, SHUT_WR) == 0 || errno == ENOTCONN ? 0 : -1;
}

static int get_option(int fd, int option, int *value)
{
    socklen_t size = sizeof *value;
    return getsockopt(fd, SOL_SOCKET, option, value, &size);
}

/* A connection that the peer has reset has no name any more, as one that is
   being made or a socket that never was connected. Only a read tells them
   apart; it must not take data, but takes the error. */
static void identify_nameless(int fd, asyncore__sock_kind *kind)
{
    char byte;
    ssize_t n;

    RETRY(n, recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT));
    if (n >= 0) {
        kind->connected = true;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        kind->connecting = true;
    } else if (errno != ENOTCONN && errno != EINVAL) {
        kind->connected = true;
        kind->error = errno;
    }
}

int asyncore__sock_identify(int fd, asyncore__sock_kind *kind)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    int type, listening = 0;

    if (get_option(fd, SO_TYPE, &type) == -1)
        return -1;
    *kind = (asyncore__sock_kind){
        .stream = type != SOCK_DGRAM && type != SOCK_RAW,
    };
    if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0) {
        kind->connected = true;
    } else if (kind->stream) {
        (void)get_option(fd, SO_ACCEPTCONN, &listening);
        kind->listening = listening != 0;
        if (!kind->listening)
            identify_nameless(fd, kind);
    }
    return 0;
}

bool asyncore__sock_is_to(int fd, const struct sockaddr *peer, socklen_t size)
{
    struct sockaddr_storage found;
    socklen_t found_size = sizeof found;

    return (peer->sa_family == AF_INET || peer->sa_family == AF_INET6) &&
           getpeername(fd, (struct sockaddr *)&found, &found_size) == 0 &&
           found_size == size && memcmp(&found, peer, size) == 0;
}

int asyncore__sock_error(int fd)
{
    int error = 0;
    if (get_option(fd, SO_ERROR, &error) == -1)
        return errno == ENOTSOCK ? 0 : errno;
    return error;
}

bool asyncore__sock_unread(int fd)
{
    int unread = 0;
    return ioctl(fd, FIONREAD, &unread) == 0 && unread > 0;
}

/* FNV-1a, on words. */
static uint64_t mix(uint64_t print, uint64_t value)
{
    return (print ^ value) * UINT64_C(1099511628211);
}

uint64_t asyncore__fd_print(int fd)
{
    uint64_t print = UINT64_C(14695981039346656037);
    int count = 0;
#ifdef SO_MEMINFO
    unsigned memory[16] = { 0 };
    socklen_t size = sizeof memory;
#endif

    print = mix(print, (uint64_t)lseek(fd, 0, SEEK_CUR));
    if (ioctl(fd, FIONREAD, &count) == 0)
        print = mix(print, (unsigned)count);
#ifdef TIOCOUTQ
    if (ioctl(fd, TIOCOUTQ, &count) == 0)
        print = mix(print, (unsigned)count);
#endif
#ifdef SO_MEMINFO
    /* Of datagrams, FIONREAD tells the size of the first only. This, of what
       is received, lags behind, but moves. */
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0)
        print = mix(print, memory[0]);
#endif
    return print;
}

unsigned asyncore__fd_ready(int fd, unsigned events)
{
    struct pollfd one = { .fd = fd, .events = (short)events };
    int n;

    RETRY(n, poll(&one, 1, 0));
    return n > 0 ? (unsigned short)one.revents : 0;
}

int asyncore__sock_reserve(void)
{
    /* Unlike /dev/null, a socket is there in a chroot too. */
    return asyncore__sock_open(AF_UNIX, SOCK_DGRAM);
}

int asyncore__file_dup(int fd, asyncore__file_kind *kind)
{
    struct stat status;
    int copy, flags = fcntl(fd, F_GETFL);

    if (flags == -1 || fstat(fd, &status) == -1)
        return -1;
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy == -1)
        return -1;
    if (asyncore__fd_set_blocking(copy, false) == -1) {
        asyncore__fd_close(copy);
        return -1;
    }
    kind->write_only = (flags & O_ACCMODE) == O_WRONLY;
    kind->blocking = (flags & O_NONBLOCK) == 0;
    kind->sigpipe = S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode);
    return copy;
}

ssize_t asyncore__file_read(int fd, void *data, size_t size)
{
    ssize_t n;
    RETRY(n, read(fd, data, size));
    return n;
}

static ssize_t write_file(int fd, const void *data, size_t size)
{
    ssize_t n;
    RETRY(n, write(fd, data, size));
    return n;
}

/* SIGPIPE, where no flag of the call keeps it away. It is blocked for this
   thread, and if the call raised it, taken off the thread before it is
   unblocked; one that was pending before stays. */
typedef struct quiet {
    sigset_t before;
    bool pending;
} quiet;

static void sigpipe_only(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGPIPE);
}

static void begin_quiet(quiet *q)
{
    sigset_t pending, sigpipe;

    sigpipe_only(&sigpipe);
    sigemptyset(&pending);
    (void)sigpending(&pending);
    q->pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &sigpipe, &q->before);
}

static void end_quiet(const quiet *q, bool raised)
{
    static const struct timespec at_once = { 0, 0 };
    int taken, error = errno;

    if (raised && !q->pending) {
        sigset_t sigpipe;
        sigpipe_only(&sigpipe);
        RETRY(taken, sigtimedwait(&sigpipe, NULL, &at_once));
    }
    (void)pthread_sigmask(SIG_SETMASK, &q->before, NULL);
    errno = error;
}

static ssize_t write_without_sigpipe(int fd, const void *data, size_t size)
{
    quiet q;
    ssize_t n;

    begin_quiet(&q);
    n = write_file(fd, data, size);
    end_quiet(&q, n == -1 && errno == EPIPE);
    return n;
}

ssize_t asyncore__sock_sendfile(int fd, int file, int64_t offset, size_t size)
{
#ifdef ASYNCORE_HAVE_SENDFILE
    off_t from = (off_t)offset;
    quiet q;
    ssize_t n;

    begin_quiet(&q);
    RETRY(n, sendfile(fd, file, &from, size));
    end_quiet(&q, n == -1 && errno == EPIPE);
    return n;
#else
    (void)fd, (void)file, (void)offset, (void)size;
    errno = ENOSYS;
    return -1;
#endif
}

ssize_t asyncore__file_pread(int fd, void *data, size_t size, int64_t offset)
{
    ssize_t n;

    RETRY(n, pread(fd, data, size, (off_t)offset));
    return n;
}

ssize_t asyncore__file_write(int fd, const void *data, size_t size,
                             bool sigpipe)
{
    if (sigpipe)
        return write_without_sigpipe(fd, data, size);
    return write_file(fd, data, size);
}

int asyncore__fd_set_blocking(int fd, bool blocking)
{
    int flags = fcntl(fd, F_GETFL);
    int wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;

    if (flags == -1)
        return -1;
    return flags == wanted ? 0 : fcntl(fd, F_SETFL, wanted);
}

bool asyncore__fd_is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

void asyncore__fd_close(int fd)
{
    /* Not again on EINTR: on Linux the descriptor is gone, and the number may
       be another thread's by now. */
    int error = errno;
    (void)close(fd);
    errno = error;
}

int asyncore__fd_replace(int old, int fd)
{
    int result;

#ifdef ASYNCORE_HAVE_DUP3
    RETRY(result, dup3(fd, old, O_CLOEXEC));
#else
    RETRY(result, dup2(fd, old));
    if (result != -1)
        result = fcntl(old, F_SETFD, FD_CLOEXEC);
#endif
    return result == -1 ? -1 : 0;
}

int asyncore__waker_open(int fds[2])
{
#ifdef ASYNCORE_HAVE_EVENTFD
    fds[0] = fds[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fds[0] == -1 ? -1 : 0;
#else
    if (pipe(fds) == -1)
        return -1;
    if (set_flags(fds[0]) == -1 || set_flags(fds[1]) == -1) {
        asyncore__waker_close(fds);
        return -1;
    }
    return 0;
#endif
}

void asyncore__waker_close(const int fds[2])
{
    asyncore__fd_close(fds[0]);
    if (fds[1] != fds[0])
        asyncore__fd_close(fds[1]);
}

void asyncore__waker_set(int fd)
{
    /* Eight bytes, as an eventfd wants. EAGAIN means it is set already. */
    uint64_t one = 1;
    ssize_t n;
    int error = errno;

    RETRY(n, write(fd, &one, sizeof one));
    errno = error;
}

void asyncore__waker_clear(int fd)
{
    char data[512];
    ssize_t n;

    do
        n = asyncore__file_read(fd, data, sizeof data);
    while (n == (ssize_t)sizeof data);
}

int asyncore__process(void)
{
    return (int)getpid();
}

void asyncore__write_log(struct iovec *pieces, int count)
{
    int error = errno;
    quiet q;
    ssize_t n;

    begin_quiet(&q);
    n = writev(2, pieces, count);
    end_quiet(&q, n == -1 && errno == EPIPE);
    errno = error;
}

int64_t asyncore__now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void asyncore__random(void *data, size_t size)
{
    unsigned char *bytes = data;
    uint64_t state;
    size_t i;

#ifdef ASYNCORE_HAVE_GETENTROPY
    if (getentropy(data, size) == 0)
        return;
#endif
    /* The time, and where the system has put the stack. */
    state = (uint64_t)asyncore__now() ^ (uintptr_t)&state << 16;
    for (i = 0; i < size; i++) {
        state = state * 6364136223846793005 + 1442695040888963407;
        bytes[i] = (unsigned char)(state >> 56);
    }
}
