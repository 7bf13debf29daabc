/*
 * test_random.c - some fifty dispatchers and asynchats to whom everything
 * happens at random, in handlers as well as between turns, beside a model that
 * knows what may and what must come of it. Of frames it knows in chats.c. In
 * half of the runs the kernel is troublesome: see trouble.c.
 *
 *     no handler runs on a closed one, nor in its own handle_close
 *     handle_close at most once in a life, never after one's own close
 *     handle_free once for each life of a class that has it, under no handler
 *     what is read is what was written, all of it before an orderly end
 *     what the peer gets is what was sent, all of it after a shutdown
 *     the map counts whom the model counts
 *     in the end, with all peers gone, the loop ends
 *
 * ASYNCORE_SEED=n repeats run n; ASYNCORE_RUNS=n makes so many, counted up
 * from the seed.
 */
#include "random/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 2000, RUNS = (30 + ONE_IN - 1) / ONE_IN, DEEPEST = 3 };

static const asyncore_handlers classes[CLASSES][2];

const asyncore_handlers *any_class(const soul *s)
{
    return s->chat ? &chat_classes[any(CLASSES)][s->with_free].dispatcher
                   : &classes[any(CLASSES)][s->with_free];
}

/* ---- What happens to them ---------------------------------------------- */

static void peer_writes(soul *s)
{
    unsigned char data[3000];
    size_t size = any(sizeof data) + 1, i;
    ssize_t n;

    if (s->peer < 0)
        return;
    for (i = 0; i < size; i++)
        data[i] = byte_at(s, 0, s->written + i);
    n = send(s->peer, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        s->written += (size_t)n;
}

static void peer_reads(soul *s)
{
    static unsigned char data[65536];
    ssize_t n, i;

    if (s->peer < 0)
        return;
    while ((n = recv(s->peer, data, sizeof data, MSG_DONTWAIT)) > 0) {
        for (i = 0; i < n; i++)
            if (!s->cut && data[i] != byte_at(s, 1, s->received + (size_t)i)) {
                complain("the peer got what was not sent");
                return;
            }
        s->received += (size_t)n;
    }
    if (s->received > s->sent)
        complain("the peer got more than was sent");
    if (n == 0 && s->open && s->shut && !s->cut && !s->evicted &&
        s->received != s->sent)
        complain("the end came before %zu bytes of %zu", s->sent - s->received,
                 s->sent);
}

static void peer_leaves(soul *s)
{
    if (s->peer < 0)
        return;
    if (s->tcp && chance(2)) {
        peer_reset(s->peer);
        s->peer = -1;
    } else {
        if (chance(2))
            peer_reads(s);
        drop_peer(s);
    }
}

static void send_some(soul *s)
{
    static unsigned char data[200000];
    size_t size = chance(4) ? any(sizeof data) + 1 : any(500) + 1, i;
    bool could = s->open && !s->evicted;
    int life = s->life;
    ssize_t n;

    if (s->a == NULL)
        return;
    for (i = 0; i < size; i++)
        data[i] = byte_at(s, 1, s->sent + i);
    n = asyncore_send(dispatcher_of(s), data, size);
    if (n > 0 && !could)
        complain("sent on a closed one");
    if (n > 0 && life == s->life)
        s->sent += (size_t)n;
}

static void finish(soul *s)
{
    if (s->open && !s->evicted && asyncore_shutdown(dispatcher_of(s)) == 0 &&
        s->open)
        s->shut = true;
}

static void take_out(soul *s)
{
    if (!s->open || s->map == NULL)
        return;
    /* It is its class's business where it is while that is at work. */
    if (asyncore_del_channel(dispatcher_of(s)) < 0)
        return;
    s->map = NULL;
    /* It was not closed, so its end may be told again. */
    s->ending = false;
}

static void put_in(soul *s, asyncore_map *map)
{
    if (!s->open || s->map != NULL || s->evicted)
        return;
    if (asyncore_add_channel(dispatcher_of(s), map) < 0)
        complain("add_channel: %s", strerror(errno));
    s->map = map;
}

static void change_class(soul *s)
{
    if (!s->open)
        return;
    if (chance(3))
        s->with_free = !s->with_free;
    if (asyncore_set_handlers(dispatcher_of(s), any_class(s)) < 0)
        complain("set_handlers: %s", strerror(errno));
}

static void close_everybody(void)
{
    bool calm = play.calm;

    /* Whom handle_free adds is closed too, and nobody is told. */
    play.calm = true;
    for (int i = 0; i < SOULS; i++) {
        soul *s = &play.souls[i];
        if (s->open && (s->map == play.map || s->evicted)) {
            over(s);
            s->limbo = !s->with_free;
        }
    }
    asyncore_close_all(play.map);
    play.calm = calm;
}

static void turn(int timeout)
{
    play.deep++;
    if (asyncore_poll(play.map, timeout) < 0)
        complain("asyncore_poll: %s", strerror(errno));
    play.deep--;
    if (play.deep == 0) {
        play.stopped = false;
        play.stopper = NULL;
    }
}

/* One thing, to somebody. */
static void something(void)
{
    soul *s = &play.souls[any(SOULS)];

    switch (any(42)) {
    case 0:
    case 1:
    case 2:
    case 3: open_soul(s); break;
    case 4:
    case 5:
    case 6:
    case 7: peer_writes(s); break;
    case 8: peer_reads(s); break;
    case 9: peer_leaves(s); break;
    case 10:
        if (s->peer >= 0)
            shutdown(s->peer, SHUT_WR);
        break;
    case 11:
    case 12:
        if (s->a != NULL)
            asyncore_set_readable(dispatcher_of(s), chance(2));
        break;
    case 13:
        if (s->a != NULL && !s->chat)
            asyncore_set_writable(dispatcher_of(s), chance(2));
        break;
    case 14:
    case 15: send_some(s); break;
    case 16: finish(s); break;
    case 17:
    case 18: close_soul(s); break;
    case 19: change_class(s); break;
    case 20: take_out(s); break;
    case 21: put_in(s, chance(3) ? play.other_map : play.map); break;
    case 22:
        if (play.deep < DEEPEST && play.inside > 0)
            turn(0);
        break;
    case 23:
        if (asyncore_call_soon(play.map, call, NULL) < 0)
            complain("call_soon: %s", strerror(errno));
        break;
    case 24:
        if (play.inside > 0 && chance(3)) {
            asyncore_stop(play.map);
            play.stopped = true;
        } else if (chance(40) && play.deep < DEEPEST) {
            close_everybody();
        }
        break;
    case 25: evict(s, &play.souls[any(SOULS)]); break;
    case 26:
        if (s->open && s->map != NULL && chance(3))
            asyncore_set_timeout(dispatcher_of(s), (int)any(30) - 1);
        break;
    case 27:
    case 28:
    case 29:
    case 30:
    case 31:
    case 32: something_else(); break;
    default: something_of_chats(s);
    }
}

void mischief(void)
{
    while (!play.calm && chance(3))
        something();
}

/* ---- The handlers ------------------------------------------------------ */

soul *begin(const asyncore_dispatcher *d, const char *name)
{
    soul *s = soul_of(d);

    play.handlers++;
    if (!s->open)
        complain("%s of one that was closed", name);
    else if (s->map == NULL && !s->evicted)
        complain("%s of one that is in no map", name);
    if (s->ending)
        complain("%s of one in its handle_close", name);
    if (s->map == play.map && play.stopped && play.stopper != s &&
        play.inside == 0 && play.deep > 0)
        complain("%s after asyncore_stop", name);
    play.inside++;
    return s;
}

void end(void)
{
    play.inside--;
}

void call(void *arg)
{
    (void)arg;
    play.inside++;
    mischief();
    play.inside--;
}

static bool on_predicate(asyncore_dispatcher *d)
{
    soul *s = begin(d, "a predicate");
    bool stopped = play.stopped;

    if (chance(8))
        mischief();
    /* What belongs to the same question or answer follows nevertheless. */
    if (play.stopped && !stopped)
        play.stopper = s;
    end();
    return chance(2);
}

static void on_read(asyncore_dispatcher *d)
{
    soul *s = begin(d, "handle_read");
    unsigned char data[4096];
    int life = s->life;
    ssize_t n, i;

    mischief();
    if (s->open && s->life == life && !s->evicted) {
        n = asyncore_recv(d, data, any(sizeof data) + 1);
        for (i = 0; i < n; i++)
            if (data[i] != byte_at(s, 0, s->read + (size_t)i)) {
                complain("read what was not written");
                break;
            }
        s->read += n > 0 ? (size_t)n : 0;
        if (s->life == life && s->read > s->written)
            complain("read more than was written");
        mischief();
    }
    end();
}

/* What was written and not read, at an end that is orderly. */
static void check_end(const soul *s, const char *name)
{
    if (s->chat)
        check_end_of_chat(s, name);
    else if (s->read != s->written)
        complain("%s before %zu bytes of %zu", name, s->written - s->read,
                 s->written);
}

static void on_write(asyncore_dispatcher *d)
{
    soul *s = begin(d, "handle_write");
    int life = s->life;

    mischief();
    if (s->open && s->life == life && !s->evicted && !s->ending) {
        asyncore_set_writable(d, false);
        if (asyncore_queued(d) > 0 || d->queued)
            asyncore_base(d)->handle_write(d);
    }
    end();
}

void on_connect(asyncore_dispatcher *d)
{
    soul *s = begin(d, "handle_connect");

    if (!s->connecting)
        complain("handle_connect of one that is connected");
    s->connecting = false;
    if (s->naming)
        s->peer = peer_by_name(d);
    s->naming = false;
    mischief();
    end();
}

void on_close(asyncore_dispatcher *d)
{
    soul *s = begin(d, "handle_close");
    int life = s->life;

    if (s->evicted ? d->error != EBADF : d->error == EBADF)
        complain("handle_close with error %d", d->error);
    if (d->error == 0)
        check_end(s, "an orderly end");
    s->ending = true;
    mischief();
    if (s->open && s->ending && s->life == life) {
        if (!s->with_free && chance(2)) {
            close_soul(s);
        } else {
            over(s);
            s->limbo = !s->with_free;
        }
    }
    end();
}

void on_eof(asyncore_dispatcher *d)
{
    soul *s = begin(d, "handle_eof");
    int life = s->life;

    check_end(s, "handle_eof");
    mischief();
    if (s->open && s->life == life && !s->ending) {
        if (chance(2))
            close_soul(s);
        else
            finish(s);
    }
    end();
}

void on_stop(asyncore_dispatcher *d)
{
    soul *s = begin(d, "handle_stop");
    bool stopped = play.stopped;

    if (chance(2))
        close_soul(s);
    else if (s->chat)
        say_goodbye(s);
    else
        finish(s);
    mischief();
    /* It may be asked what it waits for nevertheless. */
    if (play.stopped && !stopped)
        play.stopper = s;
    end();
}

void on_error(asyncore_dispatcher *d, int error)
{
    begin(d, "handle_error");
    complain("handle_error %d", error);
    end();
}

void on_drain(asyncore_dispatcher *d)
{
    begin(d, "handle_drain");
    mischief();
    end();
}

void on_free(asyncore_dispatcher *d)
{
    soul *s = soul_of(d);

    if (!s->awaiting)
        complain("handle_free %s", s->open ? "of an open one" : "twice");
    if (play.inside > 0)
        complain("handle_free under a handler");
    s->awaiting = false;
    play.inside++;
    mischief();
    if (!s->open && !s->awaiting)
        give_back(s);
    play.inside--;
}

void on_log(asyncore_dispatcher *d, const char *message, const char *type)
{
    (void)d;
    complain("%s: %s", type, message);
}

#define COMMON \
    .handle_read = on_read, .handle_write = on_write, \
    .handle_connect = on_connect, .handle_close = on_close, \
    .handle_error = on_error, .handle_drain = on_drain, \
    .handle_stop = on_stop, .log_info = on_log

static const asyncore_handlers classes[CLASSES][2] = {
    [PLAIN] = { { COMMON }, { COMMON, .handle_free = on_free } },
    [ASKED] = { { COMMON, .readable = on_predicate },
                { COMMON, .readable = on_predicate, .writable = on_predicate,
                  .handle_free = on_free } },
    [HALVES] = { { COMMON, .handle_eof = on_eof },
                 { COMMON, .handle_eof = on_eof, .handle_free = on_free } },
};

/* ---- A run ------------------------------------------------------------- */

static size_t living_in(const asyncore_map *map)
{
    size_t count = 0;

    for (int i = 0; i < SOULS; i++)
        count += play.souls[i].open && play.souls[i].map == map;
    return count;
}

/* Between turns, where what the library has closed is ours again. */
static void check(void)
{
    if (play.inside != 0)
        complain("left in the middle of a handler");
    if (asyncore_map_count(play.map) != living_in(play.map) + others_in_map())
        complain("%zu in the map instead of %zu", asyncore_map_count(play.map),
                 living_in(play.map) + others_in_map());
    if (asyncore_map_count(play.other_map) != living_in(play.other_map))
        complain("%zu in the other map instead of %zu",
                 asyncore_map_count(play.other_map), living_in(play.other_map));
    drop_strangers();
    for (int i = 0; i < SOULS; i++)
        if (play.souls[i].limbo && chance(2))
            give_back(&play.souls[i]);
}

static void turns(void)
{
    turn(0);
    check();
    /* The handlers of one map are none to the other. */
    play.deep = DEEPEST;
    if (asyncore_poll(play.other_map, 0) < 0)
        complain("asyncore_poll: %s", strerror(errno));
    play.deep = 0;
    check();
}

/* Everybody reads, and all peers go. */
static void all_leave(void)
{
    play.calm = true;
    end_others();
    for (int i = 0; i < SOULS; i++) {
        soul *s = &play.souls[i];
        put_in(s, play.map);
        if (s->open && s->map == play.other_map) {
            take_out(s);
            put_in(s, play.map);
        }
        if (s->open) {
            asyncore_set_readable(dispatcher_of(s), true);
            if (s->chat)
                asynchat_producer_resume(&s->a->chat);
            if (s->chat && asynchat_set_terminator(&s->a->chat, NULL, 0) == 0) {
                s->lost |= s->skipping;
                s->skipping = false;
                s->frame.at = NOWHERE;
            }
            if (asyncore_set_handlers(
                    dispatcher_of(s),
                    s->chat ? &chat_classes[PLAIN][s->with_free].dispatcher
                            : &classes[PLAIN][s->with_free]) < 0)
                complain("set_handlers: %s", strerror(errno));
            /* One that has seen the end before waits to be closed. */
            if (dispatcher_of(s)->eof)
                finish(s);
        }
        peer_reads(s);
        drop_peer(s);
    }
}

static void run(uint32_t seed)
{
    int64_t until = now_ms() + DEADLINE_MS * 3;
    int left = 2000;

    play.random = seed * 2654435761u | 1;
    begin_others();
    play.trouble = chance(2) ? 0 : any(30) + 2;
    for (play.steps = 0; play.steps < STEPS && complaint[0] == '\0';
         play.steps++) {
        something();
        if (chance(2))
            turns();
        if (now_ms() > until)
            complain("too slow");
    }
    all_leave();
    while (complaint[0] == '\0' &&
           (asyncore_map_count(play.map) > 0 ||
            asyncore_map_count(play.other_map) > 0 || play.stopped)) {
        if (left-- == 0 || now_ms() > until)
            complain("%zu are left", asyncore_map_count(play.map));
        turns();
        for (int i = 0; i < SOULS; i++) {
            peer_reads(&play.souls[i]);
            drop_peer(&play.souls[i]);
        }
        turn(asyncore_map_count(play.map) > 0 ? 20 : 0);
    }
    turns();
    for (int i = 0; i < SOULS; i++) {
        soul *s = &play.souls[i];
        if (complaint[0] != '\0')
            break;
        if (s->open)
            complain("one is left open");
        if (s->awaiting)
            complain("one was never freed");
    }
    if (complaint[0] == '\0' && play.sources != 0)
        complain("%d producers are left", play.sources);
    play.trouble = 0;
}

static void random_run(uint32_t seed)
{
    world *w = play.w;
    int file = play.file;

    alarm(TEST_SECONDS);
    memset(&play, 0, sizeof play);
    complaint[0] = '\0';
    play.w = w;
    play.map = asyncore_map_new(NULL);
    play.other_map = asyncore_map_new(NULL);
    play.listener = peer_listen(w, &play.address);
    play.file = file;
    for (int i = 0; i < SOULS; i++)
        play.souls[i].peer = -1;
    run(seed);
    if (complaint[0] != '\0')
        fail_msg("ASYNCORE_SEED=%u, step %d, handler %d: %s", seed, play.steps,
                 play.handlers, complaint);
    asyncore_map_free(play.map);
    asyncore_map_free(play.other_map);
    for (int i = 0; i < SOULS; i++)
        give_back(&play.souls[i]);
    close(play.listener);
    end_names();
}

static uint32_t number_in_environment(const char *name, uint32_t otherwise)
{
    const char *value = getenv(name);

    return value != NULL ? (uint32_t)strtoul(value, NULL, 10) : otherwise;
}

static void at_random(void **state)
{
    bool chosen = getenv("ASYNCORE_SEED") != NULL;
    uint32_t first = number_in_environment("ASYNCORE_SEED", 1);
    uint32_t runs = number_in_environment("ASYNCORE_RUNS", chosen ? 1 : RUNS);

    play.w = world_of(state);
    play.file = repeating_file();
    for (uint32_t seed = first; seed - first < runs; seed++)
        random_run(seed);
    close(play.file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_IPV4(at_random),
    };

    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
