/*
 * test_asynchat.c - the cases of CPython's test_asynchat under their own
 * names, with both ways of taking input, on IPv4, IPv6 and unix sockets.
 *
 * Where the header differs from Python on purpose, a comment tells how.
 */
#include "support/chatter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERVER_QUIT "QUIT\n"

/* CPython's echo_server, without a thread of its own. */
typedef struct echo {
    int listener, fd;
    char data[4096];
    size_t size;
} echo;

static chatter *start(world *w, echo *e, const asynchat_handlers *handlers)
{
    chatter *c = new_chatter();
    asyncore_address at;

    memset(e, 0, sizeof *e);
    e->listener = peer_listen(w, &at);
    assert_int_equal(asynchat_init(&c->chat, handlers, -1, NULL), 0);
    assert_int_equal(asyncore_create_socket(base_of(c), w->family, SOCK_STREAM),
                     0);
    assert_int_equal(asyncore_connect(base_of(c), &at), 0);
    e->fd = peer_accept(e->listener);
    return c;
}

static bool has_quit(echo *e)
{
    size_t end = strlen(SERVER_QUIT);
    ssize_t n =
        recv(e->fd, e->data + e->size, sizeof e->data - e->size, MSG_DONTWAIT);

    e->size += n > 0 ? (size_t)n : 0;
    return e->size >= end &&
           memcmp(e->data + e->size - end, SERVER_QUIT, end) == 0;
}

/* Receives until SERVER_QUIT, and sends what came before it back in chunks,
   each of which arrives by itself. */
static void echo_in_chunks(world *w, echo *e, size_t chunk)
{
    run_until(w->map, has_quit(e));
    e->size -= strlen(SERVER_QUIT);
    for (size_t at = 0; at < e->size; at += chunk) {
        peer_write(e->fd, e->data + at,
                   chunk < e->size - at ? chunk : e->size - at);
        assert_true(asyncore_poll(w->map, 10) >= 0);
    }
}

static void hang_up(echo *e)
{
    close(e->fd);
    close(e->listener);
}

/* A transcript says the same in both styles, but for what marks a frame. */
static void check(chatter *c, const char *frames, const char *pieces)
{
    bool whole = base_of(c)->handlers == &chatter_frames.dispatcher;

    assert_string_equal(c->text, whole ? frames : pieces);
    assert_int_equal(c->empty, 0);
}

static const asynchat_handlers *const styles[2] = { &chatter_frames,
                                                    &chatter_pieces };

static void push_text(chatter *c, const char *text)
{
    assert_int_equal(asynchat_push(&c->chat, text, strlen(text)), 0);
}

static void line_terminator_check(world *w, const char *term, size_t chunk)
{
    for (int style = 0; style < 2; style++) {
        echo e;
        chatter *c = start(w, &e, styles[style]);

        asynchat_set_terminator(&c->chat, term, strlen(term));
        push_text(c, "hello ");
        push_text(c, "world");
        push_text(c, term);
        push_text(c, "I'm not dead yet!");
        push_text(c, term);
        push_text(c, SERVER_QUIT);
        echo_in_chunks(w, &e, chunk);
        hang_up(&e);
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        check(c, "<connect>[hello world][I'm not dead yet!]<close 0>",
              "<connect>hello world|I'm not dead yet!|<close 0>");
    }
}

static void line_terminator1(void **state)
{
    for (size_t chunk = 1; chunk < 4; chunk++)
        line_terminator_check(world_of(state), "\n", chunk);
}

static void line_terminator2(void **state)
{
    for (size_t chunk = 1; chunk < 4; chunk++)
        line_terminator_check(world_of(state), "\r\n", chunk);
}

static void line_terminator3(void **state)
{
    for (size_t chunk = 1; chunk < 4; chunk++)
        line_terminator_check(world_of(state), "qqq", chunk);
}

/* In Python what follows the n bytes is collected as if there were no
   terminator. Here it waits until another one is set. */
static void numeric_terminator_check(world *w, size_t n)
{
    for (int style = 0; style < 2; style++) {
        echo e;
        chatter *c = start(w, &e, styles[style]);

        asynchat_set_terminator_bytes(&c->chat, n);
        push_text(c, "hello world, I'm not dead yet!\n" SERVER_QUIT);
        echo_in_chunks(w, &e, 4096);
        hang_up(&e);
        settle(w);
        check(c, n == 1 ? "<connect>[h]" : "<connect>[hello ]",
              n == 1 ? "<connect>h|" : "<connect>hello |");
        asynchat_set_terminator(&c->chat, NULL, 0);
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        check(c,
              n == 1 ? "<connect>[h][ello world, I'm not dead yet!\n]<close 0>"
                     : "<connect>[hello ][world, I'm not dead yet!\n]<close 0>",
              n == 1 ? "<connect>h|ello world, I'm not dead yet!\n<close 0>"
                     : "<connect>hello |world, I'm not dead yet!\n<close 0>");
    }
}

static void numeric_terminator1(void **state)
{
    numeric_terminator_check(world_of(state), 1);
}

static void numeric_terminator2(void **state)
{
    numeric_terminator_check(world_of(state), 6);
}

static void none_terminator(void **state)
{
    static const char data[] = "hello world, I'm not dead yet!\n";
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        echo e;
        chatter *c = start(w, &e, styles[style]);

        asynchat_set_terminator(&c->chat, NULL, 0);
        push_text(c, data);
        push_text(c, SERVER_QUIT);
        c->bare = true;
        echo_in_chunks(w, &e, 7);
        hang_up(&e);
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        assert_string_equal(c->text, data);
        assert_int_equal(c->at_frame > 0, style == 0);
    }
}

/* CPython's simple_producer. */
typedef struct simple_producer {
    asynchat_producer producer;
    const char *data;
    size_t size, piece;
} simple_producer;

static ssize_t simple_more(asynchat_producer *producer, void *data, size_t size)
{
    simple_producer *p = (simple_producer *)producer;
    size_t n = p->size < p->piece ? p->size : p->piece;

    n = n < size ? n : size;
    memcpy(data, p->data, n);
    p->data += n;
    p->size -= n;
    return (ssize_t)n;
}

static void simple_free(asynchat_producer *producer)
{
    free(producer);
}

static void simple_producer_test(void **state)
{
    static const char data[] = "hello world\nI'm not dead yet!\n" SERVER_QUIT;
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        simple_producer *p = malloc(sizeof *p);
        echo e;
        chatter *c = start(w, &e, styles[style]);

        assert_non_null(p);
        p->producer.more = simple_more;
        p->producer.free = simple_free;
        p->data = data;
        p->size = strlen(data);
        p->piece = 8;
        asynchat_set_terminator(&c->chat, "\n", 1);
        assert_int_equal(asynchat_push_with_producer(&c->chat, &p->producer),
                         0);
        echo_in_chunks(w, &e, 4096);
        hang_up(&e);
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        check(c, "<connect>[hello world][I'm not dead yet!]<close 0>",
              "<connect>hello world|I'm not dead yet!|<close 0>");
    }
}

/* Bytes where Python takes a producer: here they are shared ones. */
static void string_producer(void **state)
{
    static const char data[] = "hello world\nI'm not dead yet!\n" SERVER_QUIT;
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        asynchat_shared *shared = asynchat_shared_new(data, strlen(data));
        echo e;
        chatter *c = start(w, &e, styles[style]);

        assert_non_null(shared);
        asynchat_set_terminator(&c->chat, "\n", 1);
        assert_int_equal(asynchat_push_shared(&c->chat, shared), 0);
        asynchat_shared_free(shared);
        echo_in_chunks(w, &e, 4096);
        hang_up(&e);
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        check(c, "<connect>[hello world][I'm not dead yet!]<close 0>",
              "<connect>hello world|I'm not dead yet!|<close 0>");
    }
}

static void empty_line(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        echo e;
        chatter *c = start(w, &e, styles[style]);

        asynchat_set_terminator(&c->chat, "\n", 1);
        push_text(c, "hello world\n\nI'm not dead yet!\n" SERVER_QUIT);
        echo_in_chunks(w, &e, 4096);
        hang_up(&e);
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        check(c, "<connect>[hello world][][I'm not dead yet!]<close 0>",
              "<connect>hello world||I'm not dead yet!|<close 0>");
    }
}

/* Everything is sent, and nothing that comes back is delivered. Python closes
   at once; here the peer closes too before it is over. */
static void close_when_done(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        echo e;
        chatter *c = start(w, &e, styles[style]);

        asynchat_set_terminator(&c->chat, "\n", 1);
        push_text(c, "hello world\nI'm not dead yet!\n" SERVER_QUIT);
        assert_int_equal(asynchat_close_when_done(&c->chat, DEADLINE_MS), 0);
        echo_in_chunks(w, &e, 4096);
        assert_true(e.size > 0);
        assert_int_equal(peer_read(e.fd, e.data, 1), 0);
        hang_up(&e);
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        check(c, "<connect><close 0>", "<connect><close 0>");
    }
}

/* Of Python's byte types one is left. */
static void push(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        echo e;
        chatter *c = start(w, &e, styles[style]);

        asynchat_set_terminator(&c->chat, "\n", 1);
        push_text(c, "bytes\n");
        assert_int_equal(asyncore_send(base_of(c), "bytes\n", 6), 6);
        assert_int_equal(asynchat_push(&c->chat, NULL, 0), 0);
        push_text(c, "bytes\n" SERVER_QUIT);
        echo_in_chunks(w, &e, 4096);
        hang_up(&e);
        assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
        check(c, "<connect>[bytes][bytes][bytes]<close 0>",
              "<connect>bytes|bytes|bytes|<close 0>");
    }
}

static ssize_t blocking_recv(asyncore_dispatcher *d, void *data, size_t size)
{
    chatter *c = (chatter *)d;

    (void)data, (void)size;
    c->at_frame++;
    errno = EAGAIN;
    return -1;
}

static void blockingioerror(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = {
            .recv = blocking_recv,
            .handle_close = chatter_close,
            .handle_error = chatter_error,
        },
        .handle_frame = chatter_frame,
    };
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &handlers, &peer);

    say(w, peer, "x");
    assert_true(c->at_frame > 0);
    assert_string_equal(c->text, "");
    assert_true(base_of(c)->fd >= 0);
    close(peer);
}

/* What is held back of an input, instead of a function to ask. */
static void find_prefix_at_end(void **state)
{
    static const struct {
        const char *delimiter, *input, *delivered;
    } cases[] = {
        { "\r\n", "qwerty\r", "qwerty" },
        { "\r\n", "qwertydkjf", "qwertydkjf" },
        { "\r\n.\r\n", "a\r\n.\r", "a" },
        { "\r\n.\r\n", "a\r\n.\r\r", "a\r\n.\r" },
        { "aab", "aaa", "a" },
        { "ab", "a", "" },
        { "a", "bb", "bb" },
    };
    world *w = world_of(state);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int peer;
        chatter *c = chatter_pair(w, &chatter_pieces, &peer);

        asynchat_set_terminator(&c->chat, cases[i].delimiter,
                                strlen(cases[i].delimiter));
        say(w, peer, cases[i].input);
        assert_string_equal(c->text, cases[i].delivered);
        asyncore_close(base_of(c));
        close(peer);
    }
}

/* A negative number cannot be said here; a size that is none can. */
static void disallow_negative_terminator(void **state)
{
    world *w = world_of(state);
    chatter *c = new_chatter();
    size_t size = 0;

    assert_int_equal(asynchat_init(&c->chat, &chatter_pieces, -1, w->map), 0);
    assert_null(asynchat_get_terminator(&c->chat, &size));
    assert_true(size == SIZE_MAX);
    assert_int_equal(asynchat_set_terminator(&c->chat, "\n", 1), 0);
    errno = 0;
    assert_int_equal(asynchat_set_terminator(&c->chat, "x", (size_t)-1), -1);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(asynchat_set_terminator(&c->chat, "x", 32769), -1);
    assert_int_equal(errno, EINVAL);
    assert_string_equal(asynchat_get_terminator(&c->chat, &size), "\n");
    assert_int_equal(size, 1);
    assert_int_equal(asynchat_set_terminator_bytes(&c->chat, 12), 0);
    assert_null(asynchat_get_terminator(&c->chat, &size));
    assert_int_equal(size, 12);
    assert_int_equal(asynchat_set_terminator_bytes(&c->chat, 0), 0);
    assert_null(asynchat_get_terminator(&c->chat, &size));
    assert_int_equal(size, 0);
    assert_int_equal(asynchat_set_terminator(&c->chat, "\n", 0), 0);
    assert_null(asynchat_get_terminator(&c->chat, &size));
    assert_true(size == SIZE_MAX);
    asyncore_close(base_of(c));
    assert_int_equal(asynchat_set_terminator_bytes(&c->chat, 0), 0);
    settle(w);
    assert_string_equal(c->text, "");
}

#define ON(test, setup, name) \
    { \
#test " (" name ")", test, setup, end_chat, NULL \
    }
#define EVERYWHERE(test) \
    ON(test, begin_ipv4, "IPv4"), ON(test, begin_ipv6, "IPv6"), \
        ON(test, begin_unix, "unix")

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(line_terminator1),
        EVERYWHERE(line_terminator2),
        EVERYWHERE(line_terminator3),
        EVERYWHERE(numeric_terminator1),
        EVERYWHERE(numeric_terminator2),
        EVERYWHERE(none_terminator),
        EVERYWHERE(simple_producer_test),
        EVERYWHERE(string_producer),
        EVERYWHERE(empty_line),
        EVERYWHERE(close_when_done),
        EVERYWHERE(push),
        ON(blockingioerror, begin_unix, "unix"),
        ON(find_prefix_at_end, begin_unix, "unix"),
        ON(disallow_negative_terminator, begin_unix, "unix"),
    };

    return cmocka_run_group_tests_name("asynchat", tests, NULL, NULL);
}
