/*
 * world.h - where a test happens: an address family and a map on the backend
 * that ASYNCORE_BACKEND names.
 *
 * It knows the public header and POSIX. Peers are plain blocking sockets that
 * share no code with the library, so that a mistake cannot cancel itself out;
 * each of their calls gives up after the deadline. The world's end fails the
 * test if a descriptor is open that was not when it began.
 */
#ifndef TESTS_SUPPORT_WORLD_H
#define TESTS_SUPPORT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <asyncore.h>

/* How long any wait may take before the test fails. */
#define DEADLINE_MS 10000

/* So long a test may take, where a mistake would keep a call from returning:
   what takes seconds, under a sanitizer on a busy machine takes a minute. */
#define TEST_SECONDS 240

typedef struct world {
    int family;
    asyncore_map *map;      /* the default map while the test runs */
    asyncore_map *previous; /* the default map before */
    int descriptors;        /* how many were open when it began */
    int names;              /* how many unix paths were given out */
    char directory[64];     /* theirs; "" until the first */
    void *memory[64];       /* what lend gave out */
    int lent;
} world;

/* Setups, one per family, and the teardown. */
int begin_ipv4(void **state);
int begin_ipv6(void **state);
int begin_unix(void **state);
int end_world(void **state);

/* The test's world; skips the test where the machine lacks the family. */
world *world_of(void **state);

/* A table entry: the test's name carries the family. */
#define IN_IPV4(test) \
    { \
#test " (IPv4)", test, begin_ipv4, end_world, NULL \
    }
#define IN_IPV6(test) \
    { \
#test " (IPv6)", test, begin_ipv6, end_world, NULL \
    }
#define IN_UNIX(test) \
    { \
#test " (unix)", test, begin_unix, end_world, NULL \
    }

/*
 * Memory, all zero, until the world ends: after its map. Dispatchers on the
 * stack of a test that fails would be gone before the map is.
 */
void *lend(world *w, size_t size);

/* An address to bind: the loopback with port 0, or a fresh path. */
asyncore_address fresh_address(world *w);

/* d, initialised, bound and listening; where it listens. */
asyncore_address listen_at(world *w, asyncore_dispatcher *d,
                           const asyncore_handlers *handlers);

/* d, initialised and connecting to the address. */
void connect_to(asyncore_dispatcher *d, const asyncore_handlers *handlers,
                const asyncore_address *to);

/* Peers. */
int peer_socket(int family, int type);
int peer_listen(world *w, asyncore_address *at);
int peer_connect(const asyncore_address *to);
int peer_accept(int listener);
void peer_write(int fd, const void *data, size_t size);
size_t peer_read(int fd, void *data, size_t size); /* until full or the end */
void peer_reset(int fd);                           /* closes with an RST */
void peer_pair(int type, int ends[2]);             /* unix, both blocking */

int64_t now_ms(void);
int open_descriptors(void);

/* Turns the loop until the condition holds or the deadline fails the test. */
#define run_until(map, condition) \
    do { \
        int64_t until_ = now_ms() + DEADLINE_MS; \
        while (!(condition)) { \
            if (now_ms() > until_) \
                fail_msg("never came true: %s", #condition); \
            if (asyncore_poll(map, 20) < 0) \
                fail_msg("asyncore_poll failed waiting for %s", #condition); \
        } \
    } while (0)

/* As many turns, without waiting: what could happen has happened. */
void run_turns(asyncore_map *map, int turns);

/* What is written to descriptor 2 between the two, cut off at size bytes. */
void capture_begin(void);
char *capture_end(char *text, size_t size);

#endif
