/*
 * server.h - what the servers that are compared have in common, so that they
 * differ in nothing but their library: the listening socket, the size of the
 * receive buffer, and what is kept of an answer that the kernel did not take.
 * It knows no library.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stddef.h>

/* Of the one buffer that all connections of a thread receive into. */
enum { SERVER_BUFFER = 65536 };

/* Of what a broadcast sends to every channel. */
enum { SERVER_BROADCAST = 1024 };

/*
 * A listening socket on 127.0.0.1, non-blocking; what it accepts inherits
 * TCP_NODELAY. port 0: any that is free. shared: several threads have one each
 * on the same port (SO_REUSEPORT). Ends the program where it fails.
 */
int server_listen(int port, int shared);

/* Prints "listening on PORT", which is what the benchmarks wait for, and
   returns the port. */
int server_announce(int fd);

/* The next connection, non-blocking, or -1 when there is none. */
int server_accept(int fd);

/* Keeps the calling thread, the number-th of the program, on a core of its
   own, of those that the program may use. */
void server_pin(int number);

/* Prints what and errno, and ends the program. */
_Noreturn void server_fail(const char *what);

/* What the kernel did not take of an answer. */
typedef struct unsent {
    int fd;
    size_t at, size;
    char data[];
} unsent;

/* A copy of size bytes. */
unsent *server_keep(int fd, const char *data, size_t size);

/* Sends it: 1, all of it has gone, and rest is freed; 0, some is left; -1, the
   connection is broken. */
int server_flush(unsent *rest);

#endif
