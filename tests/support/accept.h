/*
 * accept.h - WRAP_ACCEPT begins the stand-in, by the linker's --wrap, for what
 * the library accepts with: accept4, or accept where there is none. Its
 * parameters are fd, peer and size; REAL_ACCEPT makes the call.
 */
#ifndef TESTS_SUPPORT_ACCEPT_H
#define TESTS_SUPPORT_ACCEPT_H

#include <sys/socket.h>

#ifdef ASYNCORE_HAVE_ACCEPT4
#define ACCEPT_PARAMETERS \
    (int fd, struct sockaddr *peer, socklen_t *size, int flags)
#define WRAP_ACCEPT \
    int __real_accept4 ACCEPT_PARAMETERS; \
    int __wrap_accept4 ACCEPT_PARAMETERS; \
    int __wrap_accept4 ACCEPT_PARAMETERS
#define REAL_ACCEPT() __real_accept4(fd, peer, size, flags)
#else
#define ACCEPT_PARAMETERS (int fd, struct sockaddr *peer, socklen_t *size)
#define WRAP_ACCEPT \
    int __real_accept ACCEPT_PARAMETERS; \
    int __wrap_accept ACCEPT_PARAMETERS; \
    int __wrap_accept ACCEPT_PARAMETERS
#define REAL_ACCEPT() __real_accept(fd, peer, size)
#endif

#endif
