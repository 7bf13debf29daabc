/*
 * test_reentry.c - rule 2 where it has more than one step: what handlers, or
 * their owner outside of a loop, may do to those that are closed, moved, asked
 * or have lost their number, and to turns, calls and maps that are under way.
 * What one step can do from each handler is in test_lifetime.c.
 */
#include "support/ends.h"

#include <asynchat.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static asyncore_address server_address; /* of the last listen_on_other */

/* A dispatcher that counts, and does one thing in its handlers. */
typedef struct one {
    asyncore_dispatcher d;
    int reads, writes, closes, frees, errors, accepts, asked;
    void (*then)(struct one *o);
    struct one *other;
    asyncore_map *map;
    int number;
    bool answer;
} one;

static one *one_of(asyncore_dispatcher *d)
{
    return (one *)(void *)d;
}

static void then(one *o)
{
    void (*thing)(one *) = o->then;

    o->then = NULL;
    if (thing != NULL)
        thing(o);
}

static void one_reads(asyncore_dispatcher *d)
{
    char data[64];

    if (asyncore_recv(d, data, sizeof data) <= 0)
        return;
    one_of(d)->reads++;
    then(one_of(d));
}

static void one_writes(asyncore_dispatcher *d)
{
    char data[64] = "";

    one_of(d)->writes++;
    if (asyncore_send(d, data, sizeof data) < 0)
        (void)asyncore_send(d, data, sizeof data);
}

static void one_closes(asyncore_dispatcher *d)
{
    one_of(d)->closes++;
    then(one_of(d));
}

static void one_frees(asyncore_dispatcher *d)
{
    one_of(d)->frees++;
    then(one_of(d));
}

static void one_fails(asyncore_dispatcher *d, int error)
{
    (void)error;
    one_of(d)->errors++;
    then(one_of(d));
}

static void one_accepted(asyncore_dispatcher *d, int fd,
                         const asyncore_address *peer)
{
    (void)peer;
    one_of(d)->accepts++;
    close(fd);
}

static bool one_is_asked(asyncore_dispatcher *d)
{
    one *o = one_of(d);

    o->asked++;
    then(o);
    return o->answer;
}

static const asyncore_handlers counting = {
    .handle_read = one_reads,
    .handle_write = one_writes,
    .handle_close = one_closes,
    .handle_error = one_fails,
    .handle_accepted = one_accepted,
};

static const asyncore_handlers counting_and_freed = {
    .handle_read = one_reads,
    .handle_write = one_writes,
    .handle_close = one_closes,
    .handle_error = one_fails,
    .handle_free = one_frees,
};

static const asyncore_handlers asked = {
    .readable = one_is_asked,
    .handle_read = one_reads,
    .handle_close = one_closes,
};

static const asyncore_handlers asked_and_freed = {
    .readable = one_is_asked,
    .handle_read = one_reads,
    .handle_close = one_closes,
    .handle_free = one_frees,
};

/* Connected; returns its peer. */
static int begin_one(one *o, const asyncore_handlers *handlers,
                     asyncore_map *map)
{
    int ends[2];

    memset(o, 0, sizeof *o);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends),
                     0);
    assert_int_equal(asyncore_dispatcher_init(&o->d, handlers, ends[0], map),
                     0);
    o->map = map;
    return ends[1];
}

/* A turn that has something to do does not wait for the deadline. */
static void turn_at_once(asyncore_map *map)
{
    int64_t start = now_ms();

    assert_true(asyncore_poll(map, DEADLINE_MS) >= 0);
    assert_true(now_ms() - start < DEADLINE_MS / 2);
}

static void write_byte(int fd)
{
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
}

static asyncore_map *new_map(void)
{
    asyncore_map *map = asyncore_map_new(NULL);

    assert_non_null(map);
    return map;
}

/* A closed dispatcher is fine to close whatever has become of its map. */
static void close_after_map_free(void **state)
{
    asyncore_map *map = new_map();
    one a, b, c;
    int peers[3];

    (void)state;
    peers[0] = begin_one(&a, &counting, map);
    peers[1] = begin_one(&b, &counting_and_freed, map);
    peers[2] = begin_one(&c, &counting, map);
    asyncore_close(&c.d);
    asyncore_map_free(map);
    asyncore_close(&a.d);
    asyncore_close(&b.d);
    asyncore_close(&b.d);
    asyncore_close(&c.d);
    assert_int_equal(b.frees, 1);
    for (int i = 0; i < 3; i++)
        close(peers[i]);
}

static const asynchat_handlers chatting = {
    .dispatcher = { .name = "chat" },
};

/* The same for one with buffers; and a channel that was taken out. */
static void chat_after_map_free(void **state)
{
    asyncore_map *map = new_map();
    asynchat in, out;
    int ins[2], outs[2];

    (void)state;
    stream_pair(ins);
    stream_pair(outs);
    assert_int_equal(asynchat_init(&in, &chatting, ins[0], map), 0);
    assert_int_equal(asynchat_init(&out, &chatting, outs[0], map), 0);
    asyncore_del_channel(&out.dispatcher);
    asyncore_map_free(map);
    asyncore_close(&in.dispatcher);
    asyncore_close(&out.dispatcher);
    asyncore_close(&out.dispatcher);
    close(ins[1]);
    close(outs[1]);
}

/* Nor does one that was taken out care. */
static void move_after_map_free(void **state)
{
    asyncore_map *first = new_map(), *second = new_map();
    one a, b;
    int peer = begin_one(&a, &counting, first);
    int other = begin_one(&b, &counting, first);

    (void)state;
    asyncore_del_channel(&a.d);
    asyncore_del_channel(&b.d);
    asyncore_map_free(first);
    asyncore_close(&b.d);
    assert_int_equal(b.d.fd, -1);
    assert_int_equal(asyncore_set_handlers(&a.d, &counting_and_freed), 0);
    assert_int_equal(asyncore_add_channel(&a.d, second), 0);
    write_byte(peer);
    turn_at_once(second);
    assert_int_equal(a.reads, 1);
    asyncore_map_free(second);
    assert_int_equal(a.frees, 1);
    close(peer);
    close(other);
}

/* o's descriptor goes behind the library's back, and its number to another. */
static int take_number(one *o, one *newcomer)
{
    int number = o->d.fd, ends[2];

    close(number);
    pair_at(number, ends);
    memset(newcomer, 0, sizeof *newcomer);
    if (asyncore_dispatcher_init(&newcomer->d, &counting, ends[0], o->d.map) <
        0)
        complain("init: %s", strerror(errno));
    return ends[1];
}

static void close_both_in_nested_turn(one *o)
{
    asyncore_close(&o->other->d);
    memset(o->other, 0xee, sizeof *o->other);
    free(o->other);
    asyncore_close(&o->d);
}

static void nest_in_close(one *o)
{
    asyncore_poll(o->map, 0);
}

/* Two whose numbers were taken: in a turn inside the first one's handle_close,
   the second one's closes and frees the first. */
static void evicted_and_nested(void **state)
{
    asyncore_map *map = new_map();
    one *a = malloc(sizeof *a), b, newcomers[2];
    int peers[4];

    (void)state;
    peers[0] = begin_one(a, &counting, map);
    peers[1] = begin_one(&b, &counting, map);
    peers[2] = take_number(&b, &newcomers[0]);
    peers[3] = take_number(a, &newcomers[1]);
    a->then = nest_in_close;
    b.then = close_both_in_nested_turn;
    b.other = a;
    assert_int_equal(asyncore_map_count(map), 2);
    turn_at_once(map);
    assert_int_equal(b.closes, 1);
    assert_true(asyncore_poll(map, 0) >= 0);
    assert_int_equal(asyncore_map_count(map), 2);
    asyncore_map_free(map);
    for (int i = 0; i < 4; i++)
        close(peers[i]);
}

static void stop_loop(one *o)
{
    asyncore_stop(o->map);
}

/* The handle_close that is due waits like anything else. */
static void evicted_and_stopped(void **state)
{
    asyncore_map *map = new_map();
    one all[2], newcomers[2];
    int peers[4];

    (void)state;
    for (int i = 0; i < 2; i++) {
        peers[i] = begin_one(&all[i], &counting, map);
        all[i].then = stop_loop;
    }
    for (int i = 0; i < 2; i++)
        peers[2 + i] = take_number(&all[i], &newcomers[i]);
    turn_at_once(map);
    assert_int_equal(all[0].closes + all[1].closes, 1);
    turn_at_once(map);
    assert_int_equal(all[0].closes, 1);
    assert_int_equal(all[1].closes, 1);
    asyncore_map_free(map);
    for (int i = 0; i < 4; i++)
        close(peers[i]);
}

/* Whoever has lost its number is closed with all the others. */
static void evicted_and_closed(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        asyncore_map *map = new_map();
        one a, newcomer;
        int peer = begin_one(&a, &counting_and_freed, map);
        int other = take_number(&a, &newcomer);

        if (way == 0)
            asyncore_close(&a.d);
        else if (way == 1)
            asyncore_close_all(map);
        if (way < 2)
            assert_true(asyncore_poll(map, 0) >= 0);
        asyncore_map_free(map);
        assert_int_equal(a.closes, 0);
        assert_int_equal(a.frees, 1);
        assert_int_equal(a.d.fd, -1);
        close(peer);
        close(other);
    }
}

static void lose_number(one *o)
{
    o->number = take_number(o, o->other);
}

/* Its number is lost in its handle_close: that was the one. */
static void evicted_in_handle_close(void **state)
{
    for (int way = 0; way < 2; way++) {
        asyncore_map *map = new_map();
        one a, newcomer;
        int peer =
            begin_one(&a, way == 0 ? &counting : &counting_and_freed, map);

        (void)state;
        a.then = lose_number;
        a.other = &newcomer;
        close(peer);
        turn_at_once(map);
        assert_int_equal(a.closes, 1);
        for (int i = 0; i < 3; i++)
            assert_true(asyncore_poll(map, 0) >= 0);
        assert_int_equal(a.closes, 1);
        assert_int_equal(a.frees, way);
        assert_int_equal(a.d.fd, -1);
        assert_false(a.d.closing);
        assert_int_equal(asyncore_map_count(map), 1);
        write_byte(a.number);
        turn_at_once(map);
        assert_int_equal(newcomer.reads, 1);
        asyncore_map_free(map);
        close(a.number);
    }
}

static void reopen_without_close(one *o)
{
    int ends[2];

    stream_pair(ends);
    if (asyncore_set_socket(&o->d, ends[0]) < 0)
        complain("set_socket: %s", strerror(errno));
    o->number = ends[1];
}

/* It has no descriptor in its handle_close, and gets a new one there. */
static void evicted_and_reopened(void **state)
{
    for (int when = 0; when < 2; when++) {
        asyncore_map *map = new_map();
        one a, newcomer;
        int peers[2];

        (void)state;
        complaint[0] = '\0';
        peers[0] = begin_one(&a, &counting_and_freed, map);
        peers[1] = take_number(&a, &newcomer);
        if (when == 0)
            reopen_without_close(&a);
        else
            a.then = reopen_without_close;
        for (int i = 0; i < 2; i++)
            assert_true(asyncore_poll(map, 0) >= 0);
        assert_string_equal(complaint, "");
        assert_int_equal(a.closes, when);
        assert_int_equal(a.frees, 0);
        assert_true(a.d.fd >= 0 && a.d.connected && !a.d.closing);
        write_byte(a.number);
        turn_at_once(map);
        assert_int_equal(a.reads, 1);
        close(a.number);
        turn_at_once(map);
        assert_int_equal(a.closes, when + 1);
        assert_int_equal(a.frees, 1);
        asyncore_map_free(map);
        close(peers[0]);
        close(peers[1]);
    }
}

/* A pair whose first end, of that number, has no room to write. */
static void full_pair_at(int number, int ends[2])
{
    char data[4096] = "";

    pair_at(number, ends);
    while (send(ends[0], data, sizeof data, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        ;
}

static void reopen_full(one *o)
{
    int number = o->d.fd, ends[2];

    asyncore_close(&o->d);
    full_pair_at(number, ends);
    o->number = ends[1];
    if (o->other == NULL) {
        if (asyncore_set_socket(&o->d, ends[0]) < 0)
            complain("set_socket: %s", strerror(errno));
        asyncore_set_writable(&o->d, true);
        return;
    }
    memset(o->other, 0, sizeof *o->other);
    if (asyncore_dispatcher_init(&o->other->d, &counting, ends[0], o->map) < 0)
        complain("init: %s", strerror(errno));
    asyncore_set_writable(&o->other->d, true);
}

static void pause_writing(one *o)
{
    asyncore_set_writable(&o->d, false);
}

/* Ready for both; what handle_read does decides about the other half: whoever
   has the number by then did not become writable. */
static void rest_of_an_event(void **state)
{
    (void)state;
    complaint[0] = '\0';
    for (int way = 0; way < 3; way++) {
        asyncore_map *map = new_map();
        one a, other;
        int peer = begin_one(&a, &counting, map);

        a.number = -1;
        a.other = way == 1 ? &other : NULL;
        a.then = way == 2 ? pause_writing : reopen_full;
        asyncore_set_writable(&a.d, true);
        write_byte(peer);
        turn_at_once(map);
        assert_string_equal(complaint, "");
        assert_int_equal(a.reads, 1);
        assert_int_equal(a.writes, 0);
        if (way == 1)
            assert_int_equal(other.writes, 0);
        asyncore_map_free(map);
        shut(&a.number);
        close(peer);
    }
}

static void leave_map(one *o)
{
    asyncore_del_channel(&o->d);
}

static void leave_map_and_return(one *o)
{
    asyncore_del_channel(&o->d);
    if (asyncore_add_channel(&o->d, o->map) < 0)
        complain("add_channel: %s", strerror(errno));
}

/* One that leaves its map in its handle_close is its owner's again, and is
   told of its end again when it comes back. */
static void leave_map_in_handle_close(void **state)
{
    for (int way = 0; way < 2; way++) {
        asyncore_map *map = new_map();
        one a;
        int peer = begin_one(&a, &counting, map);

        (void)state;
        a.then = way == 0 ? leave_map : leave_map_and_return;
        close(peer);
        turn_at_once(map);
        assert_int_equal(a.closes, 1);
        assert_true(a.d.fd >= 0);
        if (way == 0)
            assert_int_equal(asyncore_add_channel(&a.d, map), 0);
        turn_at_once(map);
        assert_int_equal(a.closes, 2);
        assert_int_equal(a.d.fd, -1);
        asyncore_map_free(map);
    }
}

static void wait_in_close(one *o)
{
    int64_t start = now_ms();

    asyncore_poll(o->map, 30);
    o->number = (int)(now_ms() - start);
}

/* A turn inside handle_close is not busy with the one that has ended. */
static void nested_turn_waits(void **state)
{
    static const asyncore_handlers *const classes[] = {
        &counting, &counting_and_freed, &asked, &asked_and_freed
    };

    (void)state;
    for (int way = 0; way < 8; way++) {
        asyncore_map *map = new_map();
        one a, b;
        int peer = begin_one(&a, classes[way % 4], map);
        int other = begin_one(&b, &counting, map);

        a.answer = way < 4;
        a.then = NULL;
        asyncore_set_readable(&a.d, way < 4);
        if (way < 4)
            assert_int_equal(asyncore_poll(map, 0), 0);
        a.then = wait_in_close;
        /* A predicate is the first to run it, and need not wait. */
        if (classes[way % 4]->readable != NULL)
            a.then = NULL;
        close(peer);
        for (int i = 0; i < 2 && a.closes == 0; i++)
            turn_at_once(map);
        assert_int_equal(a.closes, 1);
        if (classes[way % 4]->readable == NULL)
            assert_true(a.number >= 29);
        asyncore_map_free(map);
        close(other);
    }
}

/* Once in a turn, whoever had its number, and whatever its class was. */
static void asked_once(void **state)
{
    asyncore_map *map = new_map();
    one a, b;
    int peer = begin_one(&a, &asked, map), number = a.d.fd, ends[2];

    (void)state;
    assert_int_equal(asyncore_poll(map, 0), 0);
    assert_int_equal(a.asked, 1);
    asyncore_close(&a.d);
    close(peer);
    memset(&b, 0, sizeof b);
    pair_at(number, ends);
    assert_int_equal(asyncore_dispatcher_init(&b.d, &asked, ends[0], map), 0);
    for (int i = 1; i < 4; i++) {
        assert_int_equal(asyncore_poll(map, 0), 0);
        assert_int_equal(b.asked, i);
    }
    for (int i = 4; i < 8; i++) {
        assert_int_equal(asyncore_set_handlers(&b.d, &counting), 0);
        assert_int_equal(asyncore_poll(map, 0), 0);
        assert_int_equal(b.asked, i - 1);
        assert_int_equal(asyncore_set_handlers(&b.d, &asked), 0);
        assert_int_equal(asyncore_poll(map, 0), 0);
        assert_int_equal(b.asked, i);
    }
    asyncore_map_free(map);
    close(ends[1]);
}

static void replace_other(one *o)
{
    int ends[2];

    asyncore_close(&o->other->d);
    stream_pair(ends);
    memset(o->other, 0, sizeof *o->other);
    if (asyncore_dispatcher_init(&o->other->d, &asked, ends[0], o->map) < 0)
        complain("init: %s", strerror(errno));
    o->number = ends[1];
}

/* Nobody is left out or asked twice when one of them goes and another comes,
   however many there are, while they are being asked. */
static void asked_while_they_change(void **state)
{
    enum { MOST = 40 };

    (void)state;
    complaint[0] = '\0';
    for (int count = 2; count < MOST; count++) {
        asyncore_map *map = new_map();
        one all[MOST];
        int peers[MOST];

        for (int i = 0; i < count; i++)
            peers[i] = begin_one(&all[i], &asked, map);
        all[count / 2].then = replace_other;
        all[count / 2].other = &all[0];
        assert_int_equal(asyncore_poll(map, 0), 0);
        assert_string_equal(complaint, "");
        for (int i = 0; i < count; i++)
            assert_int_equal(all[i].asked, 1);
        close(all[count / 2].number);
        asyncore_map_free(map);
        for (int i = 0; i < count; i++)
            close(peers[i]);
    }
}

static void become_counting(one *o)
{
    if (asyncore_set_handlers(&o->d, &counting) < 0)
        complain("set_handlers: %s", strerror(errno));
}

static void become_asked(one *o)
{
    if (asyncore_set_handlers(&o->other->d, &asked_and_freed) < 0)
        complain("set_handlers: %s", strerror(errno));
    o->other->answer = true;
}

static void answer_other(one *o)
{
    o->other->answer = true;
}

static void nest_with_other(one *o)
{
    asyncore_poll(o->map, 0);
}

/* A predicate changes what has been asked, or is being. */
static void predicates_that_change(void **state)
{
    asyncore_map *map = new_map();
    one a, b;
    int peer = begin_one(&a, &asked, map), other;

    (void)state;
    /* Its own class: the old one's answer counts no more. */
    a.then = become_counting;
    write_byte(peer);
    turn_at_once(map);
    if (a.reads == 0)
        turn_at_once(map);
    assert_int_equal(a.reads, 1);
    asyncore_close(&a.d);
    close(peer);

    /* The class of one that had been asked before. */
    peer = begin_one(&a, &asked, map);
    other = begin_one(&b, &asked, map);
    assert_int_equal(asyncore_poll(map, 0), 0);
    b.then = become_asked;
    b.other = &a;
    write_byte(peer);
    turn_at_once(map);
    if (a.reads == 0)
        turn_at_once(map);
    assert_int_equal(a.reads, 1);

    /* In a turn of its own, a handler that changes the others' answers. */
    a.answer = false;
    assert_int_equal(asyncore_set_handlers(&a.d, &asked), 0);
    assert_int_equal(asyncore_poll(map, 0), 0);
    write_byte(peer);
    one c;
    int third = begin_one(&c, &counting, map);
    c.then = answer_other;
    c.other = &a;
    write_byte(third);
    b.then = nest_with_other;
    turn_at_once(map);
    if (a.reads == 1)
        turn_at_once(map);
    assert_int_equal(a.reads, 2);
    asyncore_map_free(map);
    close(peer);
    close(other);
    close(third);
}

static void listen_on_other(one *o)
{
    asyncore_address any = { .size = sizeof any.in };

    any.in.sin_family = AF_INET;
    any.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(o->other, 0, sizeof *o->other);
    if (asyncore_dispatcher_init(&o->other->d, &counting, -1, o->map) < 0 ||
        asyncore_create_socket(&o->other->d, AF_INET, SOCK_STREAM) < 0 ||
        asyncore_bind(&o->other->d, &any) < 0 ||
        asyncore_listen(&o->other->d, 8) < 0 ||
        asyncore_getsockname(&o->other->d, &server_address) < 0)
        complain("listen: %s", strerror(errno));
    else
        o->number = connect_to_loopback(&server_address);
}

static struct {
    asynchat chat;
    one server, listener;
    int frames;
} ftp;

/* Pauses after the first command; the second one makes a listener. */
static void ftp_command(asynchat *chat)
{
    if (++ftp.frames == 1) {
        asyncore_set_readable(&chat->dispatcher, false);
    } else {
        ftp.server.map = chat->dispatcher.map;
        ftp.server.other = &ftp.listener;
        listen_on_other(&ftp.server);
    }
}

/* A handler that runs before the wait, because the input is there already. */
static void input_before_the_wait(void **state)
{
    static const asynchat_handlers commands = {
        .found_terminator = ftp_command,
    };
    asyncore_map *map = new_map();
    int ends[2];

    (void)state;
    memset(&ftp, 0, sizeof ftp);
    complaint[0] = '\0';
    stream_pair(ends);
    assert_int_equal(asynchat_init(&ftp.chat, &commands, ends[0], map), 0);
    assert_int_equal(asynchat_set_terminator(&ftp.chat, "x", 1), 0);
    assert_int_equal(send(ends[1], "xx", 2, 0), 2);
    turn_at_once(map);
    assert_int_equal(ftp.frames, 1);
    asyncore_set_readable(&ftp.chat.dispatcher, true);
    turn_at_once(map);
    if (ftp.listener.accepts == 0)
        turn_at_once(map);
    assert_string_equal(complaint, "");
    assert_int_equal(ftp.frames, 2);
    assert_int_equal(ftp.listener.accepts, 1);
    asyncore_map_free(map);
    close(ftp.server.number);
    close(ends[1]);
}

static void poll_for_other(one *o)
{
    int64_t until = now_ms() + DEADLINE_MS;

    while (o->other->reads == 0 && now_ms() < until)
        asyncore_poll(o->map, 20);
}

/* A handler that runs because a descriptor turns out to be closed: what it
   does counts in this very turn, and a turn of its own knows everybody. */
static void handlers_before_the_wait(void **state)
{
    asyncore_map *map = new_map();
    one a, b, listener;
    int peer = begin_one(&a, &counting, map), other;

    (void)state;
    complaint[0] = '\0';
    a.then = listen_on_other;
    a.other = &listener;
    close(a.d.fd);
    turn_at_once(map);
    if (listener.accepts == 0)
        turn_at_once(map);
    assert_string_equal(complaint, "");
    assert_int_equal(listener.accepts, 1);
    assert_int_equal(a.errors, 1);
    assert_int_equal(a.closes, 1);
    asyncore_close(&listener.d);
    close(a.number);
    close(peer);

    for (int order = 0; order < 2; order++) {
        one *first = order == 0 ? &a : &b;
        int first_peer = begin_one(first, &counting, map);
        int second_peer = begin_one(order == 0 ? &b : &a, &counting, map);
        int64_t start = now_ms();

        peer = order == 0 ? first_peer : second_peer;
        other = order == 0 ? second_peer : first_peer;
        a.then = poll_for_other;
        a.other = &b;
        write_byte(other);
        close(a.d.fd);
        assert_true(asyncore_poll(map, DEADLINE_MS) >= 0);
        assert_int_equal(b.reads, 1);
        assert_true(now_ms() - start < DEADLINE_MS / 2);
        for (int i = 0; i < 2; i++)
            assert_true(asyncore_poll(map, 0) >= 0);
        assert_int_equal(a.errors, 1);
        assert_int_equal(a.closes, 1);
        asyncore_close(&b.d);
        close(peer);
        close(other);
    }
    asyncore_map_free(map);
}

/* What turns out before the wait is left over by asyncore_stop, too. */
static void stop_before_the_wait(void **state)
{
    asyncore_map *map = new_map();
    one all[2];
    int peers[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        peers[i] = begin_one(&all[i], &counting, map);
        all[i].then = stop_loop;
    }
    for (int i = 0; i < 2; i++)
        close(all[i].d.fd);
    turn_at_once(map);
    assert_int_equal(all[0].errors + all[1].errors, 1);
    assert_int_equal(all[0].closes + all[1].closes, 1);
    turn_at_once(map);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(all[i].errors, 1);
        assert_int_equal(all[i].closes, 1);
        close(peers[i]);
    }
    assert_int_equal(asyncore_map_count(map), 0);
    asyncore_map_free(map);
}

static void free_map_of(one *o)
{
    asyncore_map_free(o->map);
}

static void close_and_nest(one *o)
{
    asyncore_close(&o->d);
    asyncore_poll(o->map, 0);
    o->number = o->frees;
}

/* Handlers that run outside of any loop, from the call of an owner. */
static void outside_of_a_loop(void **state)
{
    char byte;
    one a;
    int peer;

    (void)state;
    /* A predicate, from asyncore_readable. */
    peer = begin_one(&a, &asked_and_freed, new_map());
    a.answer = true;
    a.then = free_map_of;
    assert_false(asyncore_readable(&a.d));
    assert_int_equal(a.frees, 1);
    close(peer);
    peer = begin_one(&a, &asked_and_freed, new_map());
    a.then = close_and_nest;
    assert_false(asyncore_readable(&a.d));
    assert_int_equal(a.number, 0);
    asyncore_map_free(a.map);
    assert_int_equal(a.frees, 1);
    close(peer);

    /* handle_close, from asyncore_recv. */
    peer = begin_one(&a, &counting_and_freed, new_map());
    a.then = free_map_of;
    close(peer);
    assert_int_equal(asyncore_recv(&a.d, &byte, 1), 0);
    assert_int_equal(a.closes, 1);
    assert_int_equal(a.frees, 1);

    /* handle_error, from asyncore_recv on a descriptor that is not there. */
    peer = begin_one(&a, &counting_and_freed, new_map());
    a.then = free_map_of;
    close(a.d.fd);
    assert_int_equal(asyncore_recv(&a.d, &byte, 1), -1);
    assert_int_equal(a.errors, 1);
    assert_int_equal(a.closes, 0);
    assert_int_equal(a.frees, 1);
    close(peer);
}

/* By hand: a listener, and one that is asked. */
static void by_hand(void **state)
{
    asyncore_map *map = new_map();
    one a, listener;
    int peer;

    (void)state;
    complaint[0] = '\0';
    a.map = map;
    a.other = &listener;
    listen_on_other(&a);
    assert_string_equal(complaint, "");
    asyncore_readwrite(&listener.d, POLLIN);
    assert_int_equal(listener.accepts, 1);
    close(a.number);
    peer = begin_one(&a, &asked, map);
    write_byte(peer);
    asyncore_readwrite(&a.d, POLLIN);
    assert_int_equal(a.reads, 0);
    a.answer = true;
    asyncore_readwrite(&a.d, POLLIN);
    assert_int_equal(a.reads, 1);
    a.then = free_map_of;
    asyncore_readwrite(&a.d, POLLIN);
    assert_int_equal(a.reads, 1);
    close(peer);
}

static void never(void *arg)
{
    (void)arg;
    complain("a call of a map that was freed");
}

static void free_map_and_calls(one *o)
{
    asyncore_timer *timer = calloc(1, sizeof *timer);
    asyncore_signal_handler *handler = calloc(1, sizeof *handler);

    if (asyncore_call_later(timer, o->map, 0, never, NULL) < 0 ||
        asyncore_signal(handler, o->map, SIGUSR1, never, NULL) < 0)
        complain("a call: %s", strerror(errno));
    asyncore_map_free(o->map);
    memset(timer, 0xee, sizeof *timer);
    memset(handler, 0xee, sizeof *handler);
    free(timer);
    free(handler);
}

/* asyncore_map_free in a handler: timers and signals are their owners' at
   once. */
static void calls_of_a_freed_map(void **state)
{
    asyncore_map *map = new_map();
    one a;
    int peer = begin_one(&a, &counting_and_freed, map);

    (void)state;
    complaint[0] = '\0';
    a.then = free_map_and_calls;
    write_byte(peer);
    turn_at_once(map);
    assert_string_equal(complaint, "");
    assert_int_equal(a.frees, 1);
    close(peer);
}

static void stop_map(void *map)
{
    asyncore_stop(map);
}

static void loop_in_call(void *arg)
{
    one *o = arg;

    o->number = asyncore_loop(o->map, DEADLINE_MS, 1);
    o->answer = true;
}

static void count_call(void *arg)
{
    one_of(arg)->reads++;
}

/* A loop inside a posted call runs the calls behind it. */
static void loop_inside_a_call(void **state)
{
    asyncore_map *map = new_map();
    one a;
    int peer = begin_one(&a, &counting, map);
    int64_t start = now_ms();

    (void)state;
    a.number = -1;
    assert_int_equal(asyncore_call_soon(map, loop_in_call, &a), 0);
    assert_int_equal(asyncore_call_soon(map, count_call, &a.d), 0);
    assert_int_equal(asyncore_call_soon(map, stop_map, map), 0);
    assert_int_equal(asyncore_call_soon(map, count_call, &a.d), 0);
    assert_int_equal(asyncore_loop(map, DEADLINE_MS, -1), 0);
    assert_true(a.answer);
    assert_int_equal(a.number, 0);
    assert_int_equal(a.reads, 1);
    /* What was stopped before its turn is not lost. */
    assert_int_equal(asyncore_loop(map, DEADLINE_MS, 1), 0);
    assert_int_equal(a.reads, 2);
    assert_true(now_ms() - start < DEADLINE_MS / 2);
    asyncore_map_free(map);
    close(peer);
}

static void reconnect(one *o)
{
    asyncore_close(&o->d);
    if (--o->number == 0)
        return;
    o->then = reconnect;
    if (asyncore_create_socket(&o->d, AF_INET, SOCK_STREAM) < 0 ||
        asyncore_connect(&o->d, &server_address) < 0)
        complain("connect: %s", strerror(errno));
}

/* A client that comes back from handle_close to a server that hangs up, and
   to an address where there is no server. */
static void reconnecting_client(void **state)
{
    enum { TIMES = 50 };

    (void)state;
    for (int way = 0; way < 4; way++) {
        asyncore_map *map = new_map();
        one client, server;

        complaint[0] = '\0';
        client.map = map;
        client.other = &server;
        listen_on_other(&client);
        close(client.number);
        if (way / 2 == 1)
            asyncore_close(&server.d);
        memset(&client, 0, sizeof client);
        client.number = TIMES;
        client.then = reconnect;
        client.map = map;
        assert_int_equal(asyncore_dispatcher_init(
                             &client.d,
                             way % 2 == 0 ? &counting : &counting_and_freed, -1,
                             map),
                         0);
        assert_int_equal(
            asyncore_create_socket(&client.d, AF_INET, SOCK_STREAM), 0);
        assert_int_equal(asyncore_connect(&client.d, &server_address), 0);
        for (int64_t until = now_ms() + DEADLINE_MS;
             client.number > 0 && now_ms() < until;)
            assert_true(asyncore_poll(map, 20) >= 0);
        assert_string_equal(complaint, "");
        assert_int_equal(client.closes, TIMES);
        assert_int_equal(client.frees, way % 2);
        asyncore_map_free(map);
    }
}

static void one_eof(asyncore_dispatcher *d)
{
    complain("handle_eof of a broken connection");
    asyncore_close(d);
}

/* The kernel tells of a reset once, here to a send of one in no map. */
static void broken_while_out(void **state)
{
    static const asyncore_handlers halves = {
        .handle_read = one_reads,
        .handle_close = one_closes,
        .handle_eof = one_eof,
    };

    (void)state;
    for (int way = 0; way < 2; way++) {
        asyncore_map *map = new_map();
        struct linger at_once = { 1, 0 };
        one a;
        int ends[2];

        complaint[0] = '\0';
        tcp_pair(ends);
        memset(&a, 0, sizeof a);
        assert_int_equal(
            asyncore_dispatcher_init(&a.d, way == 0 ? &counting : &halves,
                                     ends[0], map),
            0);
        asyncore_del_channel(&a.d);
        setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(ends[1]);
        assert_int_equal(asyncore_send(&a.d, "x", 1), -1);
        assert_int_equal(a.closes, 0);
        assert_int_equal(asyncore_add_channel(&a.d, map), 0);
        turn_at_once(map);
        assert_int_equal(a.closes, 1);
        assert_int_equal(a.d.error, ECONNRESET);
        assert_string_equal(complaint, "");
        asyncore_map_free(map);
    }
}

/* Brought back to life for a listener, where there is one already. */
static void listener_in_vain(void **state)
{
    asyncore_address taken;
    char text[ASYNCORE_ADDRESS_TEXT];
    int listener = listen_on_loopback(&taken);

    (void)state;
    asyncore_address_format(&taken, text, sizeof text);
    for (int way = 0; way < 3; way++) {
        asyncore_map *map = new_map();
        one a;
        int peer = begin_one(&a, &counting_and_freed, map);

        asyncore_close(&a.d);
        if (way == 1)
            assert_int_equal(asyncore_poll(map, 0), 0);
        assert_int_equal(asyncore_listen_on(&a.d, text, 8), -1);
        assert_int_equal(errno, EADDRINUSE);
        assert_int_equal(a.d.fd, -1);
        if (way == 2)
            assert_int_equal(asyncore_create_socket(&a.d, AF_INET, SOCK_STREAM),
                             0);
        assert_int_equal(asyncore_poll(map, 0), 0);
        assert_int_equal(a.frees, way != 2);
        asyncore_close(&a.d);
        asyncore_map_free(map);
        assert_int_equal(a.frees, 1);
        close(peer);
    }
    close(listener);
}

static ssize_t recv_or_fail(asyncore_dispatcher *d, void *data, size_t size)
{
    if (d->closing && one_of(d)->answer) {
        errno = EIO;
        return -1;
    }
    return recv(d->fd, data, size, MSG_DONTWAIT);
}

static void read_and_write(one *o)
{
    char byte;

    o->number = (int)asyncore_recv(&o->d, &byte, 1);
    if (asyncore_send(&o->d, "x", 1) != -1)
        complain("sent to one that has gone");
}

static void one_ends(asyncore_dispatcher *d)
{
    one_of(d)->accepts++;
    asyncore_base(d)->handle_eof(d);
}

/* What fails in handle_close is known already. */
static void failures_in_handle_close(void **state)
{
    static const asyncore_handlers failing = {
        .handle_read = one_reads,
        .handle_close = one_closes,
        .handle_eof = one_ends,
        .handle_error = one_fails,
        .recv = recv_or_fail,
    };

    (void)state;
    complaint[0] = '\0';
    for (int way = 0; way < 4; way++) {
        asyncore_map *map = new_map();
        one a;
        int peer = begin_one(&a, &failing, map);

        a.then = read_and_write;
        a.answer = (way & 1) != 0;
        asyncore_set_readable(&a.d, (way & 2) != 0);
        close(peer);
        turn_at_once(map);
        assert_string_equal(complaint, "");
        assert_int_equal(a.closes, 1);
        assert_int_equal(a.errors, 0);
        assert_int_equal(a.accepts, (way & 2) != 0);
        assert_int_equal(a.d.fd, -1);
        asyncore_map_free(map);
    }
}

/* Every order in which a connection can come to its end. */
static void one_end(void **state)
{
    enum {
        UNREAD = 1,
        RESET = 2,
        WRITING = 4,
        PAUSED = 8,
        HALF = 16,
        ALL = 32
    };

    (void)state;
    for (int way = 0; way < ALL; way++)
        for (int with_free = 0; with_free < 2; with_free++) {
            asyncore_map *map = new_map();
            struct linger at_once = { 1, 0 };
            one a;
            int ends[2], i;

            tcp_pair(ends);
            memset(&a, 0, sizeof a);
            assert_int_equal(asyncore_dispatcher_init(
                                 &a.d,
                                 with_free ? &counting_and_freed : &counting,
                                 ends[0], map),
                             0);
            asyncore_set_writable(&a.d, (way & WRITING) != 0);
            asyncore_set_readable(&a.d, (way & PAUSED) == 0);
            assert_true(asyncore_poll(map, 0) >= 0);
            if (way & UNREAD)
                write_byte(ends[1]);
            if (way & HALF)
                shutdown(ends[1], SHUT_WR);
            if (way & RESET)
                setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &at_once,
                           sizeof at_once);
            close(ends[1]);
            /* A paused reader with no wish to write may wait as it likes. */
            for (i = 0; i < 1000 && a.closes == 0; i++) {
                assert_true(asyncore_poll(map, 1) >= 0);
                if (i == 20)
                    asyncore_set_readable(&a.d, true);
            }
            for (i = 0; i < 3; i++)
                assert_true(asyncore_poll(map, 0) >= 0);
            assert_int_equal(a.closes, 1);
            assert_int_equal(a.errors, 0);
            assert_int_equal(a.frees, with_free);
            assert_int_equal(asyncore_map_count(map), 0);
            asyncore_map_free(map);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_after_map_free),
        cmocka_unit_test(chat_after_map_free),
        cmocka_unit_test(input_before_the_wait),
        cmocka_unit_test(move_after_map_free),
        cmocka_unit_test(evicted_and_nested),
        cmocka_unit_test(evicted_in_handle_close),
        cmocka_unit_test(evicted_and_stopped),
        cmocka_unit_test(evicted_and_closed),
        cmocka_unit_test(asked_once),
        cmocka_unit_test(asked_while_they_change),
        cmocka_unit_test(evicted_and_reopened),
        cmocka_unit_test(leave_map_in_handle_close),
        cmocka_unit_test(nested_turn_waits),
        cmocka_unit_test(predicates_that_change),
        cmocka_unit_test(handlers_before_the_wait),
        cmocka_unit_test(stop_before_the_wait),
        cmocka_unit_test(outside_of_a_loop),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(calls_of_a_freed_map),
        cmocka_unit_test(loop_inside_a_call),
        cmocka_unit_test(reconnecting_client),
        cmocka_unit_test(broken_while_out),
        cmocka_unit_test(rest_of_an_event),
        cmocka_unit_test(listener_in_vain),
        cmocka_unit_test(failures_in_handle_close),
        cmocka_unit_test(one_end),
    };

    return cmocka_run_group_tests_name("reentry", tests, NULL, NULL);
}
