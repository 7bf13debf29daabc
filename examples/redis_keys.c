/*
 * redis_keys.c - a chained hash table. What has expired is not found any more
 * and goes when it is looked for; what nobody looks for is swept out a few
 * buckets at a time, by a timer that is set only while something can expire.
 */
#include "redis_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK = 100,  /* ms between sweeps */
    SWEEP = 1024 /* of so many buckets */
};

/* A value is kept as the reply to those who ask for it. */
struct entry {
    struct entry *next;
    uint64_t hash;
    int64_t expires;
    size_t key, head, value;
    char bytes[]; /* key, head and value of these sizes, "\r\n" */
};

static asyncore_map *loop;
static asyncore_timer sweeper;
static struct entry **buckets;
static size_t mask; /* of a hash: one less than there are buckets */
static size_t count, expiring, swept;
static uint64_t seed[2];

int64_t keys_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool text_to_number(struct text t, int64_t *number)
{
    bool negative = t.size > 0 && t.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t n = 0; /* below zero, where there is room for one more */

    if (i == t.size || (t.data[i] == '0' && t.size > 1))
        return false;
    for (; i < t.size; i++) {
        int digit = t.data[i] - '0';
        if (digit < 0 || digit > 9 || n < (INT64_MIN + digit) / 10)
            return false;
        n = n * 10 - digit;
    }
    if (!negative && n == INT64_MIN)
        return false;
    *number = negative ? n : -n;
    return true;
}

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void sip_take(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3, of Aumasson and Bernstein, with a secret seed: nobody can fill
   one bucket on purpose. A weaker one, seed or not, has collisions that can be
   made by hand. */
static uint64_t hash(struct text key)
{
    uint64_t v[4] = { seed[0] ^ UINT64_C(0x736f6d6570736575),
                      seed[1] ^ UINT64_C(0x646f72616e646f6d),
                      seed[0] ^ UINT64_C(0x6c7967656e657261),
                      seed[1] ^ UINT64_C(0x7465646279746573) };
    uint64_t word;
    size_t i;

    for (i = 0; i + sizeof word <= key.size; i += sizeof word) {
        memcpy(&word, key.data + i, sizeof word);
        sip_take(v, word);
    }
    word = 0;
    memcpy(&word, key.data + i, key.size - i);
    sip_take(v, word ^ (uint64_t)key.size << 56);
    v[2] ^= 0xff;
    for (i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void discard(struct entry **link)
{
    struct entry *e = *link;

    *link = e->next;
    expiring -= e->expires != 0;
    count--;
    free(e);
}

/* Where the entry hangs. */
static struct entry **find(struct text key)
{
    uint64_t h = hash(key);
    struct entry **link = &buckets[h & mask], *e;

    for (; (e = *link) != NULL; link = &e->next) {
        if (e->hash != h || e->key != key.size ||
            memcmp(e->bytes, key.data, key.size) != 0)
            continue;
        if (e->expires == 0 || e->expires > keys_now())
            return link;
        discard(link);
        break;
    }
    return NULL;
}

struct entry *keys_find(struct text key)
{
    struct entry **link = find(key);

    return link != NULL ? *link : NULL;
}

bool keys_delete(struct text key)
{
    struct entry **link = find(key);

    if (link != NULL)
        discard(link);
    return link != NULL;
}

/* Without memory for more buckets the chains grow longer. */
static void grow(void)
{
    size_t size = (mask + 1) * 2;
    struct entry **more = calloc(size, sizeof(struct entry *)), *e;

    if (more == NULL)
        return;
    for (size_t i = 0; i <= mask; i++) {
        while ((e = buckets[i]) != NULL) {
            buckets[i] = e->next;
            e->next = more[e->hash & (size - 1)];
            more[e->hash & (size - 1)] = e;
        }
    }
    free(buckets);
    buckets = more;
    mask = size - 1;
}

int keys_put(struct text key, struct text value, int64_t expires)
{
    char head[32], *p;
    size_t size = (size_t)snprintf(head, sizeof head, "$%zu\r\n", value.size);
    struct entry *e = malloc(sizeof *e + key.size + size + value.size + 2);

    if (e == NULL)
        return -1;
    e->hash = hash(key);
    e->expires = 0;
    e->key = key.size;
    e->head = size;
    e->value = value.size;
    p = memcpy(e->bytes, key.data, key.size);
    p = memcpy(p + key.size, head, size);
    p = memcpy(p + size, value.data, value.size);
    p[value.size] = '\r';
    p[value.size + 1] = '\n';
    if (!keys_delete(key) && count > mask)
        grow();
    e->next = buckets[e->hash & mask];
    buckets[e->hash & mask] = e;
    count++;
    entry_set_expires(e, expires);
    return 0;
}

void keys_clear(void)
{
    for (size_t i = 0; i <= mask; i++) {
        while (buckets[i] != NULL)
            discard(&buckets[i]);
    }
}

size_t keys_count(void)
{
    return count;
}

struct text entry_value(const struct entry *e)
{
    return (struct text){ e->bytes + e->key + e->head, e->value };
}

struct text entry_reply(const struct entry *e)
{
    return (struct text){ e->bytes + e->key, e->head + e->value + 2 };
}

int64_t entry_expires(const struct entry *e)
{
    return e->expires;
}

static void sweep(void *arg)
{
    int64_t now = keys_now();

    (void)arg;
    for (size_t i = 0; i <= mask && i < SWEEP; i++) {
        struct entry **link = &buckets[swept++ & mask];
        while (*link != NULL) {
            if ((*link)->expires != 0 && (*link)->expires <= now)
                discard(link);
            else
                link = &(*link)->next;
        }
    }
    if (expiring == 0)
        asyncore_timer_cancel(&sweeper);
}

void entry_set_expires(struct entry *e, int64_t expires)
{
    if (expires != 0 && expiring == 0)
        asyncore_call_every(&sweeper, loop, TICK, sweep, NULL);
    expiring += (size_t)(expires != 0) - (size_t)(e->expires != 0);
    e->expires = expires;
}

int keys_init(asyncore_map *map)
{
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, &seed, sizeof seed);

    if (fd >= 0)
        close(fd);
    if (n != (ssize_t)sizeof seed)
        return -1;
    loop = map;
    mask = 15;
    buckets = calloc(mask + 1, sizeof(struct entry *));
    return buckets != NULL ? 0 : -1;
}

void keys_free(void)
{
    keys_clear();
    asyncore_timer_cancel(&sweeper);
    free(buckets);
}
