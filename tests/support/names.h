/*
 * names.h - a name service and a network of a test's making.
 *
 * The program must be linked with --wrap for getaddrinfo, freeaddrinfo, socket
 * and connect (names in tests/CMakeLists.txt), and with clock.c. Numbers are
 * left to the system; a name is what the test says it is, and nobody else is
 * asked. Those who ask may be held until they are let go, or the deadline.
 */
#ifndef TESTS_SUPPORT_NAMES_H
#define TESTS_SUPPORT_NAMES_H

#include <asyncore.h>

void names_begin(void);

/* Lets everybody go, waits till the threads have ended, and closes what was
   opened here. Fails the test if an answer was not freed. */
void names_end(void);

/* What a name is: addresses, or an error of getaddrinfo's. */
void name_is(const char *name, const asyncore_address *addresses, int count);
void name_fails(const char *name, int result);

void names_hold(void);
void names_let_go(void);

/* How many have asked, how many of these have no answer, the most of them at
   a time; waits until so many have none. */
int names_asked(void);
int names_most_inside(void);
void names_await_inside(int count);

/* The i-th question. */
const char *names_question(int i);

/* Whether one asked in a thread to which some signal could be delivered. */
bool names_was_open_to_signals(void);

/* Waits until fd is readable, while the frozen clock stands. */
void await_readable(int fd);

/* The threads of this process, and until there are no more than that. */
int thread_count(void);
void await_threads(int count);

/* Addresses: one that refuses, one that does not answer, one that accepts. */
asyncore_address refusing_address(void);
asyncore_address silent_address(void);
asyncore_address serving_address(int *listener);

/* Any address, to which connect fails with error, asking nobody. */
asyncore_address failing_address(const char *text, int error);

/* The calls of connect, since names_begin. */
typedef struct attempt {
    asyncore_address to;
    int fd;
    int64_t at; /* of the frozen clock */
} attempt;

int attempts(void);
attempt attempt_at(int i);

/* The port, as text. */
const char *port_of(const asyncore_address *address);

#endif
