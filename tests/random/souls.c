/*
 * souls.c - see random.h.
 */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct play play;

/* Marsaglia's xorshift: the same everywhere. */
uint32_t any(uint32_t below)
{
    play.random ^= play.random << 13;
    play.random ^= play.random >> 17;
    play.random ^= play.random << 5;
    return play.random % below;
}

bool chance(uint32_t in)
{
    return any(in) == 0;
}

unsigned char byte_at(const soul *s, int way, size_t place)
{
    size_t key = (size_t)(s - play.souls) * 7 + (size_t)s->life * 13;

    key = (place + key + (size_t)way * 5) * 2654435761u >> 11;
    /* What is sent may be of a file, or shared: it repeats. What is read has
       delimiters of two bytes. */
    if (s->chat)
        return way == 1 ? (unsigned char)(place % PERIOD) : 'a' + key % 8;
    return (unsigned char)key;
}

soul *soul_of(const asyncore_dispatcher *d)
{
    return &play.souls[((const body *)(const void *)d)->id];
}

asyncore_dispatcher *dispatcher_of(const soul *s)
{
    return &s->a->w.dispatcher;
}

/* ---- Lives ------------------------------------------------------------- */

void drop_peer(soul *s)
{
    if (s->peer >= 0)
        close(s->peer);
    s->peer = -1;
}

void give_back(soul *s)
{
    if (s->a == NULL)
        return;
    memset(s->a, 0xee, sizeof *s->a);
    free(s->a);
    s->a = NULL;
    s->limbo = false;
}

void over(soul *s)
{
    if (!s->open)
        return;
    s->open = s->ending = s->evicted = s->connecting = s->naming = false;
    s->awaiting = s->with_free;
    s->map = NULL;
}

static void begin_life(soul *s, int peer, bool tcp)
{
    drop_peer(s);
    s->life++;
    s->peer = peer;
    s->tcp = tcp;
    s->map = dispatcher_of(s)->map;
    s->open = true;
    s->ending = s->awaiting = s->evicted = s->connecting = s->shut = false;
    s->limbo = false;
    s->written = s->read = s->sent = s->received = s->since = 0;
    s->skipping = s->lost = s->cut = s->draining = s->naming = false;
    s->frame = (ending){ NOWHERE, NULL, 0 };
    if (s->chat) {
        s->a->chat.limit = chance(2) ? 65536 : 1000;
        s->a->chat.frame_limit = chance(2) ? 0 : chance(2) ? 50 : 500;
        if (asynchat_set_terminator(&s->a->chat, NULL, 0) < 0)
            complain("set_terminator: %s", strerror(errno));
    }
    if (peer >= 0)
        fcntl(peer, F_SETFL, O_NONBLOCK);
}

void close_soul(soul *s)
{
    bool was_open = s->open;

    if (s->a == NULL)
        return;
    over(s);
    asyncore_close(dispatcher_of(s));
    if (chance(4))
        asyncore_close(dispatcher_of(s));
    if (was_open && !s->with_free && !s->limbo)
        give_back(s);
}

static void new_body(soul *s)
{
    const asyncore_handlers *class;
    int result;

    s->with_free = chance(2);
    s->chat = chance(2);
    class = any_class(s);
    s->a = calloc(1, sizeof *s->a);
    s->a->id = (int)(s - play.souls);
    if (s->chat)
        result = asynchat_init(&s->a->chat, (const asynchat_handlers *)class,
                               -1, play.map);
    else if (chance(2))
        result =
            asyncore_dispatcher_with_send_init(&s->a->w, class, -1, play.map);
    else
        result =
            asyncore_dispatcher_init(&s->a->w.dispatcher, class, -1, play.map);
    if (result < 0)
        complain("init: %s", strerror(errno));
}

static void any_pair(int ends[2], bool *tcp)
{
    *tcp = chance(2);
    if (*tcp) {
        ends[1] = peer_connect(&play.address);
        ends[0] = peer_accept(play.listener);
    } else {
        peer_pair(SOCK_STREAM, ends);
    }
}

static void take_socket(soul *s, int fd, int peer, bool tcp)
{
    if (asyncore_set_socket(dispatcher_of(s), fd) < 0)
        complain("set_socket: %s", strerror(errno));
    begin_life(s, peer, tcp);
}

void adopt_soul(soul *s, int fd, int peer)
{
    if (s->a == NULL)
        new_body(s);
    take_socket(s, fd, peer, true);
}

void open_soul(soul *s)
{
    int ends[2];
    bool tcp;

    if (s->open)
        return;
    if (s->a == NULL)
        new_body(s);
    if (chance(8)) {
        connect_by_name(s);
        begin_life(s, -1, true);
        s->connecting = s->naming = true;
        return;
    }
    if (chance(5)) {
        if (asyncore_create_socket(dispatcher_of(s), AF_INET, SOCK_STREAM) <
                0 ||
            asyncore_connect(dispatcher_of(s), &play.address) < 0) {
            complain("connect: %s", strerror(errno));
            return;
        }
        begin_life(s, peer_accept(play.listener), true);
        s->connecting = true;
        return;
    }
    any_pair(ends, &tcp);
    take_socket(s, ends[0], ends[1], tcp);
}

void evict(soul *s, soul *newcomer)
{
    int number, ends[2];
    bool tcp;

    if (!s->open || s->map != play.map || s->evicted || newcomer->open ||
        newcomer == s || newcomer->a != NULL || s->ending)
        return;
    number = dispatcher_of(s)->fd;
    new_body(newcomer);
    any_pair(ends, &tcp);
    if (dup2(ends[0], number) < 0)
        complain("dup2: %s", strerror(errno));
    close(ends[0]);
    take_socket(newcomer, number, ends[1], tcp);
    s->evicted = true;
    s->map = NULL;
}
