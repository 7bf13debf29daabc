/*
 * link.c - see link.h.
 */
#include "link.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

void join_plain(world *w, int *accepted, int *peer)
{
    asyncore_address at;
    int listener = peer_listen(w, &at);

    *peer = peer_connect(&at);
    *accepted = peer_accept(listener);
    close(listener);
}

static recorder *adopt(world *w, const asyncore_handlers *handlers, int fd)
{
    recorder *r = lend(w, sizeof *r);

    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, handlers, fd, w->map), 0);
    return r;
}

recorder *join(world *w, const asyncore_handlers *handlers, int *peer)
{
    int fd;

    join_plain(w, &fd, peer);
    return adopt(w, handlers, fd);
}

recorder *join_with_send(world *w, const asyncore_handlers *handlers, int *peer)
{
    recorder *r = lend(w, sizeof *r);
    int fd;

    join_plain(w, &fd, peer);
    assert_int_equal(
        asyncore_dispatcher_with_send_init(&r->with_send, handlers, fd, w->map),
        0);
    return r;
}

recorder *join_pair(world *w, const asyncore_handlers *handlers, int *peer)
{
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    *peer = ends[1];
    return adopt(w, handlers, ends[0]);
}

recorder *join_pipe(world *w, const asyncore_handlers *handlers, bool reads,
                    int *peer)
{
    recorder *r = lend(w, sizeof *r);
    int ends[2], mine = reads ? 0 : 1;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(
        asyncore_file_dispatcher_init(&r->file, handlers, ends[mine], w->map),
        0);
    close(ends[mine]);
    *peer = ends[1 - mine];
    return r;
}

void await(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };

    assert_int_equal(poll(&one, 1, DEADLINE_MS), 1);
}

void peer_break(int fd, int peer)
{
    assert_int_equal(send(fd, "?", 1, MSG_NOSIGNAL), 1);
    await(peer, POLLIN);
    close(peer);
    await(fd, 0);
}

int turns_during(asyncore_map *map, int ms)
{
    int64_t until = now_ms() + ms, left;
    int turns = 0;

    while ((left = until - now_ms()) > 0) {
        assert_true(asyncore_poll(map, (int)left) >= 0);
        turns++;
    }
    return turns;
}
