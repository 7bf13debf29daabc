/*
 * faults.h - makes the n-th call of a libc function fail, and keeps the books
 * of memory and descriptors meanwhile.
 *
 * The linker's --wrap puts these functions between the library and libc. It
 * catches what the objects of this program call, the test's own code too,
 * which therefore pauses the faults around its own system calls. What libc
 * calls itself is not caught, unless it is linked statically.
 *
 * A fault looks like the real thing: an interrupted connect goes on, a close
 * that fails has closed, a descriptor that is reported as bad (EBADF) is
 * closed behind the caller's back before it hears of it, and one that epoll
 * does not know (ENOENT), or does (EEXIST), is so.
 */
#ifndef TESTS_SUPPORT_FAULTS_H
#define TESTS_SUPPORT_FAULTS_H

#include <stdbool.h>

#define FAULTS_ANYWHERE(X) \
    X(malloc) \
    X(calloc) \
    X(realloc) \
    X(socket) \
    X(connect) \
    X(bind) \
    X(listen) \
    X(recv) \
    X(send) \
    X(sendmsg) \
    X(recvfrom) \
    X(sendto) \
    X(read) \
    X(write) \
    X(shutdown) \
    X(getsockopt) \
    X(setsockopt) \
    X(getsockname) \
    X(getpeername) \
    X(fcntl) \
    X(fstat) \
    X(ioctl) \
    X(close) \
    X(poll) \
    X(select) \
    X(pthread_mutex_init)

#ifdef ASYNCORE_HAVE_ACCEPT4
#define FAULTS_ACCEPT(X) X(accept4)
#define FAULT_accept FAULT_accept4
#else
#define FAULTS_ACCEPT(X) X(accept)
#endif
#ifdef ASYNCORE_HAVE_EPOLL
#define FAULTS_EPOLL(X) X(epoll_create1) X(epoll_ctl) X(epoll_wait)
#else
#define FAULTS_EPOLL(X)
#endif
#ifdef ASYNCORE_HAVE_DUP3
#define FAULTS_DUP3(X) X(dup3)
#else
#define FAULTS_DUP3(X)
#endif
#ifdef ASYNCORE_HAVE_EVENTFD
#define FAULTS_EVENTFD(X) X(eventfd)
#else
#define FAULTS_EVENTFD(X)
#endif

#ifdef ASYNCORE_HAVE_GETENTROPY
#define FAULTS_GETENTROPY(X) X(getentropy)
#else
#define FAULTS_GETENTROPY(X)
#endif

#define FAULTS(X) \
    FAULTS_ANYWHERE(X) \
    FAULTS_ACCEPT(X) \
    FAULTS_EPOLL(X) \
    FAULTS_DUP3(X) \
    FAULTS_EVENTFD(X) \
    FAULTS_GETENTROPY(X)

#define FAULT_ENUMERATOR(name) FAULT_##name,
typedef enum fault { FAULTS(FAULT_ENUMERATOR) FAULT_COUNT } fault;
#undef FAULT_ENUMERATOR

extern const char *const fault_names[FAULT_COUNT];

/* As an error: the call succeeds with about half of what it was given. */
enum { FAULT_SHORT = -1 };

/*
 * From now on calls are counted, all of them from 1, and those of f with the
 * numbers n to n + times - 1 fail with error. With n == 0 none does.
 */
void faults_arm(fault f, int n, int times, int error);

/* No more; returns whether one has failed. */
bool faults_disarm(void);

/* Around what the test does on its own account; they nest. */
void faults_pause(void);
void faults_resume(void);

/* Since faults_arm. */
int faults_calls(fault f);
int faults_waits(void);        /* calls that wait: epoll_wait, poll, select */
int faults_stray_closes(void); /* of descriptors that were not open */

/* What is in use now. */
int faults_allocations(void);
int faults_descriptors(void);

#endif
