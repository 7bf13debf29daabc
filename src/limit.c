/*
 * The limits of a listener: asyncore_set_limits, documented in asyncore.h.
 *
 * Who is there is known by address: a peer is an address and how many come
 * from it, found through a hash table, the census, which all listeners with
 * the same limits share. For each descriptor of the map there is a pointer to
 * the peer by whom it is counted, so that whoever leaves the map is found
 * without a search. All of that is made where limits are used, and nothing of
 * it elsewhere.
 *
 * The limits are the user's, and may go when no listener has them, earlier
 * than those who are counted: then each peer forgets them, and goes with the
 * last of its connections.
 *
 * Peers choose their addresses. The hash has random keys that they do not
 * know, and is universal (Carter and Wegman, 1979; for vectors of words:
 * Lemire and Kaser, 2014): two addresses fall together by chance only.
 */
#include "limit.h"
#include "extra.h"
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Four of an IPv6 address, its zone, and whether there is an address. */
enum { ZONE = 4, IS_IP = 5, WORDS = 6 };

enum { FEW = 16 };

/* Of what a refused one has sent already, so many pieces are read: as much as
   is let through before anybody accepts (64 KiB, usually). */
enum { PIECES = 16, PIECE = 4096 };

/* Exactly count connections point to it. */
struct asyncore__peer {
    asyncore_limits *limits; /* NULL: they are gone, and so is the census */
    asyncore__peer *next;    /* in its chain */
    size_t count;
    uint32_t address[WORDS]; /* all 0 without one */
};

/*
 * Invariants:
 *     size is a power of two
 *     peers == the number of peers in all chains
 *     limits->open == the sum of their counts
 */
struct asyncore__census {
    asyncore_map *map;
    size_t listeners; /* that have these limits */
    size_t peers, size;
    asyncore__peer **chains, *few[FEW];
    uint64_t keys[WORDS + 1];
};

/* ---- Peers ------------------------------------------------------------- */

static uint32_t leading_bits(unsigned count)
{
    if (count >= 32)
        return UINT32_MAX;
    return count == 0 ? 0 : UINT32_MAX << (32 - count);
}

/* An IPv4 address is the IPv6 address that it is mapped to. */
static void identify(const asyncore_limits *limits,
                     const asyncore_address *address, uint32_t words[WORDS])
{
    unsigned i, prefix = limits->ipv6_prefix;

    memset(words, 0, WORDS * sizeof *words);
    if (address->any.sa_family == AF_INET) {
        words[IS_IP] = 1;
        words[2] = 0xffff;
        words[3] = ntohl(address->in.sin_addr.s_addr);
    } else if (address->any.sa_family == AF_INET6) {
        words[IS_IP] = 1;
        memcpy(words, &address->in6.sin6_addr, 4 * sizeof *words);
        for (i = 0; i < 4; i++)
            words[i] = ntohl(words[i]);
        words[ZONE] = address->in6.sin6_scope_id;
        if (prefix == 0 || IN6_IS_ADDR_V4MAPPED(&address->in6.sin6_addr))
            return;
        for (i = 0; i < 4; i++)
            words[i] &= leading_bits(prefix > 32 * i ? prefix - 32 * i : 0);
    }
}

static asyncore__peer **chain_of(struct asyncore__census *census,
                                 const uint32_t words[WORDS])
{
    uint64_t sum = census->keys[0];
    int i;

    for (i = 0; i < WORDS; i++)
        sum += census->keys[i + 1] * words[i];
    return &census->chains[(size_t)(sum >> 32) & (census->size - 1)];
}

static asyncore__peer *find(struct asyncore__census *census,
                            const uint32_t words[WORDS])
{
    asyncore__peer *peer = *chain_of(census, words);

    while (peer != NULL &&
           memcmp(peer->address, words, sizeof peer->address) != 0)
        peer = peer->next;
    return peer;
}

static void put(struct asyncore__census *census, asyncore__peer *peer)
{
    asyncore__peer **chain = chain_of(census, peer->address);

    peer->next = *chain;
    *chain = peer;
}

static void free_chains(struct asyncore__census *census,
                        asyncore__peer **chains)
{
    if (chains != census->few)
        free(chains);
}

/* Without memory the chains grow longer instead. */
static void grow(struct asyncore__census *census)
{
    size_t i, size = census->size;
    asyncore__peer **before = census->chains;
    asyncore__peer **chains = calloc(size * 2, sizeof(asyncore__peer *));

    if (chains == NULL)
        return;
    census->chains = chains;
    census->size = size * 2;
    for (i = 0; i < size; i++) {
        asyncore__peer *peer, *next;
        for (peer = before[i]; peer != NULL; peer = next) {
            next = peer->next;
            put(census, peer);
        }
    }
    free_chains(census, before);
}

static asyncore__peer *add(asyncore_limits *limits, const uint32_t words[WORDS])
{
    struct asyncore__census *census = limits->census;
    asyncore__peer *peer = malloc(sizeof *peer);

    if (peer == NULL)
        return NULL;
    peer->limits = limits;
    peer->count = 0;
    memcpy(peer->address, words, sizeof peer->address);
    if (census->peers == census->size)
        grow(census);
    put(census, peer);
    census->peers++;
    return peer;
}

static void take_out(struct asyncore__census *census, asyncore__peer *peer)
{
    asyncore__peer **link = chain_of(census, peer->address);

    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    census->peers--;
}

/* One of its connections is counted no more. */
static void release(asyncore__peer *peer)
{
    peer->count--;
    if (peer->limits != NULL) {
        peer->limits->open--;
        if (peer->count == 0)
            take_out(peer->limits->census, peer);
    }
    if (peer->count == 0)
        free(peer);
}

/* ---- Connections ------------------------------------------------------- */

/* Makes counted[fd] exist. */
static int make_place(asyncore_map *map, int fd)
{
    size_t before = (size_t)map->counted_size, size;
    asyncore__peer **counted;

    if (fd < map->counted_size)
        return 0;
    size = (size_t)fd + (size_t)fd / 2 + 16;
    counted = realloc(map->counted, size * sizeof *counted);
    if (counted == NULL)
        return -1;
    memset(counted + before, 0, (size - before) * sizeof *counted);
    map->counted = counted;
    map->counted_size = (int)size;
    return 0;
}

/* The peer, with one connection more, or NULL: there is no room for it, or no
   memory to count it. */
static asyncore__peer *let_in(asyncore_limits *limits, int fd,
                              const asyncore_address *address)
{
    uint32_t words[WORDS];
    asyncore__peer *peer;

    if (limits->connections != 0 && limits->open >= limits->connections)
        return NULL;
    identify(limits, address, words);
    peer = find(limits->census, words);
    if (peer != NULL && limits->per_peer != 0 &&
        peer->count >= limits->per_peer && words[IS_IP])
        return NULL;
    if (make_place(limits->census->map, fd) < 0)
        return NULL;
    if (peer == NULL && (peer = add(limits, words)) == NULL)
        return NULL;
    peer->count++;
    limits->open++;
    return peer;
}

/* With bytes unread, close(2) is a reset, which may overtake the word, or be
   all that the other side sees of the end; so they are read, within reason,
   and shutdown(2) comes first. */
static void refuse(int fd, const char *word)
{
    char piece[PIECE];
    int i = 0;

    if (word != NULL) {
        (void)asyncore__sock_send(fd, word, strlen(word));
        (void)asyncore__sock_shutdown(fd);
        while (i < PIECES && asyncore__sock_recv(fd, piece, sizeof piece) > 0)
            i++;
    }
    asyncore__fd_close(fd);
}

bool asyncore__limits_admit(asyncore_dispatcher *d, int fd,
                            const asyncore_address *address,
                            asyncore__guest *guest)
{
    asyncore_limits *limits = d->extra->limits;

    guest->map = d->map;
    guest->fd = fd;
    guest->since = d->map->serial;
    guest->peer = let_in(limits, fd, address);
    if (guest->peer == NULL) {
        limits->refused++;
        refuse(fd, limits->word);
    }
    return guest->peer != NULL;
}

/* Not so if handle_accepted closed it and opened something else, which has the
   number now: an older dispatcher, or one that connects or listens itself. */
static bool is_there(const asyncore__guest *guest)
{
    const asyncore__slot *slot;

    if (guest->fd >= guest->map->size)
        return false;
    slot = &guest->map->slots[guest->fd];
    return slot->d != NULL && slot->d->connected &&
           (int32_t)(slot->serial - guest->since) > 0;
}

void asyncore__limits_seat(const asyncore__guest *guest)
{
    asyncore__peer **place = &guest->map->counted[guest->fd];

    /* One accepted inside of handle_accepted may have the number now. */
    if (*place == NULL && is_there(guest))
        *place = guest->peer;
    else
        release(guest->peer);
}

void asyncore__limits_uncount(asyncore_map *map, int fd)
{
    asyncore__peer *peer = map->counted[fd];

    if (peer != NULL) {
        map->counted[fd] = NULL;
        release(peer);
    }
}

/* ---- Listeners --------------------------------------------------------- */

static int join(asyncore_limits *limits, asyncore_map *map)
{
    struct asyncore__census *census = limits->census;

    if (census == NULL) {
        census = calloc(1, sizeof *census);
        if (census == NULL)
            return -1;
        census->map = map;
        census->chains = census->few;
        census->size = FEW;
        asyncore__random(census->keys, sizeof census->keys);
        limits->census = census;
    }
    if (census->map != map) {
        errno = EINVAL;
        return -1;
    }
    census->listeners++;
    return 0;
}

void asyncore__limits_leave(asyncore_limits *limits)
{
    struct asyncore__census *census = limits->census;
    size_t i;

    if (--census->listeners > 0)
        return;
    for (i = 0; i < census->size; i++) {
        asyncore__peer *peer;
        for (peer = census->chains[i]; peer != NULL; peer = peer->next)
            peer->limits = NULL;
    }
    free_chains(census, census->chains);
    free(census);
    limits->census = NULL;
    limits->open = 0;
}

int asyncore_set_limits(asyncore_dispatcher *d, asyncore_limits *limits)
{
    asyncore_limits *before;

    if (!asyncore__in_map(d)) {
        errno = EBADF;
        return -1;
    }
    before = d->extra != NULL ? d->extra->limits : NULL;
    if (limits == before)
        return 0;
    if (limits != NULL &&
        (asyncore__extra_of(d) == NULL || join(limits, d->map) < 0))
        return -1;
    d->extra->limits = limits;
    if (before != NULL)
        asyncore__limits_leave(before);
    return 0;
}
