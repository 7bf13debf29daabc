/*
 * The limits of a listener: the part of asyncore_set_limits that the map and
 * the default handle_accept need. Level 2, beside the map, which notes for each
 * descriptor by whom it is counted.
 */
#ifndef ASYNCORE__LIMIT_H
#define ASYNCORE__LIMIT_H

#include "map.h"

#include <asyncore.h>

/* A connection that has been let in, while handle_accepted decides about it. */
typedef struct asyncore__guest {
    asyncore_map *map;
    int fd;
    uint32_t since; /* the last serial given before */
    asyncore__peer *peer;
} asyncore__guest;

/* Whether d, which has limits, takes one more from that address; then it is
   counted, until asyncore__limits_seat. Otherwise fd is refused and closed. */
bool asyncore__limits_admit(asyncore_dispatcher *d, int fd,
                            const asyncore_address *address,
                            asyncore__guest *guest);

/* handle_accepted has returned: the guest is counted for as long as it is in
   the map, if it is there. */
void asyncore__limits_seat(const asyncore__guest *guest);

/* A listener no longer has these limits. */
void asyncore__limits_leave(asyncore_limits *limits);

/* The dispatcher with that descriptor, below map->counted_size, has left the
   map. */
void asyncore__limits_uncount(asyncore_map *map, int fd);

#endif
