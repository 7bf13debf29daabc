/*
 * Looking names up off the loop, in threads of the map's. Level 2, beside the
 * map, which holds one of these when it has been needed.
 */
#ifndef ASYNCORE__RESOLVER_H
#define ASYNCORE__RESOLVER_H

#include "address.h"
#include "map.h"

typedef struct asyncore__resolver asyncore__resolver;
typedef struct asyncore__lookup asyncore__lookup;

/*
 * When there is an answer, waker is set (see sock.h), which must be open until
 * the look-up is finished or cancelled. NULL: ENOMEM; EAGAIN: no thread.
 */
asyncore__lookup *asyncore__lookup_start(asyncore_map *map,
                                         const asyncore__endpoint *what,
                                         int waker);

/* EINPROGRESS: there is no answer yet. Otherwise the look-up is over and
   gone, and the answer that of asyncore__endpoint_look_up. */
int asyncore__lookup_finish(asyncore__lookup *lookup, struct addrinfo **found);

/* It is over and gone. Waits for nobody. */
void asyncore__lookup_cancel(asyncore__lookup *lookup);

/* The map's end: all look-ups are over. Waits for nobody. NULL is fine. */
void asyncore__resolver_free(asyncore__resolver *resolver);

/*
 * For a child, which a fork has left without the threads: look-ups under way
 * end in handle_close, with ECANCELED, in the next turn.
 */
void asyncore__resolver_after_fork(asyncore_map *map);

/* The part of that which the one who began the look-up has. */
void asyncore__lookup_forget(asyncore__lookup *lookup);

#endif
