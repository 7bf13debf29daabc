/*
 * test_asynchat_output.c - a queue of pieces of several kinds becomes writes:
 * in order, all of them, to peers that read slowly, late or never; and each
 * piece is given back once, whatever becomes of the connection.
 */
#include "support/chatter.h"
#include "support/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- What the library asks of libc ------------------------------------- */

static struct {
    size_t bytes; /* of memory */
    int memory, sends;
} asked;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

static void memory(size_t size)
{
    asked.memory++;
    asked.bytes += size;
}

void *__wrap_malloc(size_t size)
{
    memory(size);
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    memory(count * size);
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    memory(size);
    return __real_realloc(old, size);
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    asked.sends++;
    return __real_send(fd, data, size, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    asked.sends++;
    return __real_sendmsg(fd, message, flags);
}

static void ask_anew(void)
{
    memset(&asked, 0, sizeof asked);
}

/* ---- The pieces -------------------------------------------------------- */

/* What the peer should get, which is always a beginning of the same, and what
   it got. */
enum { MOST = 8 << 20 };
static char expected[MOST], got[MOST];
static size_t expected_size, got_size;
static bool got_end;

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < MOST; i++)
        expected[i] = (char)(i * 31 + i / 257 + i / 65537);
    return 0;
}

static int begin_sending(void **state)
{
    expected_size = got_size = 0;
    got_end = false;
    return begin_unix(state);
}

/* The next size bytes of what the peer should get. */
static const char *next_bytes(size_t size)
{
    const char *data = expected + expected_size;

    assert_true(expected_size + size <= MOST);
    expected_size += size;
    return data;
}

/* A producer, which says "later" before every piece if told to. */
typedef struct source {
    asynchat_producer producer;
    const char *data;
    size_t size;
    size_t piece; /* 0: as much as there is room for */
    int error;    /* at the end, instead of it */
    bool later, said_later;
    chatter *to; /* resumed within */
    int asked;
    int *freed;
} source;

static ssize_t more(asynchat_producer *producer, void *data, size_t size)
{
    source *s = (source *)producer;
    size_t n = s->size < size ? s->size : size;

    s->asked++;
    if (s->piece > 0 && n > s->piece)
        n = s->piece;
    if (s->later && !s->said_later) {
        s->said_later = true;
        errno = EAGAIN;
        return -1;
    }
    s->said_later = false;
    if (n == 0 && s->error != 0) {
        errno = s->error;
        return -1;
    }
    memcpy(data, s->data, n);
    s->data += n;
    s->size -= n;
    return (ssize_t)n;
}

static void free_source(asynchat_producer *producer)
{
    ++*((source *)producer)->freed;
    free(producer);
}

static source *new_source(const char *data, size_t size, int *freed)
{
    source *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->producer.more = more;
    s->producer.free = free_source;
    s->data = data;
    s->size = size;
    s->freed = freed;
    return s;
}

/* A file without a name; leading bytes before the data. */
static int new_file(const char *data, size_t size, size_t leading)
{
    char name[] = "/tmp/asyncore.XXXXXX";
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(ftruncate(fd, (off_t)leading), 0);
    while (size > 0) {
        ssize_t n = pwrite(fd, data, size, (off_t)leading);

        assert_true(n > 0);
        data += n;
        leading += (size_t)n;
        size -= (size_t)n;
    }
    return fd;
}

enum kind { COPY, SHARED, FILED, PRODUCED, KINDS };

static int sources_made, sources_freed;

/* Pushes the next size bytes as a piece of that kind. */
static int push_piece(chatter *c, enum kind kind, size_t size)
{
    const char *data = next_bytes(size);
    asynchat_shared *shared;
    source *s;
    int result;

    switch (kind) {
    case COPY: return asynchat_push(&c->chat, data, size);
    case SHARED:
        shared = asynchat_shared_new(data, size);
        assert_non_null(shared);
        result = asynchat_push_shared(&c->chat, shared);
        asynchat_shared_free(shared);
        return result;
    case FILED:
        return asynchat_push_file(&c->chat, new_file(data, size, 17), 17,
                                  (int64_t)size);
    default:
        s = new_source(data, size, &sources_freed);
        sources_made++;
        s->piece = size % 3 == 0 ? 777 : 0;
        return asynchat_push_with_producer(&c->chat, &s->producer);
    }
}

static void tiny_buffers(chatter *c, int peer)
{
    int size = 4096;

    setsockopt(base_of(c)->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

/* The peer takes what there is, at most so much. */
static void take(int peer, size_t most)
{
    while (most > 0) {
        size_t room = MOST - got_size < most ? MOST - got_size : most;
        ssize_t n = recv(peer, got + got_size, room, MSG_DONTWAIT);

        if (n <= 0) {
            got_end |= n == 0;
            return;
        }
        got_size += (size_t)n;
        most -= (size_t)n;
    }
}

static bool took_everything(int peer)
{
    take(peer, MOST);
    return got_size >= expected_size;
}

static bool took_the_end(int peer)
{
    take(peer, MOST);
    return got_end;
}

static void compare(void)
{
    assert_int_equal(got_size, expected_size);
    assert_true(memcmp(got, expected, got_size) == 0);
}

static void finish(chatter *c, int peer)
{
    asyncore_close(base_of(c));
    close(peer);
}

/* Fills the kernel's buffers, so that the next piece has to wait. */
static void lag(chatter *c)
{
    while (asyncore_queued(base_of(c)) == 0)
        assert_int_equal(push_piece(c, COPY, 1000), 0);
}

/* ---- Order ------------------------------------------------------------- */

static void every_order(void **state)
{
    static const size_t sizes[] = { 0, 1, 1000, 40000 };
    world *w = world_of(state);

    for (int order = 0; order < 256; order += ONE_IN) {
        int peer;
        chatter *c;

        expected_size = got_size = 0;
        got_end = false;
        c = chatter_pair(w, &chatter_frames, &peer);
        c->chat.limit = MOST;
        tiny_buffers(c, peer);
        for (int i = 0; i < 4; i++)
            assert_int_equal(push_piece(c, (enum kind)(order >> 2 * i & 3),
                                        sizes[(order + i) % 4]),
                             0);
        assert_int_equal(asynchat_close_when_done(&c->chat, DEADLINE_MS), 0);
        run_until(w->map, took_the_end(peer));
        compare();
        close(peer);
        run_until(w->map, c->closed > 0);
        assert_string_equal(c->text, "<close 0>");
        assert_int_equal(sources_freed, sources_made);
    }
}

static uint64_t random_state;

static size_t draw(size_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state % below);
}

static void any_sequence(void **state)
{
    static const size_t sizes[] = { 2, 300, 5000, 70000, 200000 };
    const char *seed = getenv("ASYNCORE_SEED");
    world *w = world_of(state);

    random_state = seed != NULL ? strtoull(seed, NULL, 10) : 1;
    print_message("ASYNCORE_SEED=%llu\n", (unsigned long long)random_state);
    random_state = random_state * UINT64_C(2862933555777941757) + 3037000493;
    for (int round = 0; round * ONE_IN < 8; round++) {
        int peer;
        chatter *c;

        expected_size = got_size = 0;
        got_end = false;
        c = chatter_pair(w, &chatter_frames, &peer);
        if (round % 2 == 0)
            tiny_buffers(c, peer);
        for (int i = 0; i < 40 && expected_size < MOST - 200000; i++) {
            assert_int_equal(
                push_piece(c, (enum kind)draw(KINDS), draw(sizes[draw(5)])), 0);
            if (draw(3) == 0)
                run_turns(w->map, (int)draw(4));
            if (draw(3) == 0)
                take(peer, draw(100000));
        }
        run_until(w->map, took_everything(peer));
        compare();
        run_until(w->map, asyncore_queued(base_of(c)) == 0);
        finish(c, peer);
        assert_int_equal(sources_freed, sources_made);
    }
}

/* A transport of the class's own gets all of it, files too. */
static ssize_t careful_send(asyncore_dispatcher *d, const void *data,
                            size_t size)
{
    return __real_send(d->fd, data, size < 3000 ? size : 3000, MSG_NOSIGNAL);
}

static void transport(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .send = careful_send, .handle_close = chatter_close },
    };
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &handlers, &peer);

    ask_anew();
    for (int kind = 0; kind < KINDS; kind++)
        assert_int_equal(push_piece(c, (enum kind)kind, 50000), 0);
    run_until(w->map, took_everything(peer));
    compare();
    assert_int_equal(asked.sends, 0);
    finish(c, peer);
}

/* ---- Before there is a connection -------------------------------------- */

static void push_in_connect(asyncore_dispatcher *d)
{
    push_piece((chatter *)d, COPY, 10);
    push_piece((chatter *)d, PRODUCED, 20);
}

static void while_connecting(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_connect = push_in_connect,
                        .handle_close = chatter_close },
    };
    world *w = world_of(state);
    asyncore_address at;
    int listener, peer;
    chatter *c;

    w->family = AF_INET;
    for (int done = 0; done < 2; done++) {
        expected_size = got_size = 0;
        got_end = false;
        listener = peer_listen(w, &at);
        c = new_chatter();
        assert_int_equal(asynchat_init(&c->chat, &handlers, -1, w->map), 0);
        assert_int_equal(asynchat_push(&c->chat, "x", 1), -1);
        assert_int_equal(errno, EBADF);
        assert_int_equal(
            asyncore_create_socket(base_of(c), AF_INET, SOCK_STREAM), 0);
        assert_int_equal(asynchat_push(&c->chat, "x", 1), -1);
        assert_int_equal(errno, ENOTCONN);
        assert_int_equal(asyncore_connect(base_of(c), &at), 0);
        for (int kind = 0; kind < KINDS; kind++)
            assert_int_equal(push_piece(c, (enum kind)kind, 5000), 0);
        assert_int_equal(push_piece(c, COPY, 0), 0);
        assert_true(asyncore_queued(base_of(c)) >= 10000);
        if (done)
            assert_int_equal(asynchat_close_when_done(&c->chat, DEADLINE_MS),
                             0);
        peer = peer_accept(listener);
        close(listener);
        if (done) {
            run_until(w->map, took_the_end(peer));
            /* What handle_connect pushed came too late. */
            assert_int_equal(got_size, 20000);
            assert_memory_equal(got, expected, got_size);
        } else {
            run_until(w->map, expected_size == 20030 && took_everything(peer));
            compare();
        }
        finish(c, peer);
        settle(w);
        assert_int_equal(sources_freed, sources_made);
    }
}

static void connection_refused(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    chatter *c = new_chatter();
    char text[32];

    w->family = AF_INET;
    close(peer_listen(w, &at));
    assert_int_equal(asynchat_init(&c->chat, &chatter_frames, -1, w->map), 0);
    assert_int_equal(asyncore_create_socket(base_of(c), AF_INET, SOCK_STREAM),
                     0);
    if (asyncore_connect(base_of(c), &at) < 0)
        skip();
    for (int kind = 0; kind < KINDS; kind++)
        assert_int_equal(push_piece(c, (enum kind)kind, 5000), 0);
    run_until(w->map, c->freed > 0);
    snprintf(text, sizeof text, "<close %d>", ECONNREFUSED);
    assert_string_equal(c->text, text);
    assert_int_equal(sources_freed, sources_made);
}

/* ---- Where nothing can be pushed --------------------------------------- */

static void refused(chatter *c, int error)
{
    for (int kind = 0; kind < KINDS; kind++) {
        errno = 0;
        assert_int_equal(push_piece(c, (enum kind)kind, 10), -1);
        assert_int_equal(errno, error);
    }
    assert_int_equal(sources_freed, sources_made);
}

static void pushes_refused(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c;

    c = chatter_pair(w, &chatter_frames, &peer);
    asyncore_shutdown(base_of(c));
    refused(c, ESHUTDOWN);
    assert_int_equal(asyncore_send(base_of(c), "x", 1), -1);
    asyncore_close(base_of(c));
    refused(c, EBADF);
    assert_int_equal(asynchat_close_when_done(&c->chat, 10), -1);
    assert_int_equal(errno, EBADF);
    asynchat_discard_buffers(&c->chat);
    asynchat_producer_resume(&c->chat);
    close(peer);

    c = chatter_pair(w, &chatter_frames, &peer);
    lag(c);
    assert_int_equal(asynchat_close_when_done(&c->chat, DEADLINE_MS), 0);
    refused(c, ESHUTDOWN);
    finish(c, peer);
    assert_string_equal(c->text, "");
}

/* A push that finds the peer gone has run handle_close. */
static void peer_gone(void **state)
{
    world *w = world_of(state);

    for (int kind = 0; kind < KINDS; kind++) {
        int peer;
        chatter *c = chatter_tcp(w, &chatter_frames, &peer);

        peer_reset(peer);
        for (int i = 0; i < 100 && push_piece(c, (enum kind)kind, 10) == 0; i++)
            run_turns(w->map, 1);
        assert_int_equal(c->closed, 1);
        settle(w);
        assert_int_equal(c->freed, 1);
        assert_int_equal(sources_freed, sources_made);
    }
}

/* What waits is given back when the peer resets. */
static void reset_with_a_queue(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_tcp(w, &chatter_frames, &peer);

    tiny_buffers(c, peer);
    push_piece(c, COPY, 4000000);
    for (int kind = 0; kind < KINDS; kind++)
        push_piece(c, (enum kind)kind, 5000);
    run_turns(w->map, 3);
    peer_reset(peer);
    run_until(w->map, c->freed > 0);
    assert_int_equal(c->closed, 1);
    assert_int_equal(sources_freed, sources_made);
}

/* And when the map goes. */
static void map_freed_with_a_queue(void **state)
{
    world *w = world_of(state);
    asyncore_map *map = w->map;
    int peer;
    chatter *c;

    w->map = asyncore_map_new(NULL);
    c = chatter_pair(w, &chatter_frames, &peer);
    lag(c);
    for (int kind = 0; kind < KINDS; kind++)
        push_piece(c, (enum kind)kind, 5000);
    asynchat_close_when_done(&c->chat, 1000);
    run_turns(w->map, 3);
    asyncore_map_free(w->map);
    w->map = map;
    assert_int_equal(c->freed, 1);
    assert_int_equal(c->closed, 0);
    assert_int_equal(sources_freed, sources_made);
    close(peer);
}

static void discarded(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);
    size_t sent;

    tiny_buffers(c, peer);
    lag(c);
    sent = expected_size;
    for (int kind = 0; kind < KINDS; kind++)
        push_piece(c, (enum kind)kind, 5000);
    asynchat_discard_buffers(&c->chat);
    assert_int_equal(asyncore_queued(base_of(c)), 0);
    assert_int_equal(sources_freed, sources_made);
    settle(w);
    take(peer, MOST);
    assert_true(got_size <= sent);
    assert_memory_equal(got, expected, got_size);
    expected_size = got_size;
    assert_int_equal(push_piece(c, PRODUCED, 50), 0);
    run_until(w->map, took_everything(peer));
    compare();
    assert_string_equal(c->text, "");
    finish(c, peer);
}

/* The end that waits behind what is discarded comes, though nobody had waited
   for room. */
static void discarded_before_the_end(void **state)
{
    world *w = world_of(state);

    for (int done = 0; done < 2; done++) {
        int peer, freed = 0;
        chatter *c = chatter_pair(w, &chatter_frames, &peer);
        source *s = new_source("never", 5, &freed);

        s->later = true;
        assert_int_equal(asynchat_push_with_producer(&c->chat, &s->producer),
                         0);
        run_until(w->map, s->asked > 0);
        settle(w);
        if (done)
            assert_int_equal(asynchat_close_when_done(&c->chat, -1), 0);
        else
            assert_int_equal(asyncore_shutdown(base_of(c)), 0);
        settle(w);
        asynchat_discard_buffers(&c->chat);
        assert_int_equal(freed, 1);
        run_until(w->map, took_the_end(peer));
        close(peer);
        run_until(w->map, c->closed > 0);
        assert_string_equal(c->text, "<close 0>");
        finish(c, -1);
    }
}

static asynchat *whose;

static void end_it(asynchat_producer *producer)
{
    asyncore_close(&whose->dispatcher);
    free(whose);
    free(producer);
}

/* Nothing is looked at after the release of what is discarded. */
static void ended_by_what_is_discarded(void **state)
{
    static const asynchat_handlers handlers = { .handle_frame = NULL };
    world *w = world_of(state);

    for (int done = 0; done < 2; done++) {
        int ends[2], freed = 0;
        source *s = new_source("never", 5, &freed);

        peer_pair(SOCK_STREAM, ends);
        whose = malloc(sizeof *whose);
        assert_int_equal(asynchat_init(whose, &handlers, ends[0], w->map), 0);
        s->later = true;
        s->producer.free = end_it;
        assert_int_equal(asynchat_push_with_producer(whose, &s->producer), 0);
        settle(w);
        if (done)
            assert_int_equal(asynchat_close_when_done(whose, -1), 0);
        settle(w);
        asynchat_discard_buffers(whose);
        assert_int_equal(asyncore_map_count(w->map), 0);
        close(ends[1]);
    }
}

/* ---- Limits ------------------------------------------------------------ */

static void limits(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);

    assert_int_equal(c->chat.limit, 65536);
    assert_int_equal(c->chat.frame_limit, 65536);
    tiny_buffers(c, peer);
    c->chat.limit = 40000;
    lag(c);
    assert_int_equal(push_piece(c, COPY, 20000), 0);
    run_until(w->map, took_everything(peer));
    settle(w);
    assert_string_equal(c->text, "");
    lag(c);
    assert_int_equal(push_piece(c, SHARED, 30000), 0);
    assert_int_equal(push_piece(c, COPY, 20000), 0);
    assert_true(asyncore_queued(base_of(c)) >= 50000);
    run_turns(w->map, 5);
    assert_string_equal(c->text, "");
    for (int i = 0; i < 1000 && c->size == 0; i++) {
        take(peer, 500);
        run_turns(w->map, 1);
    }
    assert_string_equal(c->text, "<drain>");
    assert_true(asyncore_queued(base_of(c)) <= 20000);
    run_until(w->map, took_everything(peer));
    settle(w);
    assert_string_equal(c->text, "<drain>");
    assert_int_equal(asyncore_queued(base_of(c)), 0);
    compare();
    finish(c, peer);
}

static void refill(asyncore_dispatcher *d)
{
    chatter *c = (chatter *)d;

    c->at_frame++;
    while (expected_size < 5000000 && asyncore_queued(d) < c->chat.limit)
        push_piece(c, COPY, 3000);
}

/* Who goes on in handle_drain goes on till the end. */
static void pumped(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_drain = refill },
    };
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &handlers, &peer);

    c->chat.limit = 20000;
    refill(base_of(c));
    run_until(w->map, (take(peer, 100000),
                       assert_true(asyncore_queued(base_of(c)) < 30000),
                       expected_size >= 5000000 && got_size == expected_size));
    compare();
    assert_true(c->at_frame > 10);
    finish(c, peer);
}

/* ---- Producers --------------------------------------------------------- */

static void later_and_resumed(void **state)
{
    world *w = world_of(state);
    int peer, freed = 0, before;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);
    source *s = new_source(next_bytes(30), 30, &freed);

    asynchat_producer_resume(&c->chat);
    s->later = true;
    s->piece = 10;
    assert_int_equal(asynchat_push_with_producer(&c->chat, &s->producer), 0);
    assert_int_equal(push_piece(c, COPY, 7), 0);
    for (size_t i = 0; i < 4; i++) {
        run_turns(w->map, 5);
        before = s->asked;
        run_turns(w->map, 20);
        assert_int_equal(s->asked, before);
        take(peer, MOST);
        assert_int_equal(got_size, i * 10);
        assert_int_equal(freed, 0);
        asynchat_producer_resume(&c->chat);
        assert_int_equal(s->asked, before);
    }
    run_until(w->map, took_everything(peer));
    compare();
    assert_int_equal(freed, 1);
    assert_string_equal(c->text, "");
    finish(c, peer);
}

/* A piece that waits behind one that has nothing now keeps nobody awake. */
static void later_without_spinning(void **state)
{
    world *w = world_of(state);
    int peer, freed = 0;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);
    source *s = new_source(next_bytes(30), 30, &freed);

    s->later = true;
    assert_int_equal(asynchat_push_with_producer(&c->chat, &s->producer), 0);
    assert_int_equal(push_piece(c, COPY, 100), 0);
    run_turns(w->map, 5);
    assert_int_equal(asyncore_poll(w->map, 1), 0);
    assert_int_equal(push_piece(c, COPY, 100), 0);
    run_turns(w->map, 5);
    assert_int_equal(asyncore_poll(w->map, 1), 0);
    /* Nor does the user's own asking, of which nothing is made. */
    asyncore_set_writable(base_of(c), true);
    run_turns(w->map, 5);
    assert_int_equal(asyncore_poll(w->map, 1), 0);
    assert_int_equal(s->asked, 1);
    asyncore_close(base_of(c));
    assert_int_equal(freed, 1);
    close(peer);
}

/* Resumed from outside the loop, by another's handler, after the peer has
   read everything: still from the loop. */
static void nothing_at_all(void **state)
{
    world *w = world_of(state);
    int peer, freed = 0;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);

    assert_int_equal(asynchat_push_with_producer(
                         &c->chat, &new_source("", 0, &freed)->producer),
                     0);
    assert_int_equal(push_piece(c, COPY, 3), 0);
    run_until(w->map, took_everything(peer));
    compare();
    assert_int_equal(freed, 1);
    finish(c, peer);
}

static ssize_t static_more(asynchat_producer *producer, void *data, size_t size)
{
    (void)producer, (void)size;
    memcpy(data, next_bytes(5), 5);
    return sources_made++ < 3 ? 5 : 0;
}

/* A producer without free is nobody's business. */
static void without_free(void **state)
{
    static asynchat_producer producer = { .more = static_more };
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);

    sources_made = 0;
    assert_int_equal(asynchat_push_with_producer(&c->chat, &producer), 0);
    run_until(w->map, sources_made == 4);
    expected_size = 15;
    run_until(w->map, took_everything(peer));
    compare();
    asyncore_close(base_of(c));
    assert_int_equal(asynchat_push_with_producer(&c->chat, &producer), -1);
    sources_made = sources_freed = 0;
    close(peer);
}

/* An error closes, by default. A class that goes on does without the rest of
   that producer, and hears of it once. */
static void producer_failed(void **state)
{
    static const asynchat_handlers keeping = {
        .dispatcher = { .handle_error = chatter_error,
                        .handle_close = chatter_close,
                        .handle_free = chatter_free },
    };
    world *w = world_of(state);
    char text[32];

    for (int keep = 0; keep < 2; keep++) {
        int peer, freed = 0;
        chatter *c = chatter_pair(w, keep ? &keeping : &chatter_frames, &peer);
        source *s;

        expected_size = got_size = 0;
        s = new_source(next_bytes(100), 100, &freed);
        s->error = EIO;
        assert_int_equal(asynchat_push_with_producer(&c->chat, &s->producer),
                         0);
        assert_int_equal(push_piece(c, COPY, keep ? 50 : 0), 0);
        run_until(w->map, c->size > 0);
        settle(w);
        assert_int_equal(freed, 1);
        snprintf(text, sizeof text, keep ? "<error %d>" : "<close %d>", EIO);
        assert_string_equal(c->text, text);
        take(peer, MOST);
        compare();
        finish(c, peer);
    }
}

/* ---- Files ------------------------------------------------------------- */

static void file_too_short(void **state)
{
    static const asynchat_handlers keeping = {
        .dispatcher = { .handle_error = chatter_error,
                        .handle_close = chatter_close },
    };
    static const asynchat_handlers keeping_sends = {
        .dispatcher = { .handle_error = chatter_error,
                        .handle_close = chatter_close,
                        .send = careful_send },
    };
    const asynchat_handlers *const tables[] = { &chatter_frames, &keeping,
                                                &keeping_sends };
    world *w = world_of(state);
    char text[32];

    for (int i = 0; i < 3; i++) {
        int peer;
        chatter *c = chatter_pair(w, tables[i], &peer);

        expected_size = got_size = 0;
        assert_int_equal(asynchat_push_file(&c->chat,
                                            new_file(next_bytes(100), 100, 0),
                                            0, 101),
                         0);
        assert_int_equal(push_piece(c, COPY, i > 0 ? 50 : 0), 0);
        run_until(w->map, c->size > 0);
        settle(w);
        snprintf(text, sizeof text, i > 0 ? "<error %d>" : "<close %d>", EIO);
        assert_string_equal(c->text, text);
        take(peer, MOST);
        compare();
        finish(c, peer);
    }
}

/* Its descriptor is gone when it has been sent, and not before. */
static void file_closed(void **state)
{
    world *w = world_of(state);
    int peer, file, offset;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);

    tiny_buffers(c, peer);
    lag(c);
    file = new_file(next_bytes(100000), 100000, 0);
    assert_int_equal(lseek(file, 5, SEEK_SET), 5);
    offset = dup(file);
    assert_int_equal(asynchat_push_file(&c->chat, file, 0, 100000), 0);
    run_turns(w->map, 5);
    assert_true(fcntl(file, F_GETFD) >= 0);
    run_until(w->map, took_everything(peer));
    settle(w);
    assert_int_equal(fcntl(file, F_GETFD), -1);
    compare();
    /* Nor has it been moved in. */
    assert_int_equal(lseek(offset, 0, SEEK_CUR), 5);
    close(offset);
    finish(c, peer);

    /* Nothing of a file is a piece too. */
    c = chatter_pair(w, &chatter_frames, &peer);
    file = new_file("", 0, 0);
    assert_int_equal(asynchat_push_file(&c->chat, file, 0, 0), 0);
    settle(w);
    assert_int_equal(fcntl(file, F_GETFD), -1);
    finish(c, peer);
    assert_string_equal(c->text, "");
}

/* ---- Closing ----------------------------------------------------------- */

static int begin_frozen(void **state)
{
    int result = begin_sending(state);

    clock_freeze();
    return result;
}

static int end_frozen(void **state)
{
    clock_release();
    return end_chat(state);
}

/* A peer that never reads, or never closes, is given up after linger_ms. */
static void linger(void **state)
{
    world *w = world_of(state);
    char text[32];

    snprintf(text, sizeof text, "<close %d>", ETIMEDOUT);
    for (int kind = -1; kind < KINDS; kind++) {
        int64_t begun;
        int peer;
        chatter *c = chatter_pair(w, &chatter_frames, &peer);

        if (kind >= 0) {
            tiny_buffers(c, peer);
            lag(c);
            assert_int_equal(push_piece(c, (enum kind)kind, 100000), 0);
        }
        begun = clock_now();
        assert_int_equal(asynchat_close_when_done(&c->chat, 3000), 0);
        assert_int_equal(asynchat_close_when_done(&c->chat, 10), 0);
        assert_int_equal(asynchat_close_when_done(&c->chat, -1), 0);
        assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
        assert_string_equal(c->text, text);
        assert_int_equal(c->freed, 1);
        assert_true(clock_now() >= begun + 3000 * CLOCK_MS);
        assert_true(clock_now() <= begun + 3001 * CLOCK_MS);
        assert_int_equal(sources_freed, sources_made);
        close(peer);
    }
}

/* There would be no loop to end it in time. */
static void linger_in_no_map(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);

    assert_int_equal(asyncore_del_channel(base_of(c)), 0);
    for (int linger_ms = -1; linger_ms <= 10; linger_ms += 11) {
        errno = 0;
        assert_int_equal(asynchat_close_when_done(&c->chat, linger_ms), -1);
        assert_int_equal(errno, EBADF);
    }
    assert_int_equal(asyncore_add_channel(base_of(c), w->map), 0);
    assert_int_equal(asynchat_push(&c->chat, "x", 1), 0);
    assert_int_equal(asynchat_close_when_done(&c->chat, 10), 0);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_int_equal(c->closed, 1);
    close(peer);
}

/* One that reads on gets everything, however slow it is, if in time; the
   timer is gone with it. */
static void linger_in_time(void **state)
{
    world *w = world_of(state);

    for (int linger_ms = -1; linger_ms <= 1000; linger_ms += 1001) {
        int peer;
        chatter *c = chatter_pair(w, &chatter_frames, &peer);

        expected_size = got_size = 0;
        got_end = false;
        tiny_buffers(c, peer);
        for (int kind = 0; kind < KINDS; kind++)
            assert_int_equal(push_piece(c, (enum kind)kind, 30000), 0);
        assert_int_equal(asynchat_close_when_done(&c->chat, linger_ms), 0);
        for (int i = 0; i < 5000 && !got_end; i++) {
            take(peer, 1000);
            assert_true(asyncore_poll(w->map, 0) >= 0);
        }
        assert_true(got_end);
        compare();
        assert_string_equal(c->text, "");
        close(peer);
        assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
        assert_string_equal(c->text, "<close 0>");
    }
}

/* What comes in meanwhile is dropped, be it ever so much, and does not reset
   the connection. */
static void input_dropped(void **state)
{
    static char flood[65536];
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_tcp(w, &chatter_frames, &peer);

    asynchat_set_terminator(&c->chat, "\n", 1);
    assert_int_equal(push_piece(c, COPY, 100), 0);
    assert_int_equal(asynchat_close_when_done(&c->chat, DEADLINE_MS), 0);
    /* Its pause is over; another one is its own affair. */
    memset(flood, '\n', sizeof flood);
    for (int i = 0; i < 50; i++) {
        ssize_t n =
            __real_send(peer, flood, sizeof flood, MSG_DONTWAIT | MSG_NOSIGNAL);

        assert_true(n > 0 || errno == EAGAIN);
        assert_true(asyncore_poll(w->map, 10) >= 0);
    }
    assert_int_equal(c->closed, 0);
    run_until(w->map, took_the_end(peer));
    compare();
    close(peer);
    run_until(w->map, c->closed > 0);
    assert_string_equal(c->text, "<close 0>");
}

static void done_and_switched(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);

    asynchat_set_terminator(&c->chat, "\r\n", 2);
    say(w, peer, "ab\r");
    assert_int_equal(asynchat_close_when_done(&c->chat, 1000), 0);
    assert_int_equal(asynchat_set_terminator(&c->chat, "x", 1), 0);
    assert_int_equal(asynchat_set_terminator_bytes(&c->chat, 0), 0);
    asynchat_discard_buffers(&c->chat);
    say(w, peer, "abx");
    asyncore_set_handlers(base_of(c), &chatter_pieces.dispatcher);
    say(w, peer, "abx");
    close(peer);
    assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
    assert_string_equal(c->text, "<close 0>");
    assert_int_equal(c->freed, 1);
}

static void say_why(asynchat *chat)
{
    chatter_overflow(chat);
    asynchat_push(chat, "too long\n", 9);
    asynchat_close_when_done(chat, 1000);
}

/* What a server does with a line that is too long. */
static void done_in_overflow(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_close = chatter_close,
                        .handle_free = chatter_free },
        .handle_frame = chatter_frame,
        .handle_overflow = say_why,
    };
    world *w = world_of(state);

    for (int cut = 1; cut < 10; cut += 4) {
        int peer;
        char line[16];
        chatter *c = chatter_pair(w, &handlers, &peer);

        c->chat.frame_limit = 5;
        asynchat_set_terminator(&c->chat, "\n", 1);
        peer_write(peer, "abcdefgh\nij\n", (size_t)cut);
        settle(w);
        peer_write(peer, &"abcdefgh\nij\n"[cut], 12 - (size_t)cut);
        settle(w);
        assert_int_equal(peer_read(peer, line, sizeof line), 9);
        close(peer);
        assert_int_equal(asyncore_loop(w->map, -1, -1), 0);
        assert_string_equal(c->text, "<overflow><close 0>");
        assert_int_equal(c->freed, 1);
    }
}

/* The peer has finished before us. */
static void done_after_eof(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_close = chatter_close,
                        .handle_eof = chatter_eof,
                        .handle_free = chatter_free },
        .handle_frame = chatter_frame,
    };
    world *w = world_of(state);

    for (int lagging = 0; lagging < 4; lagging++) {
        int peer;
        chatter *c = lagging < 2 ? chatter_pair(w, &handlers, &peer)
                                 : chatter_tcp(w, &handlers, &peer);

        expected_size = got_size = 0;
        got_end = false;
        shutdown(peer, SHUT_WR);
        run_until(w->map, c->size > 0);
        if (lagging % 2 == 1)
            assert_int_equal(push_piece(c, COPY, 7000000), 0);
        assert_int_equal(asynchat_close_when_done(&c->chat, -1), 0);
        run_until(w->map, took_the_end(peer));
        compare();
        run_until(w->map, c->closed > 0);
        assert_string_equal(c->text, "<eof><close 0>");
        close(peer);
    }
}

/* asyncore_shutdown: the end follows what is queued, and reading goes on. */
static void half_close(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);

    asynchat_set_terminator(&c->chat, "\n", 1);
    tiny_buffers(c, peer);
    c->chat.limit = MOST;
    for (int kind = 0; kind < KINDS; kind++)
        assert_int_equal(push_piece(c, (enum kind)kind, 50000), 0);
    assert_int_equal(asyncore_shutdown(base_of(c)), 0);
    assert_int_equal(asyncore_shutdown(base_of(c)), 0);
    say(w, peer, "one\n");
    run_until(w->map, took_the_end(peer));
    compare();
    say(w, peer, "two\n");
    assert_string_equal(c->text, "[one][two]");
    assert_true(base_of(c)->fd >= 0);
    close(peer);
    run_until(w->map, c->closed > 0);
    assert_string_equal(c->text, "[one][two]<close 0>");
}

/* ---- Cost -------------------------------------------------------------- */

static void echo_frame(asynchat *chat, const void *data, size_t size)
{
    (void)data, (void)size;
    asynchat_push(chat, "+PONG\r\n", 7);
}

static const asynchat_handlers echoing = { .handle_frame = echo_frame };

/* Sixteen answers to sixteen requests that came together: one call, and in
   the long run no memory. */
static void steady_state(void **state)
{
    static char answers[7 * 16 + 1];
    char requests[6 * 16 + 1] = "";
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &echoing, &peer);

    for (int i = 0; i < 16; i++)
        memcpy(requests + 6 * i, "PING\r\n", 6);
    asynchat_set_terminator(&c->chat, "\r\n", 2);
    for (int i = 0; i < 20; i++) {
        if (i == 10)
            ask_anew();
        peer_write(peer, requests, 6 * 16);
        run_turns(w->map, 2);
        assert_int_equal(peer_read(peer, answers, 7 * 16), 7 * 16);
    }
    /* The peer's own among them. */
    assert_int_equal(asked.sends, 20);
    assert_int_equal(asked.memory, 0);
    finish(c, peer);
}

/* More than the library gathers; what is pushed otherwise meanwhile; and a
   handler that looks at what is queued. */
static enum kind mixed[] = { COPY, COPY, COPY,     COPY, SHARED,
                             COPY, COPY, PRODUCED, COPY, FILED };

static void push_mixed(asynchat *chat, const void *data, size_t size)
{
    chatter *c = chatter_of(chat);
    size_t before = asyncore_queued(base_of(c));

    (void)data, (void)size;
    push_piece(c, mixed[c->at_frame % 10], 30000);
    if (mixed[c->at_frame++ % 10] == COPY)
        c->calls += asyncore_queued(base_of(c)) > before + 30000;
}

static void gather(world *w, bool tiny)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_close = chatter_close },
        .handle_frame = push_mixed,
    };
    int peer;
    chatter *c = chatter_pair(w, &handlers, &peer);

    if (tiny)
        tiny_buffers(c, peer);
    asynchat_set_terminator(&c->chat, "\n", 1);
    for (int i = 0; i < 3; i++) {
        say(w, peer, "\n\n\n\n\n\n\n\n\n\n\n");
        take(peer, 10000);
    }
    run_until(w->map, took_everything(peer));
    compare();
    assert_int_equal(c->calls, 0);
    assert_int_equal(expected_size, 33 * 30000);

    /* That some had to wait is over and done with: answers are gathered, and
       what is no answer goes at once. */
    asyncore_set_handlers(base_of(c), &echoing.dispatcher);
    ask_anew();
    peer_write(peer, "\n\n", 2);
    run_turns(w->map, 1);
    assert_int_equal(peer_read(peer, got, 14), 14);
    assert_int_equal(asked.sends, 2);
    assert_int_equal(asynchat_push(&c->chat, "?", 1), 0);
    assert_int_equal(peer_read(peer, got, 1), 1);
    finish(c, peer);
}

static void gathered_in_order(void **state)
{
    gather(world_of(state), false);
}

/* Of what was gathered, the kernel takes a part. */
static void gathered_with_little_room(void **state)
{
    gather(world_of(state), true);
}

static void echo_within_limit(asynchat *chat, const void *data, size_t size)
{
    chatter_frame(chat, data, size);
    asynchat_push(chat, "0123456789", 10);
    if (asyncore_queued(&chat->dispatcher) >= chat->limit)
        asyncore_set_readable(&chat->dispatcher, false);
}

static void go_on(asyncore_dispatcher *d)
{
    chatter_drain(d);
    asyncore_set_readable(d, true);
}

/* Who pauses at the limit is told to go on, also where what was gathered found
   room in the kernel at once. */
static void gathered_up_to_the_limit(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_drain = go_on },
        .handle_frame = echo_within_limit,
    };
    world *w = world_of(state);
    char answers[50];
    int peer;
    chatter *c = chatter_pair(w, &handlers, &peer);

    c->chat.limit = 20;
    asynchat_set_terminator(&c->chat, "\n", 1);
    peer_write(peer, "a\nb\nc\nd\ne\n", 10);
    run_turns(w->map, 10);
    assert_string_equal(c->text, "[a][b]<drain>[c][d]<drain>[e]");
    assert_int_equal(peer_read(peer, answers, sizeof answers), 50);
    finish(c, peer);
}

static void push_and_shut(asynchat *chat, const void *data, size_t size)
{
    chatter_frame(chat, data, size);
    asynchat_push(chat, "0123456789", 10);
    asyncore_set_readable(&chat->dispatcher, false);
    asyncore_shutdown(&chat->dispatcher);
}

/* The same for who shuts it there: an orderly end, by both sides. */
static void gathered_and_shut(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_drain = go_on, .handle_close = chatter_close },
        .handle_frame = push_and_shut,
    };
    world *w = world_of(state);
    char answer[11];
    int peer;
    chatter *c = chatter_tcp(w, &handlers, &peer);

    c->chat.limit = 10;
    asynchat_set_terminator(&c->chat, "\n", 1);
    peer_write(peer, "a\n", 2);
    shutdown(peer, SHUT_WR);
    run_until(w->map, c->closed > 0);
    assert_string_equal(c->text, "[a]<drain><close 0>");
    assert_int_equal(peer_read(peer, answer, sizeof answer), 10);
    close(peer);
}

/* Twenty pieces that waited go out together. */
static void pieces_in_one_call(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);

    lag(c);
    for (int i = 0; i < 20; i++)
        assert_int_equal(push_piece(c, SHARED, 10), 0);
    ask_anew();
    run_until(w->map, took_everything(peer));
    compare();
    assert_int_equal(asked.sends, 1);
    finish(c, peer);
}

static void push_and_go(asynchat *chat, const void *data, size_t size)
{
    (void)data, (void)size;
    push_piece(chatter_of(chat), COPY, 10);
    asynchat_close_when_done(chat, 1000);
    assert_int_equal(asynchat_push(chat, "x", 1), -1);
}

/* What was pushed in the handler that said goodbye goes out before it. */
static void goodbye(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_close = chatter_close },
        .handle_frame = push_and_go,
    };
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &handlers, &peer);

    asynchat_set_terminator(&c->chat, "\n", 1);
    say(w, peer, "a\nb\n");
    run_until(w->map, took_the_end(peer));
    compare();
    assert_int_equal(got_size, 10);
    finish(c, peer);
}

/* The answer finds nobody: others' are gathered as before. */
static void gathered_for_one_that_went(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_close = chatter_close },
        .handle_frame = echo_frame,
    };
    world *w = world_of(state);
    int peer, other;
    chatter *c = chatter_pair(w, &handlers, &peer);
    chatter *d = chatter_pair(w, &echoing, &other);

    asynchat_set_terminator(&c->chat, "\n", 1);
    asynchat_set_terminator(&d->chat, "\n", 1);
    peer_write(peer, "\n", 1);
    close(peer);
    run_until(w->map, c->closed > 0);
    ask_anew();
    peer_write(other, "\n\n", 2);
    run_turns(w->map, 1);
    assert_int_equal(peer_read(other, got, 14), 14);
    assert_int_equal(asked.sends, 2);
    finish(d, other);
}

enum { PUSH, CLOSE, CLOSE_IN_CLOSE };

/* A channel whose number is taken over while it is given input. */
static struct {
    int then; /* what others do to it */
    chatter *lost, *other;
    int lost_peer, other_peer;
    asyncore_dispatcher heir;
    int heirs_peer;
    int pushed, error;
} taken;

static void push_to_the_lost(void)
{
    errno = 0;
    taken.pushed = asynchat_push(&taken.lost->chat, "lost", 4);
    taken.error = errno;
}

static void lose_the_number(asynchat *chat, const void *data, size_t size)
{
    static const asyncore_handlers heir = { .name = "heir" };
    int fd = chat->dispatcher.fd, ends[2];

    (void)data, (void)size;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return;
    dup2(ends[0], fd);
    close(ends[0]);
    taken.heirs_peer = ends[1];
    asyncore_dispatcher_init(&taken.heir, &heir, fd, chat->dispatcher.map);
    push_to_the_lost();
}

static const asynchat_handlers loser = {
    .dispatcher = { .handle_close = chatter_close },
    .handle_frame = lose_the_number,
};

static void lost_within_its_input(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = taken.lost = chatter_pair(w, &loser, &peer);

    asynchat_set_terminator(&c->chat, "\n", 1);
    say(w, peer, "\n");
    assert_int_equal(taken.pushed, -1);
    assert_int_equal(taken.error, EBADF);
    assert_int_equal(c->closed, 1);
    asyncore_close(&taken.heir);
    close(taken.heirs_peer);
    close(peer);
}

static void answer_and_leave(asynchat *chat, const void *data, size_t size)
{
    (void)data, (void)size;
    asynchat_push(chat, "answer", 6);
    close(*(int *)chatter_of(chat)->arg);
}

/* In the middle of sending what was gathered, which has failed. */
static void serve_another(asyncore_dispatcher *d)
{
    asyncore_map *map = d->map;

    (void)!write(taken.lost_peer, "\n", 1);
    (void)!write(taken.other_peer, "\n", 1);
    asyncore_set_readable(base_of(taken.other), false);
    asyncore_poll(map, 0);
    asyncore_set_readable(base_of(taken.other), true);
    chatter_close(d);
}

static void answer_with_the_lost(asynchat *chat, const void *data, size_t size)
{
    (void)data, (void)size;
    asynchat_push(chat, "answer", 6);
    if (taken.then == PUSH)
        push_to_the_lost();
    else if (taken.then == CLOSE)
        asyncore_close(base_of(taken.lost));
    else
        close(taken.other_peer);
}

static void close_the_lost(asyncore_dispatcher *d)
{
    asyncore_close(base_of(taken.lost));
    chatter_close(d);
}

/* Nothing of it, nor of its end, gets into what others have gathered. */
static void lost_within_anothers_end(void **state)
{
    static const asynchat_handlers leaver = {
        .dispatcher = { .handle_close = serve_another },
        .handle_frame = answer_and_leave,
    };
    static const asynchat_handlers others = {
        .dispatcher = { .handle_close = close_the_lost },
        .handle_frame = answer_with_the_lost,
    };
    world *w = world_of(state);

    for (int then = PUSH; then <= CLOSE_IN_CLOSE; then++) {
        int peer;
        chatter *c = chatter_pair(w, &leaver, &peer);
        char data[20];

        taken.then = then;
        taken.lost = chatter_pair(w, &loser, &taken.lost_peer);
        taken.other = chatter_pair(w, &others, &taken.other_peer);
        c->arg = &peer;
        asynchat_set_terminator(&c->chat, "\n", 1);
        asynchat_set_terminator(&taken.lost->chat, "\n", 1);
        asynchat_set_terminator(&taken.other->chat, "\n", 1);
        peer_write(peer, "\n", 1);
        /* As long as the lost one has not been told. */
        asyncore_poll(w->map, 0);
        asyncore_readwrite(base_of(taken.other), POLLIN);
        if (then == PUSH) {
            assert_int_equal(taken.pushed, -1);
            assert_int_equal(taken.error, EBADF);
        }
        if (then != CLOSE_IN_CLOSE) {
            assert_int_equal(
                recv(taken.other_peer, data, sizeof data, MSG_DONTWAIT), 6);
            assert_memory_equal(data, "answer", 6);
            close(taken.other_peer);
        }
        settle(w);
        asyncore_close(base_of(taken.other));
        asyncore_close(&taken.heir);
        close(taken.heirs_peer);
        close(taken.lost_peer);
    }
}

static int within;

static void push_and_poll(asynchat *chat, const void *data, size_t size)
{
    (void)data, (void)size;
    push_piece(chatter_of(chat), COPY, 10);
    if (within++ == 0)
        asyncore_poll(chat->dispatcher.map, 0);
    push_piece(chatter_of(chat), COPY, 10);
}

/* With a turn of the loop in the middle. */
static void gathered_and_nested(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_close = chatter_close },
        .handle_frame = push_and_poll,
    };
    world *w = world_of(state);
    int peer, other;
    chatter *c = chatter_pair(w, &handlers, &peer);
    chatter *d = chatter_pair(w, &echoing, &other);
    char data[8];

    within = 0;
    asynchat_set_terminator(&c->chat, "\n", 1);
    asynchat_set_terminator(&d->chat, "\n", 1);
    peer_write(peer, "a\nb\n", 4);
    peer_write(other, "a\n", 2);
    run_until(w->map, took_everything(peer) && within == 2);
    compare();
    assert_int_equal(got_size, 40);
    assert_int_equal(peer_read(other, data, 7), 7);
    assert_memory_equal(data, "+PONG\r\n", 7);
    finish(c, peer);
    finish(d, other);
}

/* One copy for all, and a reference each. */
static void broadcast(void **state)
{
    enum { CHANNELS = 400, MESSAGE = 1024, ROUNDS = 10 };
    world *w = world_of(state);
    chatter *all = lend(w, CHANNELS * sizeof *all);
    int *peers = lend(w, CHANNELS * sizeof *peers);
    char *message = lend(w, MESSAGE);
    char *data = lend(w, MESSAGE);

    memset(message, 'm', MESSAGE);
    for (int i = 0; i < CHANNELS; i++) {
        int ends[2];

        peer_pair(SOCK_STREAM, ends);
        peers[i] = ends[1];
        assert_int_equal(asynchat_init(&all[i].chat, &echoing, ends[0], w->map),
                         0);
        tiny_buffers(&all[i], peers[i]);
        while (asyncore_queued(base_of(&all[i])) == 0)
            assert_int_equal(asynchat_push(&all[i].chat, message, MESSAGE), 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        asynchat_shared *shared;

        ask_anew();
        shared = asynchat_shared_new(message, MESSAGE);
        assert_non_null(shared);
        for (int i = 0; i < CHANNELS; i++)
            assert_int_equal(asynchat_push_shared(&all[i].chat, shared), 0);
        asynchat_shared_free(shared);
        assert_true(asked.bytes <= MESSAGE + 64 + CHANNELS * 64);
        assert_true(asked.memory <= CHANNELS + 1);
        assert_int_equal(asked.sends, 0);
    }
    for (int i = 0; i < CHANNELS; i++) {
        size_t queued = asyncore_queued(base_of(&all[i]));

        assert_true(queued > ROUNDS * MESSAGE);
        /* Half of them get it all, the others are closed with it queued. */
        if (i % 2 == 0) {
            while (asyncore_queued(base_of(&all[i])) > 0) {
                ssize_t n = recv(peers[i], data, MESSAGE, MSG_DONTWAIT);

                assert_true(n > 0);
                assert_memory_equal(data, message, (size_t)n);
                run_turns(w->map, 1);
            }
        }
        asyncore_close(base_of(&all[i]));
        close(peers[i]);
    }
}

static size_t swallowed;

static ssize_t swallow(asyncore_dispatcher *d, const void *data, size_t size)
{
    (void)d, (void)data;
    swallowed += size;
    return (ssize_t)size;
}

static ssize_t endless(asynchat_producer *producer, void *data, size_t size)
{
    (void)producer;
    memset(data, 'x', size);
    return (ssize_t)size;
}

/* One with a gigabyte queued, and a peer that takes all of it, does not hold
   the others up: a turn ends. */
static void fairness(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .send = swallow },
    };
    static asynchat_producer producer = { .more = endless };
    world *w = world_of(state);
    int peer, other;
    chatter *c = chatter_pair(w, &handlers, &peer);
    chatter *d = chatter_pair(w, &echoing, &other);
    char data[8];

    asynchat_set_terminator(&d->chat, "\n", 1);
    swallowed = 0;
    assert_int_equal(asynchat_push_with_producer(&c->chat, &producer), 0);
    for (int i = 0; i < 50; i++) {
        peer_write(other, "a\n", 2);
        run_turns(w->map, 2);
        assert_int_equal(peer_read(other, data, 7), 7);
    }
    assert_true(swallowed > 0);
    assert_true(swallowed <= 100 * 1024 * 1024);
    finish(c, peer);
    finish(d, other);
}

#define HERE(test) \
    { \
#test, test, begin_sending, end_chat, NULL \
    }
#define FROZEN(test) \
    { \
#test, test, begin_frozen, end_frozen, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE(every_order),
        HERE(any_sequence),
        HERE(transport),
        HERE(while_connecting),
        HERE(connection_refused),
        HERE(pushes_refused),
        HERE(peer_gone),
        HERE(reset_with_a_queue),
        HERE(map_freed_with_a_queue),
        HERE(discarded),
        HERE(discarded_before_the_end),
        HERE(ended_by_what_is_discarded),
        HERE(limits),
        HERE(pumped),
        HERE(later_and_resumed),
        HERE(later_without_spinning),
        HERE(nothing_at_all),
        HERE(without_free),
        HERE(producer_failed),
        HERE(file_too_short),
        HERE(file_closed),
        FROZEN(linger),
        FROZEN(linger_in_no_map),
        FROZEN(linger_in_time),
        HERE(input_dropped),
        FROZEN(done_and_switched),
        FROZEN(done_in_overflow),
        HERE(done_after_eof),
        HERE(half_close),
        HERE(steady_state),
        HERE(gathered_in_order),
        HERE(gathered_with_little_room),
        HERE(gathered_up_to_the_limit),
        HERE(gathered_and_shut),
        HERE(pieces_in_one_call),
        HERE(goodbye),
        HERE(gathered_for_one_that_went),
        HERE(lost_within_its_input),
        HERE(lost_within_anothers_end),
        HERE(gathered_and_nested),
        HERE(broadcast),
        HERE(fairness),
    };

    return cmocka_run_group_tests_name("asynchat_output", tests, fill, NULL);
}
