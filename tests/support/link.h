/*
 * link.h - one end in the library's hands, the other a plain descriptor.
 */
#ifndef TESTS_SUPPORT_LINK_H
#define TESTS_SUPPORT_LINK_H

#include "recorder.h"
#include "world.h"

/* A connection of the world's family that a listener of the test accepted; in
   the library's hands is the accepted end. */
recorder *join(world *w, const asyncore_handlers *handlers, int *peer);
recorder *join_with_send(world *w, const asyncore_handlers *handlers,
                         int *peer);

/* The plain ends of one. */
void join_plain(world *w, int *accepted, int *peer);

/* A unix socket pair, whatever the family. */
recorder *join_pair(world *w, const asyncore_handlers *handlers, int *peer);

/* A pipe: the library reads from it, or writes to it. */
recorder *join_pipe(world *w, const asyncore_handlers *handlers, bool reads,
                    int *peer);

/* Waits until poll(2) tells one of the events, or an end, of fd. */
void await(int fd, short events);

/* peer leaves with something unread, which its kernel tells fd by a reset. */
void peer_break(int fd, int peer);

/* How many turns it takes to pass the time: few, if nothing happens. */
int turns_during(asyncore_map *map, int ms);

/* More than these would be a spin; select looks at hidden ends anew from time
   to time. */
#define FEW_TURNS 6

#endif
