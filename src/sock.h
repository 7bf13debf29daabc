/*
 * The system calls, and what POSIX left ragged about them.
 *
 * Every call that touches a descriptor or the clock is made here (the three
 * kernel interfaces for waiting excepted, each of which has its poller), so
 * that a test can stand in for the kernel by the names of libc. Knows nothing
 * of dispatchers or maps. Descriptors made here are non-blocking and
 * close-on-exec. Unless said otherwise: -1 and errno, EINTR never.
 */
#ifndef ASYNCORE__SOCK_H
#define ASYNCORE__SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>

int asyncore__sock_open(int family, int type);
int asyncore__sock_accept(int fd, struct sockaddr *peer, socklen_t *size);
int asyncore__sock_bind(int fd, const struct sockaddr *address, socklen_t size);
int asyncore__sock_listen(int fd, int backlog);
int asyncore__sock_reuse_address(int fd);
int asyncore__sock_reuse_port(int fd); /* ENOPROTOOPT: none here */
/* Has an IPv6 socket take IPv4 too, where it does not anyway. */
void asyncore__sock_take_v4(int fd);

/* Removes the path of a unix socket that nobody listens on any more. */
void asyncore__sock_unlink_stale(const struct sockaddr_un *address,
                                 socklen_t size);

int asyncore__sock_name(int fd, struct sockaddr *address, socklen_t *size);
int asyncore__sock_peer(int fd, struct sockaddr *address, socklen_t *size);

/* 0 connected, 1 in progress, -1 refused at once. */
int asyncore__sock_connect(int fd, const struct sockaddr *address,
                           socklen_t size);

/* For descriptors that do not block, whose calls no signal interrupts: an
   EINTR would be passed on, and means what EAGAIN does. */
static inline ssize_t asyncore__sock_recv(int fd, void *data, size_t size)
{
    return recv(fd, data, size, 0);
}

/* No send raises SIGPIPE. */
static inline ssize_t asyncore__sock_send(int fd, const void *data, size_t size)
{
    return send(fd, data, size, MSG_NOSIGNAL);
}

ssize_t asyncore__sock_recvfrom(int fd, void *data, size_t size,
                                struct sockaddr *peer, socklen_t *peer_size);

ssize_t asyncore__sock_sendv(int fd, struct iovec *pieces,
                             unsigned short count);
ssize_t asyncore__sock_sendto(int fd, const void *data, size_t size,
                              const struct sockaddr *peer, socklen_t peer_size);

/* SHUT_WR. A connection that is gone already is no error. */
int asyncore__sock_shutdown(int fd);

/* What a socket descriptor is. */
typedef struct asyncore__sock_kind {
    bool stream;     /* its data comes to an end: not a datagram socket */
    bool listening;  /* listen(2) was called */
    bool connecting; /* connect(2) is under way */
    bool connected;  /* it is, or was until it broke */
    int error;       /* what it broke of, if finding out has taken it away */
} asyncore__sock_kind;

int asyncore__sock_identify(int fd, asyncore__sock_kind *kind);

/* Whether fd is a connection to peer, as accept(2) told it. Of those that have
   no name of their own (AF_UNIX): false. */
bool asyncore__sock_is_to(int fd, const struct sockaddr *peer, socklen_t size);

/* SO_ERROR, which reading clears; 0 for what is no socket. */
int asyncore__sock_error(int fd);

/* Whether bytes wait to be read. */
bool asyncore__sock_unread(int fd);

/* A number made of what the kernel holds of a descriptor, as far as it tells:
   bytes and memory that wait, where a file is at. Where it is another one,
   something was read, written, or has come. */
uint64_t asyncore__fd_print(int fd);

/* What of these poll(2) says of it now, and what that tells unasked. */
unsigned asyncore__fd_ready(int fd, unsigned events);

/* A descriptor to give up when there are no others: see listener.c. */
int asyncore__sock_reserve(void);

/* What a file descriptor is. */
typedef struct asyncore__file_kind {
    bool write_only;
    bool blocking; /* it was, before it was made non-blocking */
    bool sigpipe;  /* write(2) may raise it */
} asyncore__file_kind;

/* Up to size bytes of the file from offset on to a socket; SIGPIPE never
   raised. EINVAL, ENOSYS: not for these two. */
ssize_t asyncore__sock_sendfile(int fd, int file, int64_t offset, size_t size);
ssize_t asyncore__file_pread(int fd, void *data, size_t size, int64_t offset);

/* A non-blocking duplicate of fd. */
int asyncore__file_dup(int fd, asyncore__file_kind *kind);
ssize_t asyncore__file_read(int fd, void *data, size_t size);

/* With sigpipe, at the cost of three calls more, EPIPE comes without it. */
ssize_t asyncore__file_write(int fd, const void *data, size_t size,
                             bool sigpipe);

int asyncore__fd_set_blocking(int fd, bool blocking);
bool asyncore__fd_is_open(int fd);
void asyncore__fd_close(int fd);

/* old becomes a second number of what fd is; what it was is closed. */
int asyncore__fd_replace(int old, int fd);

/* A pair of descriptors, or twice the same: writing to [1] makes [0] ready. */
int asyncore__waker_open(int fds[2]);
void asyncore__waker_close(const int fds[2]);
void asyncore__waker_set(int fd);   /* async-signal-safe */
void asyncore__waker_clear(int fd); /* ready no more */

/* This process: another one after fork(2). Async-signal-safe. */
int asyncore__process(void);

/* One line to descriptor 2, in one call so that lines do not mix. That nobody
   reads it does not matter. */
void asyncore__write_log(struct iovec *pieces, int count);

/* Bytes that nobody can guess; where the system has none, few can. */
void asyncore__random(void *data, size_t size);

/* Nanoseconds of a clock that never goes back. */
int64_t asyncore__now(void);

#endif
