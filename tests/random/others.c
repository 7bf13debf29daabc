/*
 * others.c - see random.h. What else there is in the map: timers, a listener
 * whose clients are souls, limits, an end that is announced, copies of
 * descriptors, and those who look on.
 */
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TIMERS = 6, WAITING = 20, MOST = 12, STRANGERS = 200, COPIES = 4 };

static struct {
    asyncore_timer timers[TIMERS];
    asyncore_dispatcher listener;
    asyncore_address address;
    asyncore_limits limits;
    int waiting[WAITING]; /* clients that were not accepted; -1: none */
    int named;            /* who listens for those that connect by name */
    char port[8];
    int copies[COPIES];       /* of descriptors, as a child has them */
    int strangers[STRANGERS]; /* whom it has accepted, not yet known */
    int stranger_count;
} others;

static bool is_listening(void)
{
    return others.listener.fd >= 0;
}

size_t others_in_map(void)
{
    return is_listening();
}

/* The client that connected from there. */
static int take_client(const asyncore_address *from)
{
    for (int i = 0; i < WAITING; i++) {
        int fd = others.waiting[i];
        asyncore_address name = { .size = sizeof name.storage };

        if (fd >= 0 && getsockname(fd, &name.any, &name.size) == 0 &&
            name.in.sin_port == from->in.sin_port) {
            others.waiting[i] = -1;
            return fd;
        }
    }
    complain("accepted from nowhere");
    return -1;
}

static void on_accepted(asyncore_dispatcher *d, int fd,
                        const asyncore_address *from)
{
    int client = take_client(from);
    soul *s = &play.souls[any(SOULS)];

    if (d != &others.listener)
        complain("handle_accepted out of its place");
    play.inside++;
    if (s->open || client < 0) {
        close(fd);
        close(client);
    } else {
        adopt_soul(s, fd, client);
    }
    if (others.limits.open > MOST)
        complain("%zu are counted of %d", others.limits.open, MOST);
    mischief();
    play.inside--;
}

static const asyncore_handlers serving = {
    .name = "listener",
    .handle_accepted = on_accepted,
    .log_info = on_log,
};

static void listen_anew(void)
{
    asyncore_dispatcher *d = &others.listener;

    if (is_listening())
        return;
    if (asyncore_dispatcher_init(d, &serving, -1, play.map) < 0 ||
        asyncore_listen_on(d, "127.0.0.1:0", WAITING) < 0 ||
        asyncore_getsockname(d, &others.address) < 0 ||
        (chance(2) && asyncore_set_limits(d, &others.limits) < 0))
        complain("listener: %s", strerror(errno));
}

/* Those refused, and those whose listener has gone. */
static void drop_refused(void)
{
    char word[16];

    for (int i = 0; i < WAITING; i++) {
        int *fd = &others.waiting[i];
        ssize_t n = *fd < 0 ? 1 : recv(*fd, word, sizeof word, MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN))
            shut(fd);
    }
}

static void connect_one(void)
{
    int *fd = &others.waiting[any(WAITING)];

    if (*fd < 0 && is_listening()) {
        *fd = peer_connect(&others.address);
        fcntl(*fd, F_SETFL, O_NONBLOCK);
    }
}

static void copy_one(void)
{
    const soul *s = &play.souls[any(SOULS)];
    int *fd = &others.copies[any(COPIES)];

    shut(fd);
    if (chance(2) && s->open && !s->evicted)
        *fd = dup(dispatcher_of(s)->fd);
}

static void look_on(void)
{
    if (chance(2)) {
        if (asyncore_set_spin_guard(play.map, chance(2)) < 0)
            complain("spin guard: %s", strerror(errno));
    } else if (asyncore_set_slow_callback_duration(
                   play.map, chance(2) ? -1 : 6 * DEADLINE_MS) < 0) {
        complain("slow callbacks: %s", strerror(errno));
    }
}

void something_else(void)
{
    asyncore_timer *timer = &others.timers[any(TIMERS)];

    switch (any(17)) {
    case 0:
    case 1:
    case 2: asyncore_call_later(timer, play.map, any(10), call, NULL); break;
    case 3: asyncore_call_every(timer, play.map, any(5) + 1, call, NULL); break;
    case 4:
    case 5: asyncore_timer_cancel(timer); break;
    case 6:
    case 7:
    case 8:
    case 9: connect_one(); break;
    case 10: drop_refused(); break;
    case 11:
        if (is_listening())
            asyncore_set_readable(&others.listener, !chance(3));
        break;
    case 12: listen_anew(); break;
    case 13:
        if (chance(5))
            asyncore_close(&others.listener);
        break;
    case 14: look_on(); break;
    case 15: copy_one(); break;
    default:
        if (chance(10))
            asyncore_stop_when_done(play.map, -1);
    }
}

void connect_by_name(soul *s)
{
    if (asyncore_connect_name(dispatcher_of(s), "127.0.0.1", others.port) < 0)
        complain("connect_name: %s", strerror(errno));
}

static void accept_strangers(void)
{
    int fd;

    while (others.stranger_count < STRANGERS &&
           (fd = accept(others.named, NULL, NULL)) >= 0)
        others.strangers[others.stranger_count++] = fd;
}

int peer_by_name(const asyncore_dispatcher *d)
{
    asyncore_address name, from;

    accept_strangers();
    if (asyncore_getsockname(d, &name) < 0)
        complain("getsockname: %s", strerror(errno));
    for (int i = 0; i < others.stranger_count; i++) {
        int fd = others.strangers[i];

        from.size = sizeof from.storage;
        if (getpeername(fd, &from.any, &from.size) == 0 &&
            from.in.sin_port == name.in.sin_port) {
            others.strangers[i] = others.strangers[--others.stranger_count];
            fcntl(fd, F_SETFL, O_NONBLOCK);
            return fd;
        }
    }
    complain("connected to nobody");
    return -1;
}

void drop_strangers(void)
{
    for (int i = 0; i < SOULS; i++)
        if (play.souls[i].naming)
            return;
    accept_strangers();
    while (others.stranger_count > 0)
        close(others.strangers[--others.stranger_count]);
}

void begin_others(void)
{
    asyncore_address name;

    memset(&others, 0, sizeof others);
    others.named = listen_on_loopback(&name);
    fcntl(others.named, F_SETFL, O_NONBLOCK);
    snprintf(others.port, sizeof others.port, "%d", ntohs(name.in.sin_port));
    others.listener.fd = -1;
    others.limits.connections = MOST;
    others.limits.per_peer = chance(2) ? 0 : MOST / 2;
    others.limits.word = "no";
    for (int i = 0; i < WAITING; i++)
        others.waiting[i] = -1;
    for (int i = 0; i < COPIES; i++)
        others.copies[i] = -1;
}

void end_others(void)
{
    for (int i = 0; i < TIMERS; i++)
        asyncore_timer_cancel(&others.timers[i]);
    asyncore_close(&others.listener);
    for (int i = 0; i < WAITING; i++)
        shut(&others.waiting[i]);
    for (int i = 0; i < COPIES; i++)
        shut(&others.copies[i]);
}

void end_names(void)
{
    accept_strangers();
    while (others.stranger_count > 0)
        close(others.strangers[--others.stranger_count]);
    close(others.named);
}
