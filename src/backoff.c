/*
 * Delays between attempts: asyncore_backoff_*, documented in asyncore.h. Knows
 * the clock, which the random numbers begin with; sets no timer.
 */
#include "sock.h"

#include <asyncore.h>

/* splitmix64 (Steele, Lea and Flood, 2014). Not for secrets. */
static uint64_t draw(asyncore_backoff *b)
{
    uint64_t z;

    if (b->random == 0)
        b->random = (uint64_t)asyncore__now() ^ (uint64_t)(uintptr_t)b << 20;
    z = b->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

int64_t asyncore_backoff_next(asyncore_backoff *b)
{
    int64_t first = b->first_ms > 1 ? b->first_ms : 1;
    int64_t most = b->most_ms > first ? b->most_ms : first;
    int64_t whole = b->next_ms > 0 ? b->next_ms : first;

    if (whole > most)
        whole = most;
    b->next_ms = whole > most / 2 ? most : whole * 2;
    return whole - (int64_t)(draw(b) % ((uint64_t)whole / 2 + 1));
}

void asyncore_backoff_reset(asyncore_backoff *b)
{
    b->next_ms = 0;
}
