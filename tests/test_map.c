/*
 * test_map.c - the map and the loop as the header promises them: which map is
 * meant, who is in it, when turns end, and what may be closed and freed while
 * they run.
 */
#include "support/recorder.h"
#include "support/world.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* An idle connection in the map; *peer is its other end. */
static recorder *add(world *w, asyncore_map *map,
                     const asyncore_handlers *handlers, int *peer)
{
    recorder *r = lend(w, sizeof *r);
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    *peer = ends[1];
    assert_int_equal(
        asyncore_dispatcher_init(&r->dispatcher, handlers, ends[0], map), 0);
    return r;
}

/* A class is asked before every wait: its predicate counts the turns. */
static bool count_turn(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.drain++;
    return true;
}

static int turns(const recorder *r)
{
    return r->ran.drain;
}

static const asyncore_handlers counting = {
    .readable = count_turn,
    .handle_read = record_read,
    .handle_close = record_close,
    .handle_free = record_free,
};

/* ---- Which map --------------------------------------------------------- */

static void backends(void **state)
{
    const char *const *names = asyncore_backends();
    bool have_poll = false, have_select = false;

    (void)state;
    assert_non_null(names[0]);
    for (int i = 0; names[i] != NULL; i++) {
        asyncore_map *map = asyncore_map_new(names[i]);

        assert_non_null(map);
        assert_string_equal(asyncore_map_backend(map), names[i]);
        asyncore_map_free(map);
        have_poll |= strcmp(names[i], "poll") == 0;
        have_select |= strcmp(names[i], "select") == 0;
    }
    assert_true(have_poll && have_select);
    errno = 0;
    assert_null(asyncore_map_new("nosuch"));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(asyncore_map_new("pol"));
    assert_int_equal(errno, EINVAL);
}

static void environment(void **state)
{
    const char *const *names = asyncore_backends();
    const char *value = getenv("ASYNCORE_BACKEND");
    char before[32] = "";
    asyncore_map *map;

    (void)state;
    if (value != NULL)
        strncpy(before, value, sizeof before - 1);
    for (int i = 0; names[i] != NULL; i++) {
        setenv("ASYNCORE_BACKEND", names[i], 1);
        map = asyncore_map_new(NULL);
        assert_non_null(map);
        assert_string_equal(asyncore_map_backend(map), names[i]);
        asyncore_map_free(map);
    }
    setenv("ASYNCORE_BACKEND", "nosuch", 1);
    errno = 0;
    assert_null(asyncore_map_new(NULL));
    assert_int_equal(errno, EINVAL);
    map = asyncore_map_new(names[0]);
    assert_non_null(map);
    asyncore_map_free(map);
    unsetenv("ASYNCORE_BACKEND");
    map = asyncore_map_new(NULL);
    assert_string_equal(asyncore_map_backend(map), names[0]);
    asyncore_map_free(map);
    if (value != NULL)
        setenv("ASYNCORE_BACKEND", before, 1);
}

static void default_map(void **state)
{
    world *w = world_of(state);
    asyncore_map *other = asyncore_map_new(NULL);
    asyncore_map *made;
    int peer;

    assert_ptr_equal(asyncore_socket_map(), w->map);
    assert_ptr_equal(asyncore_socket_map(), w->map);
    add(w, NULL, &recorder_handlers, &peer);
    assert_int_equal(asyncore_map_count(w->map), 1);
    assert_int_equal(asyncore_map_count(NULL), 1);

    assert_ptr_equal(asyncore_set_socket_map(other), w->map);
    assert_ptr_equal(asyncore_socket_map(), other);
    assert_int_equal(asyncore_map_count(NULL), 0);
    assert_string_equal(asyncore_map_backend(NULL),
                        asyncore_map_backend(other));

    /* One that is freed must not be left as the default. */
    asyncore_map_free(other);
    made = asyncore_socket_map();
    assert_non_null(made);
    assert_int_equal(asyncore_map_count(NULL), 0);
    assert_ptr_equal(asyncore_set_socket_map(w->map), made);
    asyncore_map_free(made);
    assert_int_equal(asyncore_map_count(NULL), 1);
    asyncore_map_free(NULL);
    assert_int_equal(asyncore_map_count(NULL), 1);
    close(peer);
}

/* ---- Who is in it ------------------------------------------------------ */

static void lookup(void **state)
{
    world *w = world_of(state);
    recorder *all[3];
    int peers[3], seen = 0;
    asyncore_dispatcher *d;

    assert_null(asyncore_map_next(w->map, -1));
    assert_null(asyncore_map_get(w->map, 0));
    for (int i = 0; i < 3; i++)
        all[i] = add(w, w->map, &recorder_handlers, &peers[i]);
    assert_int_equal(asyncore_map_count(w->map), 3);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(asyncore_map_get(w->map, all[i]->dispatcher.fd),
                         &all[i]->dispatcher);
    assert_null(asyncore_map_get(w->map, -1));
    assert_null(asyncore_map_get(w->map, INT_MIN));
    assert_null(asyncore_map_get(w->map, INT_MAX));
    assert_null(asyncore_map_get(w->map, peers[0]));
    assert_null(asyncore_map_next(w->map, INT_MAX));
    assert_non_null(asyncore_map_next(w->map, INT_MIN));
    for (int fd = -1; (d = asyncore_map_next(w->map, fd)) != NULL; seen++) {
        assert_true(d->fd > fd);
        fd = d->fd;
    }
    assert_int_equal(seen, 3);

    asyncore_close(&all[1]->dispatcher);
    assert_int_equal(asyncore_map_count(w->map), 2);
    d = asyncore_map_next(w->map, all[0]->dispatcher.fd);
    assert_ptr_equal(d, &all[2]->dispatcher);
    for (int i = 0; i < 3; i++)
        close(peers[i]);
}

static void walk_that_closes(void **state)
{
    world *w = world_of(state);
    recorder *all[8];
    int peers[8], met = 0;
    asyncore_dispatcher *d;

    for (int i = 0; i < 8; i++)
        all[i] = add(w, w->map, &recorder_handlers, &peers[i]);
    for (int fd = -1; (d = asyncore_map_next(w->map, fd)) != NULL;) {
        fd = d->fd;
        asyncore_close(d);
        /* Ahead of the walk, too. */
        if (met++ == 2)
            asyncore_close(&all[6]->dispatcher);
    }
    assert_int_equal(met, 7);
    assert_int_equal(asyncore_map_count(w->map), 0);
    assert_int_equal(all[0]->ran.free, 0);
    run_turns(w->map, 1);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(all[i]->ran.free, 1);
        assert_int_equal(all[i]->ran.close, 0);
        close(peers[i]);
    }
}

static void channels(void **state)
{
    world *w = world_of(state);
    asyncore_map *other = asyncore_map_new(NULL);
    int peer;
    recorder *r = add(w, w->map, &recorder_handlers, &peer);
    asyncore_dispatcher *d = &r->dispatcher;
    int fd = d->fd;

    assert_int_equal(asyncore_add_channel(d, other), -1);
    assert_int_equal(errno, EEXIST);
    peer_write(peer, "x", 1);
    asyncore_del_channel(d);
    asyncore_del_channel(d);
    assert_int_equal(d->fd, fd);
    assert_int_equal(asyncore_map_count(w->map), 0);
    assert_null(asyncore_map_get(w->map, fd));
    run_turns(w->map, 2);
    assert_int_equal(r->ran.read, 0);

    /* Only the loop of the map that it is in serves it. */
    assert_int_equal(asyncore_add_channel(d, other), 0);
    assert_ptr_equal(d->map, other);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.read, 0);
    run_until(other, r->ran.read == 1);
    assert_int_equal(r->size, 1);

    /* What it waited for goes with it. */
    asyncore_set_writable(d, true);
    asyncore_del_channel(d);
    assert_int_equal(asyncore_add_channel(d, NULL), 0);
    assert_ptr_equal(d->map, w->map);
    run_until(w->map, r->ran.write > 0);

    /* Closed while it is in no map, it is closed all the same. */
    asyncore_del_channel(d);
    asyncore_close(d);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(asyncore_add_channel(d, NULL), -1);
    assert_int_equal(errno, EBADF);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.free, 1);
    asyncore_map_free(other);
    close(peer);
}

/* A number whose owner lost it behind the library's back. */
static void taken_over(void **state)
{
    world *w = world_of(state);
    int peer, other;
    recorder *old = add(w, w->map, &recorder_handlers, &peer);
    recorder *young = lend(w, sizeof *young);
    int fd = old->dispatcher.fd;
    int ends[2];

    close(fd);
    peer_pair(SOCK_STREAM, ends);
    other = ends[1];
    if (ends[0] != fd) {
        assert_int_equal(dup2(ends[0], fd), fd);
        close(ends[0]);
    }
    peer_write(other, "new", 3);
    assert_int_equal(asyncore_dispatcher_init(&young->dispatcher,
                                              &recorder_handlers, fd, w->map),
                     0);
    assert_ptr_equal(asyncore_map_get(w->map, fd), &young->dispatcher);
    assert_int_equal(old->ran.close, 0);
    run_until(w->map, old->ran.close > 0 && young->ran.read > 0);
    assert_int_equal(old->close_error, EBADF);
    assert_int_equal(old->size, 0);
    assert_memory_equal(young->data, "new", 3);
    run_turns(w->map, 2);
    assert_int_equal(old->ran.close, 1);
    assert_int_equal(old->ran.free, 1);
    assert_int_equal(fcntl(fd, F_GETFD) >= 0, 1);
    assert_int_equal(young->ran.close, 0);
    close(peer);
    close(other);
}

/* arg: a descriptor that gets the number of the one that was lost. */
static void put_another(asyncore_dispatcher *d, int error)
{
    recorder *r = recorder_of(d);

    record_error(d, error);
    dup2(*(int *)r->arg, d->fd);
}

/* The number may be a stranger's by the time it is found out. */
static void closed_behind(void **state)
{
    static const asyncore_handlers losing = {
        .handle_close = record_close,
        .handle_error = put_another,
        .handle_free = record_free,
    };
    world *w = world_of(state);
    char byte;

    for (int way = 0; way < 3; way++) {
        int peer, stranger[2], fd;
        recorder *r = add(w, w->map, &losing, &peer);

        peer_pair(SOCK_STREAM, stranger);
        r->arg = &stranger[0];
        fd = r->dispatcher.fd;
        close(fd);
        if (way == 0)
            assert_int_equal(asyncore_recv(&r->dispatcher, &byte, 1), -1);
        else if (way == 1)
            assert_int_equal(asyncore_send(&r->dispatcher, "x", 1), -1);
        else
            asyncore_readwrite(&r->dispatcher, POLLNVAL);
        assert_int_equal(r->ran.error, 1);
        assert_int_equal(r->error, EBADF);
        assert_int_equal(r->ran.close, 1);
        assert_int_equal(r->close_error, EBADF);
        assert_int_equal(r->dispatcher.fd, -1);
        assert_true(fcntl(fd, F_GETFD) >= 0);
        run_turns(w->map, 1);
        assert_int_equal(r->ran.free, 1);
        assert_int_equal(asyncore_map_count(w->map), 0);
        close(fd);
        close(stranger[0]);
        close(stranger[1]);
        close(peer);
    }
}

typedef struct usurper {
    recorder recorder;
    struct usurper *other; /* whose number it takes over in handle_read */
    recorder *heir;        /* whom it gives it */
    int fd;                /* a quiet connection's */
} usurper;

static void usurp(asyncore_dispatcher *d)
{
    usurper *u = (usurper *)d;
    int number = u->other->recorder.dispatcher.fd;

    record_read(d);
    asyncore_close(&u->other->recorder.dispatcher);
    if (dup2(u->fd, number) == number)
        asyncore_dispatcher_init(&u->heir->dispatcher, &recorder_handlers,
                                 number, d->map);
}

/* Both are ready. Whoever comes second is closed, and his event is nobody's:
   least of all of the one who has his number by then. */
static void number_reused(void **state)
{
    static const asyncore_handlers usurping = {
        .handle_read = usurp,
        .handle_close = record_close,
        .handle_free = record_free,
    };
    world *w = world_of(state);
    recorder *heir = lend(w, sizeof *heir);
    usurper *both[2];
    int peers[2], idle[2];

    peer_pair(SOCK_STREAM, idle);
    for (int i = 0; i < 2; i++) {
        both[i] = lend(w, sizeof **both);
        int ends[2];

        peer_pair(SOCK_STREAM, ends);
        peers[i] = ends[1];
        both[i]->heir = heir;
        both[i]->fd = idle[0];
        assert_int_equal(asyncore_dispatcher_init(&both[i]->recorder.dispatcher,
                                                  &usurping, ends[0], w->map),
                         0);
        peer_write(peers[i], "x", 1);
    }
    both[0]->other = both[1];
    both[1]->other = both[0];
    run_turns(w->map, 3);
    assert_int_equal(both[0]->recorder.ran.read + both[1]->recorder.ran.read,
                     1);
    assert_int_equal(both[0]->recorder.ran.free + both[1]->recorder.ran.free,
                     1);
    assert_int_equal(heir->ran.read, 0);
    assert_true(heir->dispatcher.connected);
    peer_write(idle[1], "x", 1);
    run_until(w->map, heir->ran.read == 1);
    assert_int_equal(heir->ran.close, 0);
    close(idle[0]);
    close(idle[1]);
    close(peers[0]);
    close(peers[1]);
}

/* select cannot, and says so; the others do not care. */
static void high_descriptor(void **state)
{
    enum { HIGH = 1500 };
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    struct rlimit before, raised;
    int ends[2], result;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    raised = before;
    if (raised.rlim_cur <= HIGH)
        raised.rlim_cur = HIGH + 1;
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0)
        skip();
    peer_pair(SOCK_STREAM, ends);
    assert_int_equal(fcntl(ends[0], F_DUPFD_CLOEXEC, HIGH), HIGH);
    close(ends[0]);
    result = asyncore_dispatcher_init(&r->dispatcher, &recorder_handlers, HIGH,
                                      w->map);
    if (strcmp(asyncore_map_backend(w->map), "select") == 0) {
        assert_int_equal(result, -1);
        assert_int_equal(errno, EMFILE);
        assert_int_equal(fcntl(HIGH, F_GETFD), -1);
        assert_int_equal(r->dispatcher.fd, -1);
        assert_int_equal(asyncore_map_count(w->map), 0);
    } else {
        assert_int_equal(result, 0);
        peer_write(ends[1], "x", 1);
        run_until(w->map, r->ran.read > 0);
        asyncore_close(&r->dispatcher);
    }
    run_turns(w->map, 1);
    close(ends[1]);
    setrlimit(RLIMIT_NOFILE, &before);
}

/* ---- How long it runs -------------------------------------------------- */

static void empty(void **state)
{
    world *w = world_of(state);
    int64_t begin = now_ms();

    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 0);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, 3), 0);
    assert_true(now_ms() - begin < DEADLINE_MS / 2);
}

static void count(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = add(w, w->map, &counting, &peer);
    int64_t begin;

    assert_int_equal(asyncore_loop(w->map, 0, 3), 0);
    assert_int_equal(turns(r), 3);
    assert_int_equal(asyncore_loop(w->map, 0, 0), 0);
    assert_int_equal(turns(r), 3);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    assert_int_equal(turns(r), 4);

    /* A turn in which nothing happened counts, and lasts its timeout. */
    begin = now_ms();
    assert_int_equal(asyncore_loop(w->map, 15, 2), 0);
    assert_true(now_ms() - begin >= 29);
    assert_int_equal(turns(r), 6);

    /* Turns are counted, not events; what happens ends a turn early. */
    peer_write(peer, "x", 1);
    begin = now_ms();
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, 1), 0);
    assert_int_equal(r->ran.read, 1);
    assert_int_equal(turns(r), 7);

    /* The loop ends with the last dispatcher, whatever the count. */
    close(peer);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, 1000), 0);
    assert_true(now_ms() - begin < DEADLINE_MS / 2);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(asyncore_map_count(w->map), 0);
}

static void ready(void **state)
{
    world *w = world_of(state);
    recorder *all[5];
    int peers[5];

    for (int i = 0; i < 5; i++) {
        all[i] = add(w, w->map, &recorder_handlers, &peers[i]);
        if (i != 2)
            peer_write(peers[i], "x", 1);
    }
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 4);
    for (int i = 0; i < 5; i++)
        assert_int_equal(all[i]->ran.read, i != 2);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    for (int i = 0; i < 5; i++)
        close(peers[i]);
}

/* A predicate's answer replaces the flag, each time anew. */
static bool as_flagged(asyncore_dispatcher *d)
{
    return recorder_of(d)->flag;
}

static const asyncore_handlers asked = {
    .readable = as_flagged,
    .writable = as_flagged,
    .handle_read = record_read,
    .handle_write = record_write,
    .handle_close = record_close,
};

static void predicates(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = add(w, w->map, &asked, &peer);

    peer_write(peer, "x", 1);
    asyncore_set_writable(&r->dispatcher, true);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.read + r->ran.write, 0);
    assert_false(asyncore_readable(&r->dispatcher));
    assert_false(asyncore_writable(&r->dispatcher));
    r->flag = true;
    asyncore_set_writable(&r->dispatcher, false);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.read, 1);
    assert_int_equal(r->ran.write, 1);
    assert_true(asyncore_readable(&r->dispatcher));
    assert_true(asyncore_writable(&r->dispatcher));
    r->flag = false;
    peer_write(peer, "x", 1);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.read, 1);
    assert_int_equal(r->ran.write, 1);

    /* Without them, the flags count again. */
    assert_int_equal(asyncore_set_handlers(&r->dispatcher, &recorder_handlers),
                     0);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.read, 2);
    assert_int_equal(r->ran.write, 1);
    asyncore_close(&r->dispatcher);
    run_turns(w->map, 1);
    close(peer);
}

/* ---- asyncore_stop ----------------------------------------------------- */

static void stop_after_read(asyncore_dispatcher *d)
{
    record_read(d);
    asyncore_stop(d->map);
}

static const asyncore_handlers stopping = {
    .handle_read = stop_after_read,
    .handle_close = record_close,
    .handle_free = record_free,
};

/* It leaves at once, and what was ready is served by whoever comes next. */
static void stop_in_handler(void **state)
{
    world *w = world_of(state);
    recorder *all[4];
    int peers[4], served = 0;

    for (int i = 0; i < 4; i++) {
        all[i] = add(w, w->map, &stopping, &peers[i]);
        peer_write(peers[i], "x", 1);
    }
    for (int round = 1; round <= 4; round++) {
        served = 0;
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        for (int i = 0; i < 4; i++)
            served += all[i]->ran.read;
        assert_int_equal(served, round);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(all[i]->ran.read, 1);
        close(peers[i]);
    }
}

static void stop_before(void **state)
{
    world *w = world_of(state);
    int peer;
    recorder *r = add(w, w->map, &counting, &peer);

    peer_write(peer, "x", 1);
    asyncore_stop(w->map);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_int_equal(r->ran.read, 0);
    /* Once only. */
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, 1), 0);
    assert_int_equal(r->ran.read, 1);

    peer_write(peer, "x", 1);
    asyncore_stop(NULL);
    asyncore_stop(w->map);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 0);
    assert_int_equal(r->ran.read, 1);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
    assert_int_equal(r->ran.read, 2);
    close(peer);
}

static void loop_inside(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);

    record_read(d);
    (void)!write(*(int *)r->arg, "x", 1);
    asyncore_loop(d->map, DEADLINE_MS, -1);
    r->flag = true;
}

static const asyncore_handlers nesting = {
    .handle_read = loop_inside,
    .handle_close = record_close,
    .handle_free = record_free,
};

/* Every loop that runs on the map, the outer ones too. */
static void stop_in_nested_loop(void **state)
{
    world *w = world_of(state);
    int outer_peer, inner_peer;
    recorder *outer = add(w, w->map, &nesting, &outer_peer);
    recorder *inner = add(w, w->map, &stopping, &inner_peer);
    int64_t begin = now_ms();

    outer->arg = &inner_peer;
    peer_write(outer_peer, "x", 1);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_true(outer->flag);
    assert_int_equal(inner->ran.read, 1);
    assert_int_equal(outer->ran.read, 1);
    assert_true(now_ms() - begin < DEADLINE_MS / 2);

    /* All of it is used up: the next loop runs. */
    peer_write(inner_peer, "x", 1);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_int_equal(inner->ran.read, 2);
    close(outer_peer);
    close(inner_peer);
}

/* ---- Closing and freeing ----------------------------------------------- */

static void close_everything(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);

    r->ran.read++;
    asyncore_close_all(d->map);
    r->flag = asyncore_map_count(d->map) == 0 && r->ran.free == 0 &&
              asyncore_send(d, "x", 1) == -1;
}

static const asyncore_handlers closing_all = {
    .handle_read = close_everything,
    .handle_close = record_close,
    .handle_free = record_free,
};

static void close_all_in_handler(void **state)
{
    world *w = world_of(state);
    recorder *all[6];
    int peers[6], read = 0;

    for (int i = 0; i < 6; i++) {
        all[i] = add(w, w->map, &closing_all, &peers[i]);
        peer_write(peers[i], "x", 1);
    }
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    for (int i = 0; i < 6; i++) {
        read += all[i]->ran.read;
        assert_int_equal(all[i]->ran.read, all[i]->flag);
        assert_int_equal(all[i]->ran.close, 0);
        assert_int_equal(all[i]->ran.free, 1);
        assert_int_equal(all[i]->dispatcher.fd, -1);
        close(peers[i]);
    }
    assert_int_equal(read, 1);
}

/* Also when it has been given to handle_free in between. */
static void close_again(void **state)
{
    world *w = world_of(state);
    recorder *unused = lend(w, sizeof *unused);
    int peer;
    recorder *r = add(w, w->map, &recorder_handlers, &peer);

    for (int i = 0; i < 3; i++) {
        asyncore_close(&r->dispatcher);
        asyncore_close(&r->dispatcher);
        run_turns(w->map, 1);
    }
    assert_int_equal(r->ran.free, 1);
    close(peer);

    /* It comes back to life, and is given once more. */
    assert_int_equal(
        asyncore_create_socket(&r->dispatcher, AF_UNIX, SOCK_STREAM), 0);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.free, 1);
    asyncore_close(&r->dispatcher);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.free, 2);

    /* None of this is of any concern to one that is all zero, or to NULL. */
    asyncore_close(&unused->dispatcher);
    asyncore_close(NULL);
    run_turns(w->map, 1);
    assert_int_equal(unused->ran.free, 0);
}

/* arg: the next of a chain, to be brought to life when this one is freed. */
static void revive_next(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);

    r->ran.free++;
    if (r->arg != NULL) {
        recorder *next = r->arg;

        asyncore_create_socket(&next->dispatcher, AF_UNIX, SOCK_STREAM);
    }
}

static const asyncore_handlers reviving = {
    .handle_close = record_close,
    .handle_free = revive_next,
};

/* What handle_free adds is closed too. */
static void close_all_reaches_newborns(void **state)
{
    world *w = world_of(state);
    recorder *chain[3];
    int peer;

    for (int i = 2; i >= 0; i--) {
        chain[i] = lend(w, sizeof **chain);
        asyncore_dispatcher_init(&chain[i]->dispatcher, &reviving, -1, w->map);
        chain[i]->arg = i < 2 ? chain[i + 1] : NULL;
    }
    recorder *first = add(w, w->map, &reviving, &peer);
    first->arg = chain[0];
    asyncore_close_all(w->map);
    assert_int_equal(asyncore_map_count(w->map), 0);
    assert_int_equal(first->ran.free, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(chain[i]->dispatcher.fd, -1);
        assert_int_equal(chain[i]->ran.free, 1);
    }
    close(peer);
}

/*
 * handle_free of one brings another to life that is due for its own in the
 * same breath: it lives, and is freed after its next close.
 */
static void revived_while_reaping(void **state)
{
    for (int order = 0; order < 2; order++) {
        world *w = world_of(state);
        int peers[3];
        recorder *all[3];

        for (int i = 0; i < 3; i++)
            all[i] = add(w, w->map, &reviving, &peers[i]);
        all[1]->arg = order == 0 ? all[2] : all[0];
        for (int i = 0; i < 3; i++)
            asyncore_close(&all[i]->dispatcher);
        run_turns(w->map, 1);
        assert_int_equal(all[1]->ran.free, 1);
        assert_int_equal(asyncore_map_count(w->map), 1);
        asyncore_close_all(w->map);
        run_turns(w->map, 1);
        for (int i = 0; i < 3; i++) {
            /* The earlier one had been freed once when it was revived. */
            assert_int_equal(all[i]->ran.free, 1 + (order == 1 && i == 0));
            assert_int_equal(all[i]->dispatcher.fd, -1);
            close(peers[i]);
        }
        assert_int_equal(asyncore_map_count(w->map), 0);
    }
}

static void free_map(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);

    asyncore_map_free(d->map);
    r->flag = r->ran.free == 0 && d->fd == -1;
}

static void free_map_in_read(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.read++;
    free_map(d);
}

static void free_map_in_error(asyncore_dispatcher *d, int error)
{
    (void)error;
    free_map(d);
}

static ssize_t no_recv(asyncore_dispatcher *d, void *data, size_t size)
{
    (void)d, (void)data, (void)size;
    errno = EIO;
    return -1;
}

/* From inside recv, and so with handle_read further out. */
static void read_and_more(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);
    char data[10];

    if (asyncore_recv(d, data, sizeof data) == -1 && r->ran.free == 0)
        r->ran.read++;
}

static void free_map_in_free(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.free++;
    recorder_of(d)->flag = true;
    asyncore_map_free(d->map);
}

/* The map goes when its loop has been left, whoever frees it. */
static void free_in_handler(void **state)
{
    static const asyncore_handlers classes[] = {
        { .handle_read = free_map_in_read, .handle_free = record_free },
        { .handle_read = free_map_in_read,
          .handle_write = record_write,
          .handle_expt = record_expt,
          .handle_free = record_free },
        { .handle_read = record_read,
          .handle_close = free_map,
          .handle_free = record_free },
        { .handle_read = read_and_more,
          .handle_error = free_map_in_error,
          .handle_free = record_free,
          .recv = no_recv },
        { .handle_read = record_read, .handle_free = free_map_in_free },
    };
    world *w = world_of(state);

    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        for (int way = 0; way < 3; way++) {
            asyncore_map *map = asyncore_map_new(NULL);
            int peer, other_peer;
            recorder *r = add(w, map, &classes[i], &peer);
            recorder *other = add(w, map, &recorder_handlers, &other_peer);
            bool ends = classes[i].handle_close != NULL ||
                        classes[i].handle_free == free_map_in_free;

            asyncore_set_writable(&r->dispatcher,
                                  classes[i].handle_write != NULL);
            if (!ends)
                peer_write(peer, "x", 1);
            close(peer);
            if (way == 0)
                assert_int_equal(asyncore_loop(map, DEADLINE_MS, -1), 0);
            else if (way == 1)
                asyncore_poll(map, DEADLINE_MS);
            else
                asyncore_readwrite(&r->dispatcher, POLLIN | POLLOUT);
            if (way == 2 && classes[i].handle_free == free_map_in_free)
                asyncore_poll(map, 0);
            assert_true(r->flag);
            assert_int_equal(r->ran.free, 1);
            assert_int_equal(r->ran.write, 0);
            assert_int_equal(other->ran.free, 1);
            assert_int_equal(other->ran.close, 0);
            assert_int_equal(other->dispatcher.fd, -1);
            close(other_peer);
        }
    }
}

static void free_by_call(void *arg)
{
    asyncore_map_free(arg);
}

static void never(void *arg)
{
    *(bool *)arg = true;
}

static void free_in_call(void **state)
{
    world *w = world_of(state);
    asyncore_map *map = asyncore_map_new(NULL);
    bool ran = false;
    int peer;
    recorder *r = add(w, map, &recorder_handlers, &peer);

    assert_int_equal(asyncore_call_soon(map, free_by_call, map), 0);
    assert_int_equal(asyncore_call_soon(map, never, &ran), 0);
    assert_int_equal(asyncore_loop(map, DEADLINE_MS, -1), 0);
    assert_false(ran);
    assert_int_equal(r->ran.free, 1);
    close(peer);
}

/* The nested loop is left, and the one around it. */
static void free_in_nested_loop(void **state)
{
    world *w = world_of(state);
    asyncore_map *map = asyncore_map_new(NULL);
    static const asyncore_handlers freeing = {
        .handle_read = free_map_in_read,
        .handle_free = record_free,
    };
    int outer_peer, inner_peer;
    recorder *outer = add(w, map, &nesting, &outer_peer);
    recorder *inner = add(w, map, &freeing, &inner_peer);

    outer->arg = &inner_peer;
    peer_write(outer_peer, "x", 1);
    assert_int_equal(asyncore_loop(map, DEADLINE_MS, -1), 0);
    assert_true(outer->flag);
    assert_true(inner->flag);
    assert_int_equal(outer->ran.free, 1);
    assert_int_equal(inner->ran.free, 1);
    close(outer_peer);
    close(inner_peer);
}

/* A call that nobody runs any more is dropped with the map. */
static void free_drops_calls(void **state)
{
    asyncore_map *map = asyncore_map_new(NULL);
    bool ran = false;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(asyncore_call_soon(map, never, &ran), 0);
    asyncore_map_free(map);
    assert_false(ran);
}

#define ONCE(test) \
    { \
#test, test, begin_unix, end_world, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONCE(backends),
        ONCE(environment),
        ONCE(default_map),
        ONCE(lookup),
        ONCE(walk_that_closes),
        ONCE(channels),
        ONCE(taken_over),
        ONCE(closed_behind),
        ONCE(number_reused),
        ONCE(high_descriptor),
        ONCE(empty),
        ONCE(count),
        ONCE(ready),
        ONCE(predicates),
        ONCE(stop_in_handler),
        ONCE(stop_before),
        ONCE(stop_in_nested_loop),
        ONCE(close_again),
        ONCE(close_all_in_handler),
        ONCE(close_all_reaches_newborns),
        ONCE(revived_while_reaping),
        ONCE(free_in_handler),
        ONCE(free_in_call),
        ONCE(free_in_nested_loop),
        ONCE(free_drops_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
