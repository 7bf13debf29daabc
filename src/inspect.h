/*
 * Events on a map that is looked into: the same handlers as ever, one at a
 * time, each timed, and held against the spin guard. Level 3.
 */
#ifndef ASYNCORE__INSPECT_H
#define ASYNCORE__INSPECT_H

#include "dispatcher.h"

/* asyncore__dispatch of an event. */
void asyncore__inspect(asyncore_dispatcher *d, int fd, uint32_t serial,
                       unsigned ready);

/* The same of input that d has itself, which is no event. */
void asyncore__inspect_primed(asyncore_dispatcher *d, int fd, uint32_t serial);

#endif
