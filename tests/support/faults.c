/*
 * faults.c - see faults.h.
 */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef ASYNCORE_HAVE_EPOLL
#include <sys/epoll.h>
#endif
#ifdef ASYNCORE_HAVE_EVENTFD
#include <sys/eventfd.h>
#endif

#define FAULT_NAME(name) #name,
const char *const fault_names[FAULT_COUNT] = { FAULTS(FAULT_NAME) };

static struct {
    bool armed, struck;
    int paused;
    fault f;
    int n, times, error;
    int calls[FAULT_COUNT];
    int waits, stray_closes;
} state;

static int allocations;

/* Of the calls that it stands before, this one is to fail. */
static bool strikes(fault f)
{
    int n;

    if (!state.armed || state.paused > 0)
        return false;
    n = ++state.calls[f];
    if (f != state.f || n < state.n || n >= state.n + state.times)
        return false;
    state.struck = true;
    errno = state.error;
    return true;
}

/* Returns what libc says. Linked statically it calls its own functions through
   these wrappers, where nothing is to fail or to be counted. */
#define RETURN_REAL(type, call) \
    do { \
        type result_; \
        state.paused++; \
        result_ = (call); \
        state.paused--; \
        return result_; \
    } while (0)

/* The wrapper of a function, with its declarations: FAIL is evaluated before a
   call that fails. */
#define WRAP_WITH(type, failed, name, parameters, arguments, FAIL) \
    type __real_##name parameters; \
    type __wrap_##name parameters; \
    type __wrap_##name parameters \
    { \
        if (strikes(FAULT_##name)) { \
            FAIL; \
            errno = state.error; \
            return failed; \
        } \
        RETURN_REAL(type, __real_##name arguments); \
    }

/* For those whose first parameter is the descriptor. */
#define WRAP(type, name, parameters, arguments) \
    WRAP_WITH(type, -1, name, parameters, arguments, lose(fd))

#define WRAP_NEW(type, name, parameters, arguments) \
    WRAP_WITH(type, -1, name, parameters, arguments, (void)0)

int __real_close(int fd);
int __wrap_close(int fd);

static void lose(int fd)
{
    if (state.error == EBADF)
        __real_close(fd);
}

int __wrap_close(int fd)
{
    bool fails = strikes(FAULT_close);
    int result = __real_close(fd);

    if (result == -1 && errno == EBADF && state.armed && state.paused == 0 &&
        state.error != EBADF)
        state.stray_closes++;
    if (!fails)
        return result;
    errno = state.error;
    return -1;
}

static size_t half(size_t size)
{
    return (size + 1) / 2;
}

/* For those that may do less than they are asked for. */
#define WRAP_SIZED(name, parameters, arguments, less) \
    ssize_t __real_##name parameters; \
    ssize_t __wrap_##name parameters; \
    ssize_t __wrap_##name parameters \
    { \
        if (!strikes(FAULT_##name)) \
            RETURN_REAL(ssize_t, __real_##name arguments); \
        if (state.error == FAULT_SHORT) \
            RETURN_REAL(ssize_t, __real_##name less); \
        lose(fd); \
        errno = state.error; \
        return -1; \
    }

/* ---- Memory ------------------------------------------------------------ */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);

static int inside; /* of a function of libc's, see RETURN_REAL */

static void *counted(void *memory)
{
    inside--;
    allocations += memory != NULL && inside == 0;
    return memory;
}

void *__wrap_malloc(size_t size)
{
    if (inside == 0 && strikes(FAULT_malloc))
        return NULL;
    inside++;
    return counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    if (inside == 0 && strikes(FAULT_calloc))
        return NULL;
    inside++;
    return counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *memory, size_t size)
{
    bool fresh = memory == NULL;

    if (inside == 0 && strikes(FAULT_realloc))
        return NULL;
    inside++;
    memory = counted(__real_realloc(memory, size));
    allocations -= memory != NULL && inside == 0 && !fresh;
    return memory;
}

void __wrap_free(void *memory)
{
    allocations -= memory != NULL && inside == 0;
    inside++;
    __real_free(memory);
    inside--;
}

/* ---- Sockets ----------------------------------------------------------- */

WRAP_NEW(int, socket, (int family, int type, int protocol),
         (family, type, protocol))
WRAP(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, listen, (int fd, int backlog), (fd, backlog))
WRAP(ssize_t, recvfrom,
     (int fd, void *data, size_t size, int flags, struct sockaddr *a,
      socklen_t *n),
     (fd, data, size, flags, a, n))
WRAP(ssize_t, sendto,
     (int fd, const void *data, size_t size, int flags,
      const struct sockaddr *a, socklen_t n),
     (fd, data, size, flags, a, n))
WRAP(int, getsockopt, (int fd, int level, int name, void *v, socklen_t *n),
     (fd, level, name, v, n))
WRAP(int, setsockopt, (int fd, int level, int name, const void *v, socklen_t n),
     (fd, level, name, v, n))
WRAP(int, getsockname, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
WRAP(int, getpeername, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
#ifdef ASYNCORE_HAVE_ACCEPT4
WRAP(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags),
     (fd, a, n, flags))
#else
WRAP(int, accept, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
#endif

WRAP_SIZED(send, (int fd, const void *data, size_t size, int flags),
           (fd, data, size, flags), (fd, data, half(size), flags))

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct msghdr less = *m;
    struct iovec piece = m->msg_iov[0];

    if (!strikes(FAULT_sendmsg))
        RETURN_REAL(ssize_t, __real_sendmsg(fd, m, flags));
    if (state.error == FAULT_SHORT) {
        piece.iov_len = half(piece.iov_len);
        less.msg_iov = &piece;
        less.msg_iovlen = 1;
        RETURN_REAL(ssize_t, __real_sendmsg(fd, &less, flags));
    }
    lose(fd);
    errno = state.error;
    return -1;
}

ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    /* A peek is the question whether a socket has ever been connected, and
       these two would be the wrong answer rather than a failure. */
    bool answers = (flags & MSG_PEEK) != 0 &&
                   (state.error == ENOTCONN || state.error == EINVAL);

    if (answers || !strikes(FAULT_recv))
        RETURN_REAL(ssize_t, __real_recv(fd, data, size, flags));
    if (state.error == FAULT_SHORT)
        RETURN_REAL(ssize_t, __real_recv(fd, data, half(size), flags));
    lose(fd);
    errno = state.error;
    return -1;
}

int __real_connect(int fd, const struct sockaddr *a, socklen_t n);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n);
int __real_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how);

int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n)
{
    if (!strikes(FAULT_connect))
        RETURN_REAL(int, __real_connect(fd, a, n));
    lose(fd);
    if (state.error == EINTR || state.error == EINPROGRESS)
        __real_connect(fd, a, n);
    errno = state.error;
    return -1;
}

int __wrap_shutdown(int fd, int how)
{
    static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

    if (!strikes(FAULT_shutdown))
        RETURN_REAL(int, __real_shutdown(fd, how));
    lose(fd);
    /* This is how a connection comes to have no peer: it is reset. */
    if (state.error == ENOTCONN)
        __real_connect(fd, &nobody, sizeof nobody);
    errno = state.error;
    return -1;
}

/* ---- Other descriptors ------------------------------------------------- */

WRAP_SIZED(read, (int fd, void *data, size_t size), (fd, data, size),
           (fd, data, half(size)))
WRAP_SIZED(write, (int fd, const void *data, size_t size), (fd, data, size),
           (fd, data, half(size)))

#ifdef ASYNCORE_HAVE_DUP3
WRAP(int, dup3, (int fd, int other, int flags), (fd, other, flags))
#endif

/* With large files glibc gives these two names of their own. */
#if defined(__GLIBC__) && defined(__USE_FILE_OFFSET64)
#define REAL(name) __real_##name##64
#define WRAPPED(name) __wrap_##name##64
#else
#define REAL(name) __real_##name
#define WRAPPED(name) __wrap_##name
#endif

int REAL(fstat)(int fd, struct stat *status);
int WRAPPED(fstat)(int fd, struct stat *status);
int REAL(fcntl)(int fd, int command, ...);
int WRAPPED(fcntl)(int fd, int command, ...);

int WRAPPED(fstat)(int fd, struct stat *status)
{
    if (!strikes(FAULT_fstat))
        RETURN_REAL(int, REAL(fstat)(fd, status));
    lose(fd);
    errno = state.error;
    return -1;
}

int WRAPPED(fcntl)(int fd, int command, ...)
{
    va_list list;
    long argument;

    va_start(list, command);
    argument = va_arg(list, long);
    va_end(list);
    if (!strikes(FAULT_fcntl))
        RETURN_REAL(int, REAL(fcntl)(fd, command, argument));
    lose(fd);
    errno = state.error;
    return -1;
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    void *argument;

    va_start(list, request);
    argument = va_arg(list, void *);
    va_end(list);
    if (!strikes(FAULT_ioctl))
        RETURN_REAL(int, __real_ioctl(fd, request, argument));
    lose(fd);
    errno = state.error;
    return -1;
}

#ifdef ASYNCORE_HAVE_EVENTFD
WRAP_NEW(int, eventfd, (unsigned value, int flags), (value, flags))
#endif

#ifdef ASYNCORE_HAVE_GETENTROPY
WRAP_NEW(int, getentropy, (void *data, size_t size), (data, size))
#endif

WRAP_WITH(int, state.error, pthread_mutex_init,
          (pthread_mutex_t * mutex, const pthread_mutexattr_t *attributes),
          (mutex, attributes), (void)0)

/* ---- Waiting ----------------------------------------------------------- */

#define WRAP_WAIT(name, parameters, arguments) \
    int __real_##name parameters; \
    int __wrap_##name parameters; \
    int __wrap_##name parameters \
    { \
        state.waits += state.armed && state.paused == 0; \
        if (strikes(FAULT_##name)) \
            return -1; \
        RETURN_REAL(int, __real_##name arguments); \
    }

WRAP_WAIT(poll, (struct pollfd * fds, nfds_t count, int timeout),
          (fds, count, timeout))
WRAP_WAIT(select,
          (int end, fd_set *in, fd_set *out, fd_set *pri, struct timeval *time),
          (end, in, out, pri, time))
#ifdef ASYNCORE_HAVE_EPOLL
WRAP_WAIT(epoll_wait,
          (int epoll, struct epoll_event *events, int room, int timeout),
          (epoll, events, room, timeout))
WRAP_NEW(int, epoll_create1, (int flags), (flags))

int __real_epoll_ctl(int epoll, int operation, int fd,
                     struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd,
                     struct epoll_event *event);

int __wrap_epoll_ctl(int epoll, int operation, int fd,
                     struct epoll_event *event)
{
    bool add = operation == EPOLL_CTL_ADD;

    if ((state.error == EEXIST && !add) || (state.error == ENOENT && add) ||
        !strikes(FAULT_epoll_ctl))
        RETURN_REAL(int, __real_epoll_ctl(epoll, operation, fd, event));
    lose(fd);
    if (state.error == EEXIST &&
        __real_epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event) < 0)
        return -1;
    if (state.error == ENOENT)
        __real_epoll_ctl(epoll, EPOLL_CTL_DEL, fd, event);
    errno = state.error;
    return -1;
}
#endif

/* ---- The test's side --------------------------------------------------- */

void faults_arm(fault f, int n, int times, int error)
{
    for (int i = 0; i < FAULT_COUNT; i++)
        state.calls[i] = 0;
    state.waits = state.stray_closes = 0;
    state.f = f;
    state.n = n;
    state.times = n > 0 ? times : 0;
    state.error = error;
    state.struck = false;
    state.paused = 0;
    state.armed = true;
}

bool faults_disarm(void)
{
    state.armed = false;
    return state.struck;
}

void faults_pause(void)
{
    state.paused++;
}

void faults_resume(void)
{
    state.paused--;
}

int faults_calls(fault f)
{
    return state.calls[f];
}

int faults_waits(void)
{
    return state.waits;
}

int faults_stray_closes(void)
{
    return state.stray_closes;
}

int faults_allocations(void)
{
    return allocations;
}

int faults_descriptors(void)
{
    struct pollfd fds[256];
    int count = 0;

    /* One call of poll tells which of them are none. */
    for (int fd = 0; fd < 256; fd++)
        fds[fd] = (struct pollfd){ .fd = fd };
    if (__real_poll(fds, 256, 0) < 0)
        return -1;
    for (int fd = 0; fd < 256; fd++)
        count += (fds[fd].revents & POLLNVAL) == 0;
    return count;
}
