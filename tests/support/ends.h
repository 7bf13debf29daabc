/*
 * ends.h - pairs of connected descriptors for tests whose handlers make them.
 *
 * Handlers never assert, for a failing assertion would jump out of the
 * library: what fails here and there complains, and the test's body looks at
 * the complaint.
 */
#ifndef TESTS_SUPPORT_ENDS_H
#define TESTS_SUPPORT_ENDS_H

#include "world.h"

/* The first since it was emptied; "": none. */
extern char complaint[200];

void complain(const char *format, ...) ASYNCORE_PRINTF(1, 2);

/* Closes *fd, if there is one. */
void shut(int *fd);

void stream_pair(int ends[2]);

/* Over TCP: out-of-band data and resets want it. */
void tcp_pair(int ends[2]);

/* A quiet pair, the first of which has the given number, now free. */
void pair_at(int number, int ends[2]);

int listen_on_loopback(asyncore_address *address);
int connect_to_loopback(const asyncore_address *address);

#endif
