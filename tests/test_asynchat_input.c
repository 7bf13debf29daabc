/*
 * test_asynchat_input.c - a byte stream becomes frames, whatever its cuts and
 * whatever a handler does in the middle of it.
 */
#include "support/chatter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const asynchat_handlers *const styles[2] = { &chatter_frames,
                                                    &chatter_pieces };

static void set_delimiter(chatter *c, const char *delimiter)
{
    assert_int_equal(
        asynchat_set_terminator(&c->chat, delimiter, strlen(delimiter)), 0);
}

static void pause_reading(chatter *c)
{
    asyncore_set_readable(base_of(c), false);
}

static void resume_reading(chatter *c)
{
    asyncore_set_readable(base_of(c), true);
}

static void finish(chatter *c, int peer)
{
    assert_int_equal(c->empty, 0);
    asyncore_close(base_of(c));
    if (peer >= 0)
        close(peer);
}

/* Where only the bytes and the frames' ends matter: "[ab]cd" -> "ab|cd". */
static const char *as_pieces(const char *frames)
{
    static char text[4096];
    char *out = text;

    for (; *frames != '\0'; frames++) {
        if (*frames == '[' || *frames == '{' || *frames == '}')
            continue;
        *out++ = (char)(*frames == ']' ? '|' : *frames);
    }
    *out = '\0';
    return text;
}

static void check(chatter *c, const char *frames)
{
    bool whole = base_of(c)->handlers == &chatter_frames.dispatcher;

    assert_string_equal(c->text, whole ? frames : as_pieces(frames));
}

/* ---- The traces of Python's ------------------------------------------- */

static void rearm_2(chatter *c, int at)
{
    (void)at;
    asynchat_set_terminator_bytes(&c->chat, 2);
}

static void traces(void **state)
{
    static const struct {
        const char *delimiter; /* or NULL: bytes */
        size_t bytes;
        void (*on_frame)(chatter *c, int at);
        const char *chunks[5];
        const char *pieces, *frames;
        size_t left; /* as asynchat_get_terminator says */
    } cases[] = {
        { NULL, 5, NULL, { "abc" }, "abc", "", 2 },
        { NULL, 2, NULL, { "abcdef" }, "ab|", "[ab]", 0 },
        { NULL, 2, rearm_2, { "abcdefg" }, "ab|cd|ef|g", "[ab][cd][ef]", 1 },
        { NULL, 2, rearm_2, { "a", "bc", "d" }, "ab|cd|", "[ab][cd]", 2 },
        { "\r\n",
          0,
          NULL,
          { "ab\r", "\ncd\r", "x\r\n" },
          "ab|cd\rx|",
          "[ab][cd\rx]",
          2 },
        { "\n", 0, NULL, { "\n\nx\n" }, "||x|", "[][][x]", 1 },
        { "aab", 0, NULL, { "aa", "aab" }, "aa|", "[aa]", 3 },
        { "aab", 0, NULL, { "a", "a", "a", "a", "b" }, "aa|", "[aa]", 3 },
        { "abab", 0, NULL, { "aba", "abab" }, "aba|", "[aba]", 4 },
        { "abab", 0, NULL, { "ababab" }, "|", "[]", 4 },
    };
    world *w = world_of(state);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int style = 0; style < 2; style++) {
            int peer;
            chatter *c = chatter_pair(w, styles[style], &peer);
            size_t left;

            c->on_frame = cases[i].on_frame;
            if (cases[i].delimiter != NULL)
                set_delimiter(c, cases[i].delimiter);
            else
                asynchat_set_terminator_bytes(&c->chat, cases[i].bytes);
            for (int j = 0; j < 5 && cases[i].chunks[j] != NULL; j++)
                say(w, peer, cases[i].chunks[j]);
            assert_string_equal(c->text,
                                style == 0 ? cases[i].frames : cases[i].pieces);
            (void)asynchat_get_terminator(&c->chat, &left);
            assert_int_equal(left, cases[i].left);
            finish(c, peer);
        }
    }
}

/* ---- Cuts -------------------------------------------------------------- */

static void split_everywhere(void **state)
{
    static const struct {
        const char *delimiter, *stream, *frames;
    } cases[] = {
        { "\n", "one\n\ntwo\nth", "[one][][two]" },
        { "\r\n", "a\rb\r\n\r\r\n\r\nc", "[a\rb][\r][]" },
        { "aab", "xaaabaabyaabaa", "[xa][][y]" },
        { "abcab", "abcababcabcabcabab", "[][][c]" },
        { "aaaa", "aaabaaaaaaaaaaa", "[aaab][]" },
    };
    world *w = world_of(state);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = strlen(cases[i].stream);

        for (int style = 0; style < 2; style++) {
            for (size_t first = 1; first <= size; first++) {
                size_t second = first + (first % 3);
                int peer;
                chatter *c = chatter_pair(w, styles[style], &peer);
                const char *stream = cases[i].stream;

                second = second < size ? second : size;
                set_delimiter(c, cases[i].delimiter);
                peer_write(peer, stream, first);
                settle(w);
                peer_write(peer, stream + first, second - first);
                settle(w);
                peer_write(peer, stream + second, size - second);
                settle(w);
                if (style == 0)
                    assert_string_equal(c->text, cases[i].frames);
                else
                    assert_memory_equal(c->text, as_pieces(cases[i].frames),
                                        strlen(as_pieces(cases[i].frames)));
                finish(c, peer);
            }
        }
    }
}

static void byte_by_byte(void **state)
{
    static const char stream[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        set_delimiter(c, "\r\n");
        for (size_t i = 0; i < strlen(stream); i++) {
            peer_write(peer, stream + i, 1);
            settle(w);
        }
        check(c, "[GET / HTTP/1.1][Host: x][]");
        finish(c, peer);
    }
}

/* More than any buffer, in one frame and with a delimiter of 32,768 bytes. */
static void large(void **state)
{
    enum { SIZE = 3000000, DELIMITER = 32768 };
    world *w = world_of(state);
    char *delimiter = lend(w, DELIMITER);
    char *data = lend(w, SIZE);

    memset(delimiter, 'd', DELIMITER);
    delimiter[0] = 'D';
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)('a' + i * 7 % 23);
    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);
        size_t size = 0;
        const char *next[] = { data, delimiter, "tail", delimiter };
        const size_t sizes[] = { SIZE, DELIMITER, 4, DELIMITER };

        c->chat.frame_limit = 0;
        assert_int_equal(
            asynchat_set_terminator(&c->chat, delimiter, DELIMITER), 0);
        for (int i = 0; i < 4; i++) {
            for (size_t at = 0; at < sizes[i]; at += size) {
                size = sizes[i] - at < 50000 ? sizes[i] - at : 50000;
                peer_write(peer, next[i] + at, size);
                settle(w);
            }
        }
        assert_int_equal(c->at_frame, 2);
        if (style == 0) {
            assert_int_equal(c->size, SIZE + 8);
            assert_memory_equal(c->text + 1, data, SIZE);
            assert_string_equal(c->text + SIZE + 1, "][tail]");
        } else {
            assert_int_equal(c->size, SIZE + 6);
            assert_memory_equal(c->text, data, SIZE);
            assert_string_equal(c->text + SIZE, "|tail|");
        }
        finish(c, peer);
    }
}

/* ---- Switching --------------------------------------------------------- */

/* Lines that are numbers, each followed by so many bytes. */
static void header_and_body(chatter *c, int at)
{
    if (at % 2 == 1)
        asynchat_set_terminator_bytes(&c->chat,
                                      (size_t)(c->text[c->size - 2] - '0'));
    else
        asynchat_set_terminator(&c->chat, "\r\n", 2);
}

static void switching_in_a_buffer(void **state)
{
    static const char stream[] = "5\r\nhello0\r\n2\r\n\r\n0\r\n1\r\nx";
    world *w = world_of(state);
    size_t size = strlen(stream);

    for (int style = 0; style < 2; style++) {
        for (size_t cut = 1; cut <= size; cut++) {
            int peer;
            chatter *c = chatter_pair(w, styles[style], &peer);

            c->on_frame = header_and_body;
            set_delimiter(c, "\r\n");
            peer_write(peer, stream, cut);
            settle(w);
            if (cut < size)
                peer_write(peer, stream + cut, size - cut);
            settle(w);
            check(c, "[5][hello][0][][2][\r\n][0][][1][x]");
            finish(c, peer);
        }
    }
}

/* From outside: what is held back is looked at anew, without new input. */
static void switching_from_outside(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        set_delimiter(c, "\r\n.\r\n");
        say(w, peer, "ab\r\n.\r");
        assert_string_equal(c->text, style == 0 ? "" : "ab");
        set_delimiter(c, ".");
        assert_string_equal(c->text, style == 0 ? "" : "ab");
        settle(w);
        assert_string_equal(c->text, style == 0 ? "[ab\r\n]" : "ab\r\n|\r");
        set_delimiter(c, "x");
        settle(w);
        asynchat_set_terminator(&c->chat, NULL, 0);
        settle(w);
        assert_string_equal(c->text, style == 0 ? "[ab\r\n][\r]" : "ab\r\n|\r");
        finish(c, peer);

        c = chatter_pair(w, styles[style], &peer);
        set_delimiter(c, "\r\n");
        say(w, peer, "ab\r");
        asynchat_set_terminator_bytes(&c->chat, style == 0 ? 3 : 1);
        settle(w);
        check(c, "[ab\r]");
        /* Nothing is read until another is set. */
        say(w, peer, "more\n");
        check(c, "[ab\r]");
        assert_false(asyncore_readable(base_of(c)));
        set_delimiter(c, "\n");
        settle(w);
        check(c, "[ab\r][more]");
        finish(c, peer);
    }
}

/* From n bytes that have partly come. */
static void switching_in_a_frame(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        size_t left;
        chatter *c = chatter_pair(w, styles[style], &peer);

        asynchat_set_terminator_bytes(&c->chat, 10);
        say(w, peer, "abc");
        (void)asynchat_get_terminator(&c->chat, &left);
        assert_int_equal(left, 7);
        set_delimiter(c, "b");
        settle(w);
        assert_string_equal(c->text, style == 0 ? "[a]" : "abc");
        say(w, peer, "db");
        assert_string_equal(c->text, style == 0 ? "[a][cd]" : "abcd|");
        finish(c, peer);
    }
}

static void nothing_waited_for(chatter *c, int at)
{
    if (at < 4)
        asynchat_set_terminator_bytes(&c->chat, 0);
}

static void no_bytes(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        asynchat_set_terminator_bytes(&c->chat, 0);
        assert_string_equal(c->text, "");
        settle(w);
        check(c, "[]");
        say(w, peer, "ab");
        check(c, "[]");
        c->on_frame = nothing_waited_for;
        asynchat_set_terminator_bytes(&c->chat, 1);
        settle(w);
        check(c, "[][a][][]");
        finish(c, peer);
    }
}

/* Before there is a connection, an empty frame waits for it. */
static void no_bytes_before_the_connection(void **state)
{
    world *w = world_of(state);
    chatter *c = new_chatter();
    asyncore_address at;
    int listener, peer;

    listener = peer_listen(w, &at);
    assert_int_equal(asynchat_init(&c->chat, &chatter_frames, -1, w->map), 0);
    asynchat_set_terminator_bytes(&c->chat, 0);
    assert_int_equal(asyncore_create_socket(base_of(c), w->family, SOCK_STREAM),
                     0);
    settle(w);
    assert_string_equal(c->text, "");
    assert_int_equal(asyncore_connect(base_of(c), &at), 0);
    assert_string_equal(c->text, "");
    peer = peer_accept(listener);
    settle(w);
    assert_string_equal(c->text, "<connect>[]");
    finish(c, peer);
    close(listener);
}

/* Between the styles, in a handler and in the middle of a frame. */
static void next_style(chatter *c, int at)
{
    (void)at;
    asyncore_set_handlers(base_of(c),
                          base_of(c)->handlers == &chatter_frames.dispatcher
                              ? &chatter_pieces.dispatcher
                              : &chatter_frames.dispatcher);
}

static void styles_switched(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &chatter_frames, &peer);

    c->on_frame = next_style;
    set_delimiter(c, "\r\n");
    say(w, peer, "one\r\ntwo\r\nthree\r\nfo");
    say(w, peer, "ur\r\nfive\r");
    say(w, peer, "\n");
    assert_string_equal(c->text, "[one]two|[three]four|[five]");
    /* What a frames class held goes to the pieces class that follows; what
       that was given is gone from the frame. */
    c->on_frame = NULL;
    chatter_clear(c);
    asyncore_set_handlers(base_of(c), &chatter_frames.dispatcher);
    say(w, peer, "frame\r");
    asyncore_set_handlers(base_of(c), &chatter_pieces.dispatcher);
    say(w, peer, "x\r");
    asyncore_set_handlers(base_of(c), &chatter_frames.dispatcher);
    say(w, peer, "\nlast\r\n");
    assert_string_equal(c->text, "frame\rx[][last]");
    finish(c, peer);
}

static void two_bytes(chatter *c, const char *data, size_t size)
{
    if (size == 4 && memcmp(data, "held", 4) == 0)
        asynchat_set_terminator_bytes(&c->chat, 2);
}

static void pause_at_held(chatter *c, const char *data, size_t size)
{
    if (size == 4 && memcmp(data, "held", 4) == 0)
        asyncore_set_readable(base_of(c), false);
}

/* What a frames class held is a piece by itself: what its handler does holds
   for what follows. */
static void switching_after_what_was_held(void **state)
{
    world *w = world_of(state);

    for (int pausing = 0; pausing < 2; pausing++) {
        int peer;
        chatter *c = chatter_pair(w, &chatter_frames, &peer);

        c->on_piece = pausing ? pause_at_held : two_bytes;
        set_delimiter(c, "\n");
        say(w, peer, "held");
        asyncore_set_handlers(base_of(c), &chatter_pieces.dispatcher);
        say(w, peer, "12345\n");
        assert_string_equal(c->text, pausing ? "held" : "held12|");
        if (pausing) {
            asyncore_set_readable(base_of(c), true);
            settle(w);
            assert_string_equal(c->text, "held12345|");
        }
        finish(c, peer);
    }
}

/* ---- The end of the stream --------------------------------------------- */

static void prefix_at_the_end(void **state)
{
    static const struct {
        const char *stream, *frames;
    } cases[] = {
        { "abc\r", "{abc\r}" },
        { "one\r\n\r", "[one]{\r}" },
        { "one\r\n", "[one]" },
        { "one\r\ntw", "[one]{tw}" },
        { "", "" },
    };
    world *w = world_of(state);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int how = 0; how < 4; how++) {
            int peer;
            char expected[4200];
            chatter *c = chatter_tcp(w, styles[how % 2], &peer);

            set_delimiter(c, "\r\n");
            say(w, peer, cases[i].stream);
            if (how < 2)
                close(peer);
            else
                peer_reset(peer);
            run_until(w->map, c->closed > 0);
            snprintf(expected, sizeof expected, "%s<close %d>",
                     how % 2 == 0 ? cases[i].frames
                                  : as_pieces(cases[i].frames),
                     how < 2 ? 0 : ECONNRESET);
            assert_string_equal(c->text, expected);
            finish(c, -1);
        }
    }
}

static void bytes_cut_off(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        asynchat_set_terminator_bytes(&c->chat, 10);
        say(w, peer, "abc");
        say(w, peer, "def");
        close(peer);
        run_until(w->map, c->closed > 0);
        assert_string_equal(c->text, style == 0 ? "{abcdef}<close 0>"
                                                : "abcdef<close 0>");
        finish(c, -1);
    }
}

/* Without collect_incoming_data what is cut off is dropped. */
static void cut_off_and_dropped(void **state)
{
    static const asynchat_handlers frames_only = {
        .dispatcher = { .handle_close = chatter_close },
        .handle_frame = chatter_frame,
    };
    static const asynchat_handlers nothing = {
        .dispatcher = { .handle_close = chatter_close },
    };
    world *w = world_of(state);
    const asynchat_handlers *const tables[] = { &frames_only, &nothing };

    for (int i = 0; i < 2; i++) {
        int peer;
        chatter *c = chatter_pair(w, tables[i], &peer);

        set_delimiter(c, "\r\n");
        say(w, peer, "one\r\ntwo\r");
        close(peer);
        run_until(w->map, c->closed > 0);
        assert_string_equal(c->text, i == 0 ? "[one]<close 0>" : "<close 0>");
        finish(c, -1);
    }
}

static const asynchat_handlers half_closing = {
    .dispatcher =
        {
            .handle_close = chatter_close,
            .handle_eof = chatter_eof,
            .handle_free = chatter_free,
        },
    .handle_frame = chatter_frame,
    .collect_incoming_data = chatter_tail,
};

static void prefix_before_handle_eof(void **state)
{
    world *w = world_of(state);
    int peer;
    char data[16];
    chatter *c = chatter_pair(w, &half_closing, &peer);

    set_delimiter(c, "\r\n");
    say(w, peer, "one\r\ntwo\r");
    shutdown(peer, SHUT_WR);
    settle(w);
    assert_string_equal(c->text, "[one]{two\r}<eof>");
    settle(w);
    assert_string_equal(c->text, "[one]{two\r}<eof>");
    assert_int_equal(asynchat_push(&c->chat, "answer", 6), 0);
    assert_int_equal(asyncore_shutdown(base_of(c)), 0);
    run_until(w->map, c->closed > 0);
    assert_int_equal(peer_read(peer, data, sizeof data), 6);
    assert_string_equal(c->text, "[one]{two\r}<eof><close 0>");
    finish(c, peer);
}

static void close_in_the_tail(asynchat *chat, const void *data, size_t size)
{
    chatter_of(chat)->calls++;
    chatter_tail(chat, data, size);
    asyncore_close(&chat->dispatcher);
}

static void goodbye_in_the_tail(asynchat *chat, const void *data, size_t size)
{
    chatter_of(chat)->calls++;
    chatter_tail(chat, data, size);
    asynchat_close_when_done(chat, DEADLINE_MS);
}

/* What is cut off is one piece, with the beginning of a delimiter. */
static void ended_in_the_tail(void **state)
{
    static const asynchat_handlers classes[] = {
        { .dispatcher = { .handle_close = chatter_close,
                          .handle_free = chatter_free },
          .handle_frame = chatter_frame,
          .collect_incoming_data = close_in_the_tail },
        { .dispatcher = { .handle_close = chatter_close,
                          .handle_free = chatter_free },
          .handle_frame = chatter_frame,
          .collect_incoming_data = goodbye_in_the_tail },
    };
    world *w = world_of(state);

    for (int done = 0; done < 2; done++) {
        int peer;
        chatter *c = chatter_pair(w, &classes[done], &peer);

        set_delimiter(c, "\r\n");
        say(w, peer, "two\r");
        close(peer);
        run_until(w->map, c->freed > 0);
        assert_string_equal(c->text, done ? "{two\r}<close 0>" : "{two\r}");
        assert_int_equal(c->calls, 1);
        assert_int_equal(c->freed, 1);
    }
}

static char answer[100000];

static void answer_in_the_tail(asynchat *chat, const void *data, size_t size)
{
    chatter_tail(chat, data, size);
    (void)asynchat_push(chat, answer, sizeof answer);
    asynchat_close_when_done(chat, -1);
}

/* The peer, who has finished before, gets all of it. */
static void answered_in_the_tail(void **state)
{
    static const asynchat_handlers answering = {
        .dispatcher = { .handle_close = chatter_close,
                        .handle_free = chatter_free },
        .handle_frame = chatter_frame,
        .collect_incoming_data = answer_in_the_tail,
    };
    static char got[sizeof answer];
    world *w = world_of(state);
    size_t size = 0;
    ssize_t n = 0;
    int peer, small = 4096;
    chatter *c = chatter_pair(w, &answering, &peer);

    setsockopt(base_of(c)->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    set_delimiter(c, "\n");
    peer_write(peer, "two", 3);
    shutdown(peer, SHUT_WR);
    run_until(w->map, c->calls > 0 || strcmp(c->text, "{two}") == 0);
    for (int i = 0; i < 10000 && (n != 0 || size == 0); i++) {
        n = recv(peer, got, sizeof got, MSG_DONTWAIT);
        size += n > 0 ? (size_t)n : 0;
        assert_true(asyncore_poll(w->map, 0) >= 0);
    }
    assert_int_equal(size, sizeof answer);
    assert_string_equal(c->text, "{two}<close 0>");
    close(peer);
}

/* ---- What the class survives ------------------------------------------- */

static int memory_failures;

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_realloc(void *memory, size_t size)
{
    if (memory_failures > 0) {
        memory_failures--;
        errno = ENOMEM;
        return NULL;
    }
    return __real_realloc(memory, size);
}

static const asynchat_handlers surviving_frames = {
    .dispatcher = { .handle_close = chatter_close,
                    .handle_error = chatter_error },
    .handle_frame = chatter_frame,
};

static void say_without_memory(world *w, int peer, const char *text)
{
    memory_failures = 1;
    say(w, peer, text);
    assert_int_equal(memory_failures, 0);
}

/* One frame is lost, not the next. */
static void frame_without_memory(void **state)
{
    world *w = world_of(state);
    char expected[64];
    int peer;
    chatter *c = chatter_pair(w, &surviving_frames, &peer);

    set_delimiter(c, "\n");
    say_without_memory(w, peer, "ab");
    say(w, peer, "c\nde\n");
    snprintf(expected, sizeof expected, "<error %d>[de]", ENOMEM);
    assert_string_equal(c->text, expected);
    chatter_clear(c);
    say(w, peer, "ab");
    say_without_memory(w, peer, "cdefghijkl\n");
    say(w, peer, "m\n");
    snprintf(expected, sizeof expected, "<error %d>[m]", ENOMEM);
    assert_string_equal(c->text, expected);
    finish(c, peer);
}

/* Nothing tells where the next one begins. */
static void counted_frame_without_memory(void **state)
{
    world *w = world_of(state);
    char expected[64];

    snprintf(expected, sizeof expected, "<error %d><close %d>", ENOMEM, ENOMEM);
    for (int held = 0; held < 2; held++) {
        int peer;
        chatter *c = chatter_pair(w, &surviving_frames, &peer);

        asynchat_set_terminator_bytes(&c->chat, 10);
        if (held)
            say(w, peer, "12");
        say_without_memory(w, peer, held ? "34567890" : "12345");
        assert_string_equal(c->text, expected);
        finish(c, peer);
    }
}

/* A failure that the class survives does not end the stream. */
static int failures_left;

static ssize_t failing_recv(asyncore_dispatcher *d, void *data, size_t size)
{
    if (failures_left > 0) {
        failures_left--;
        errno = EIO;
        return -1;
    }
    return recv(d->fd, data, size, 0);
}

static void errors_survived(void **state)
{
    static const asynchat_handlers frames = {
        .dispatcher = { .recv = failing_recv,
                        .handle_close = chatter_close,
                        .handle_error = chatter_error },
        .handle_frame = chatter_frame,
        .collect_incoming_data = chatter_tail,
    };
    static const asynchat_handlers pieces = {
        .dispatcher = { .recv = failing_recv,
                        .handle_close = chatter_close,
                        .handle_error = chatter_error },
        .collect_incoming_data = chatter_collect,
        .found_terminator = chatter_found,
    };
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        char expected[64];
        chatter *c = chatter_pair(w, style == 0 ? &frames : &pieces, &peer);

        failures_left = 0;
        set_delimiter(c, "\r\n");
        say(w, peer, "ab\r");
        failures_left = 1;
        say(w, peer, "\ncd\r\n");
        snprintf(expected, sizeof expected,
                 style == 0 ? "<error %d>[ab][cd]" : "ab<error %d>|cd|", EIO);
        assert_string_equal(c->text, expected);
        finish(c, peer);
    }
}

/* ---- The frame limit --------------------------------------------------- */

static void overflow_closes(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        for (size_t cut = 1; cut < 14; cut++) {
            int peer;
            char expected[32];
            chatter *c = chatter_pair(w, styles[style], &peer);

            c->chat.frame_limit = 10;
            set_delimiter(c, "\n");
            peer_write(peer, "0123456789a\nb\n", cut);
            settle(w);
            if (base_of(c)->fd >= 0)
                send(peer, &"0123456789a\nb\n"[cut], 14 - cut, MSG_NOSIGNAL);
            settle(w);
            snprintf(expected, sizeof expected, "<close %d>", EMSGSIZE);
            assert_non_null(strstr(c->text, expected));
            assert_null(strpbrk(c->text, "[]|ab"));
            assert_int_equal(c->closed, 1);
            assert_int_equal(c->freed, 1);
            finish(c, peer);
        }
    }
}

static const asynchat_handlers overflowing_frames = {
    .dispatcher = { .handle_close = chatter_close,
                    .handle_free = chatter_free },
    .handle_frame = chatter_frame,
    .collect_incoming_data = chatter_tail,
    .handle_overflow = chatter_overflow,
};

static const asynchat_handlers overflowing_pieces = {
    .dispatcher = { .handle_close = chatter_close,
                    .handle_free = chatter_free },
    .collect_incoming_data = chatter_collect,
    .found_terminator = chatter_found,
    .handle_overflow = chatter_overflow,
};

/* The same frames and overflows wherever the stream is cut. A frame may be as
   long as the limit, its delimiter not counted. */
static void overflow_skipped(void **state)
{
    static const char stream[] =
        "ok\r\n0123456789\r\n0123456789\r\r\n0123456789abcdefghijklmnop\r\n"
        "\r\n0123456789A\r\nfine\r\n";
    world *w = world_of(state);
    size_t size = strlen(stream);

    for (int style = 0; style < 2; style++) {
        for (size_t cut = 0; cut <= size; cut++) {
            int peer;
            chatter *c = chatter_pair(
                w, style == 0 ? &overflowing_frames : &overflowing_pieces,
                &peer);

            c->chat.frame_limit = 10;
            set_delimiter(c, "\r\n");
            if (cut == 0) {
                for (size_t i = 0; i < size; i++) {
                    peer_write(peer, stream + i, 1);
                    settle(w);
                }
            } else {
                peer_write(peer, stream, cut);
                settle(w);
                if (cut < size)
                    peer_write(peer, stream + cut, size - cut);
                settle(w);
            }
            if (style == 0) {
                assert_string_equal(c->text,
                                    "[ok][0123456789]<overflow><overflow>[]"
                                    "<overflow>[fine]");
            } else {
                /* Which part of a frame that is too long was given before is
                   the cuts' doing, but never more than the limit. */
                const char *at = c->text;

                assert_memory_equal(at, "ok|0123456789|", 14);
                at += 14;
                for (int i = 0; i < 3; i++) {
                    size_t given = strcspn(at, "<");

                    if (i == 2) {
                        assert_int_equal(*at++, '|');
                        given--;
                    }
                    assert_true(given <= 10);
                    assert_memory_equal(at, "0123456789", given);
                    at += given;
                    assert_memory_equal(at, "<overflow>", 10);
                    at += 10;
                }
                assert_string_equal(at, "fine|");
            }
            finish(c, peer);
        }
    }
}

static void overflow_goes(asynchat *chat)
{
    chatter_overflow(chat);
    asyncore_close(&chat->dispatcher);
}

static void overflow_then_close(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .handle_close = chatter_close,
                        .handle_free = chatter_free },
        .handle_frame = chatter_frame,
        .handle_overflow = overflow_goes,
    };
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &handlers, &peer);

    c->chat.frame_limit = 3;
    set_delimiter(c, "\n");
    say(w, peer, "abcd\nef\n");
    assert_string_equal(c->text, "<overflow>");
    assert_int_equal(c->freed, 1);
    finish(c, peer);
}

/* An overflow whose delimiter never comes is not a frame cut off. */
static void overflow_at_the_end(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &overflowing_frames, &peer);

    c->chat.frame_limit = 3;
    set_delimiter(c, "\r\n");
    say(w, peer, "abcdef\r");
    close(peer);
    run_until(w->map, c->closed > 0);
    assert_string_equal(c->text, "<overflow><close 0>");
    finish(c, -1);
}

static void limits_that_do_not_apply(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &overflowing_frames, &peer);

    c->chat.frame_limit = 3;
    asynchat_set_terminator_bytes(&c->chat, 8);
    say(w, peer, "abcd");
    say(w, peer, "efgh");
    assert_string_equal(c->text, "[abcdefgh]");
    chatter_clear(c);
    asynchat_set_terminator(&c->chat, NULL, 0);
    say(w, peer, "abcdefgh");
    assert_string_equal(c->text, "[abcdefgh]");
    chatter_clear(c);
    c->chat.frame_limit = 0;
    set_delimiter(c, "\n");
    say(w, peer, "abcdefgh");
    say(w, peer, "ijkl\n");
    assert_string_equal(c->text, "[abcdefghijkl]");
    /* Lowered in the middle of a frame that is above it by then. */
    chatter_clear(c);
    say(w, peer, "abcdefgh");
    c->chat.frame_limit = 3;
    say(w, peer, "ijkl\nok\n");
    assert_string_equal(c->text, "<overflow>[ok]");
    finish(c, peer);
}

/* ---- Closing in a handler ---------------------------------------------- */

static void close_at_2(chatter *c, int at)
{
    if (at == 2)
        asyncore_close(base_of(c));
}

static void close_at_b(chatter *c, const char *data, size_t size)
{
    if (memchr(data, 'b', size) != NULL)
        asyncore_close(base_of(c));
}

static void nothing_after_close(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c;

    for (int style = 0; style < 2; style++) {
        c = chatter_pair(w, styles[style], &peer);
        c->on_frame = close_at_2;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\nc\nd\n");
        check(c, "[a][b]");
        assert_int_equal(c->freed, 1);
        assert_int_equal(c->closed, 0);
        finish(c, peer);
    }
    c = chatter_pair(w, &chatter_pieces, &peer);
    c->on_piece = close_at_b;
    set_delimiter(c, "\n");
    say(w, peer, "a\nb\nc\n");
    assert_string_equal(c->text, "a|b");
    assert_int_equal(c->freed, 1);
    finish(c, peer);
}

typedef struct guarded {
    asyncore_dispatcher dispatcher;
    unsigned char guard[256];
} guarded;

static void count_free(asyncore_dispatcher *d)
{
    ((guarded *)d)->guard[0]++;
}

static void close_with_another(chatter *c, int at)
{
    guarded *other = c->arg;

    (void)at;
    asyncore_close(base_of(c));
    asyncore_close(&other->dispatcher);
    if (asynchat_set_terminator(&c->chat, "\n", 1) < 0 ||
        asynchat_set_terminator_bytes(&c->chat, 7) < 0 ||
        asynchat_set_frame_timeout(&c->chat, 1000) == 0)
        c->closed = -1;
}

/* A handler may not know that it was closed, as by a push that failed. What is
   set then touches nobody else who waits for handle_free. */
static void terminator_of_a_closed_one(void **state)
{
    static const asyncore_handlers handlers = { .handle_free = count_free };
    world *w = world_of(state);
    guarded *other = lend(w, sizeof *other);
    int peer, ends[2];

    for (int style = 0; style < 2; style++) {
        chatter *c = chatter_pair(w, styles[style], &peer);

        peer_pair(SOCK_STREAM, ends);
        assert_int_equal(asyncore_dispatcher_init(&other->dispatcher, &handlers,
                                                  ends[0], w->map),
                         0);
        other->guard[0] = 0;
        memset(other->guard + 1, 0xee, sizeof other->guard - 1);
        c->arg = other;
        c->on_frame = close_with_another;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\n");
        check(c, "[a]");
        assert_int_equal(c->freed, 1);
        assert_int_equal(c->closed, 0);
        assert_int_equal(other->guard[0], 1);
        for (size_t i = 1; i < sizeof other->guard; i++)
            assert_int_equal(other->guard[i], 0xee);
        finish(c, peer);
        close(ends[1]);
    }
}

static void done_at_2(chatter *c, int at)
{
    if (at == 2)
        asynchat_close_when_done(&c->chat, DEADLINE_MS);
}

static void nothing_after_close_when_done(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = done_at_2;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\nc\nd\n");
        say(w, peer, "e\n");
        check(c, "[a][b]");
        close(peer);
        run_until(w->map, c->closed > 0);
        assert_string_equal(c->text,
                            style == 0 ? "[a][b]<close 0>" : "a|b|<close 0>");
        finish(c, -1);
    }
}

static void reopen_at_1(chatter *c, int at)
{
    int *ends = c->arg;

    if (at != 1)
        return;
    asyncore_close(base_of(c));
    asyncore_set_socket(base_of(c), ends[0]);
    asynchat_set_terminator(&c->chat, ";", 1);
}

/* What is left of the old connection's input does not go to the new one. */
static void reopened_in_a_handler(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer, ends[2];
        chatter *c = chatter_pair(w, styles[style], &peer);

        peer_pair(SOCK_STREAM, ends);
        c->arg = ends;
        c->on_frame = reopen_at_1;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\nc;d\n");
        say(w, ends[1], "x\ny;");
        check(c, "[a][x\ny]");
        finish(c, peer);
        close(ends[1]);
    }
}

/* ---- Pausing ----------------------------------------------------------- */

static void pause_always(chatter *c, int at)
{
    (void)at;
    pause_reading(c);
}

static void pause_and_resume(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = pause_always;
        set_delimiter(c, "\r\n");
        say(w, peer, "a\r\nb\r\nc\r");
        check(c, "[a]");
        say(w, peer, "\n");
        check(c, "[a]");
        resume_reading(c);
        check(c, "[a]");
        settle(w);
        check(c, "[a][b]");
        resume_reading(c);
        settle(w);
        check(c, "[a][b][c]");
        resume_reading(c);
        settle(w);
        check(c, "[a][b][c]");
        finish(c, peer);
    }
}

static void pause_at_newline(chatter *c, const char *data, size_t size)
{
    (void)data, (void)size;
    pause_reading(c);
}

/* In collect_incoming_data: not even found_terminator runs. */
static bool always(asyncore_dispatcher *d)
{
    (void)d;
    return true;
}

static void pause_each(chatter *c, int at)
{
    (void)at;
    pause_reading(c);
}

/* It replaces the flag. */
static void pause_where_a_predicate_rules(void **state)
{
    static const asynchat_handlers ruled = {
        .dispatcher = { .readable = always, .handle_close = chatter_close },
        .handle_frame = chatter_frame,
    };
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &ruled, &peer);

    c->on_frame = pause_each;
    set_delimiter(c, "\n");
    say(w, peer, "a\nb\nc\nd");
    say(w, peer, "e\n");
    assert_string_equal(c->text, "[a][b][c][de]");
    finish(c, peer);
}

static void pause_in_a_piece(void **state)
{
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &chatter_pieces, &peer);

    c->on_piece = pause_at_newline;
    set_delimiter(c, "\n");
    say(w, peer, "ab\ncd\n");
    assert_string_equal(c->text, "ab");
    resume_reading(c);
    settle(w);
    assert_string_equal(c->text, "ab|cd");
    resume_reading(c);
    settle(w);
    assert_string_equal(c->text, "ab|cd|");
    asynchat_set_terminator_bytes(&c->chat, 3);
    say(w, peer, "xyz");
    assert_string_equal(c->text, "ab|cd|xyz");
    resume_reading(c);
    settle(w);
    assert_string_equal(c->text, "ab|cd|xyz|");
    finish(c, peer);
}

static void pause_and_ask_for_nothing(chatter *c, int at)
{
    if (at == 1) {
        asynchat_set_terminator_bytes(&c->chat, 0);
        pause_reading(c);
    }
}

/* A frame that needs no input is not lost in a pause. */
static void pause_before_an_empty_frame(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = pause_and_ask_for_nothing;
        set_delimiter(c, "\n");
        say(w, peer, "a\n");
        check(c, "[a]");
        resume_reading(c);
        settle(w);
        check(c, "[a][]");
        finish(c, peer);
    }
}

static void off_and_on(chatter *c, int at)
{
    (void)at;
    pause_reading(c);
    resume_reading(c);
}

static void pause_and_resume_in_a_handler(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = off_and_on;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\nc\nd");
        say(w, peer, "\n");
        settle(w);
        check(c, "[a][b][c][d]");
        finish(c, peer);
    }
}

/* What a pause holds is looked at with the terminator that is set by then. */
static void switching_while_paused(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = pause_always;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\n;c");
        set_delimiter(c, ";");
        settle(w);
        check(c, "[a]");
        resume_reading(c);
        settle(w);
        check(c, "[a][b\n]");
        asynchat_discard_buffers(&c->chat);
        resume_reading(c);
        say(w, peer, "d;");
        check(c, "[a][b\n][d]");
        finish(c, peer);
    }
}

static void closed_while_paused(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = pause_always;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\nc\n");
        asyncore_close(base_of(c));
        resume_reading(c);
        settle(w);
        check(c, "[a]");
        assert_int_equal(c->freed, 1);
        close(peer);
    }
}

/* The peer hangs up meanwhile: first what was read, whether it waits here or
   in the kernel, then the end. */
static void hangup_while_paused(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        for (int more = 0; more < 2; more++) {
            int peer;
            chatter *c = chatter_pair(w, styles[style], &peer);

            c->on_frame = pause_always;
            set_delimiter(c, "\n");
            say(w, peer, "a\nb\n");
            if (more)
                peer_write(peer, "c\n", 2);
            close(peer);
            settle(w);
            check(c, "[a]");
            c->on_frame = NULL;
            resume_reading(c);
            run_until(w->map, c->closed > 0);
            if (more)
                check(c, "[a][b][c]<close 0>");
            else
                check(c, "[a][b]<close 0>");
            finish(c, -1);
        }
    }
}

/* And first what the end has cut off, or the beginning of a delimiter. */
static void hangup_in_a_frame(void **state)
{
    static const asynchat_handlers with_tail = {
        .dispatcher = { .handle_close = chatter_close },
        .handle_frame = chatter_frame,
        .collect_incoming_data = chatter_tail,
    };
    static const asynchat_handlers *const classes[] = { &with_tail,
                                                        &chatter_pieces };
    static const char *const sent[] = { "one\r\ntwo", "one\r" };
    static const char *const before[] = { "[one]", "one" };
    static const char *const after[] = { "[one]{two}<close 0>",
                                         "one\r<close 0>" };
    world *w = world_of(state);

    for (int i = 0; i < 2; i++) {
        int peer;
        chatter *c = chatter_pair(w, classes[i], &peer);

        set_delimiter(c, "\r\n");
        say(w, peer, sent[i]);
        asyncore_set_readable(base_of(c), false);
        close(peer);
        settle(w);
        assert_string_equal(c->text, before[i]);
        resume_reading(c);
        run_until(w->map, c->closed > 0);
        assert_string_equal(c->text, after[i]);
        finish(c, -1);
    }
}

/* The same for one that waits for a terminator. */
static void hangup_while_waiting(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        asynchat_set_terminator_bytes(&c->chat, 1);
        say(w, peer, "ab\n");
        close(peer);
        settle(w);
        check(c, "[a]");
        set_delimiter(c, "\n");
        run_until(w->map, c->closed > 0);
        check(c, "[a][b]<close 0>");
        finish(c, -1);
    }
}

static void stop_always(chatter *c, int at)
{
    (void)at;
    asyncore_stop(base_of(c)->map);
}

/* asyncore_stop leaves at once, and loses nothing. */
static void stopped_in_a_handler(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        static const char *const texts[] = { "[a]", "[a][b]", "[a][b][c]" };
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = stop_always;
        set_delimiter(c, "\n");
        peer_write(peer, "a\nb\nc\n", 6);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
            check(c, texts[i]);
        }
        finish(c, peer);
    }
}

/* ---- Nested turns ------------------------------------------------------ */

static world *where;

static void poll_thrice(chatter *c, int at)
{
    (void)c, (void)at;
    for (int i = 0; i < 3; i++)
        asyncore_poll(where->map, 0);
}

static void nested_order(void **state)
{
    world *w = world_of(state);

    where = w;
    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = poll_thrice;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\nc\nd");
        peer_write(peer, "\ne\n", 3);
        settle(w);
        check(c, "[a][b][c][d][e]");
        finish(c, peer);
    }
}

/* What has been read already comes before the end. */
static void nested_and_hung_up(void **state)
{
    world *w = world_of(state);

    where = w;
    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = poll_thrice;
        set_delimiter(c, "\n");
        peer_write(peer, "a\nb\nc\n", 6);
        close(peer);
        run_until(w->map, c->closed > 0);
        check(c, "[a][b][c]<close 0>");
        finish(c, -1);
    }
}

/* ---- Moving to another map ---------------------------------------------- */

static int refused;

static void try_to_leave(chatter *c, int at)
{
    (void)at;
    errno = 0;
    if (asyncore_del_channel(base_of(c)) == -1 && errno == EBUSY)
        refused++;
}

/* The rest of its input, and the answers to it, would stay behind. */
static void not_moved_from_its_handlers(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        refused = 0;
        c->on_frame = try_to_leave;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\nc");
        assert_int_equal(refused, 2);
        c->on_frame = NULL;
        assert_int_equal(asyncore_del_channel(base_of(c)), 0);
        assert_int_equal(asyncore_add_channel(base_of(c), w->map), 0);
        say(w, peer, "d\n");
        check(c, "[a][b][cd]");
        assert_int_equal(asynchat_close_when_done(&c->chat, 1000), 0);
        errno = 0;
        assert_int_equal(asyncore_del_channel(base_of(c)), -1);
        assert_int_equal(errno, EBUSY);
        finish(c, peer);
    }
}

static bool rung;
static int nested_turns;

static void ring(void *arg)
{
    (void)arg;
    rung = true;
}

static void wait_for_the_bell(chatter *c, int at)
{
    asyncore_timer bell = { .map = NULL };

    if (at > 1)
        return;
    peer_write(*(int *)c->arg, "x\ny\n", 4);
    asyncore_call_later(&bell, where->map, 30, ring, NULL);
    while (!rung && nested_turns < 1000) {
        nested_turns++;
        asyncore_poll(where->map, -1);
    }
    asyncore_timer_cancel(&bell);
}

/* A handler that waits for something else is not kept awake by its own input,
   and that comes in its order afterwards. */
static void nested_without_spinning(void **state)
{
    world *w = world_of(state);

    where = w;
    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        rung = false;
        nested_turns = 0;
        c->arg = &peer;
        c->on_frame = wait_for_the_bell;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\n");
        settle(w);
        assert_true(rung);
        assert_true(nested_turns < 10);
        check(c, "[a][b][x][y]");
        finish(c, peer);
    }
}

static void poll_till_closed(chatter *c, int at)
{
    if (at == 1) {
        asyncore_call_soon(where->map, ring, NULL);
        while (!rung)
            asyncore_poll(where->map, -1);
        asyncore_close(base_of(c));
    }
}

static void nested_and_closed(void **state)
{
    world *w = world_of(state);

    where = w;
    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        rung = false;
        c->on_frame = poll_till_closed;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\n");
        check(c, "[a]");
        assert_int_equal(c->freed, 1);
        finish(c, peer);
    }
}

/* Another channel's input, served by a nested turn, has buffers of its own. */
static chatter *other;
static int other_peer;

static void serve_the_other(chatter *c, int at)
{
    (void)at;
    if (c != other) {
        peer_write(other_peer, "other\n", 6);
        for (int i = 0; i < 3; i++)
            asyncore_poll(where->map, 0);
    }
}

static void nested_with_another(void **state)
{
    world *w = world_of(state);

    where = w;
    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        other = chatter_pair(w, styles[style], &other_peer);
        c->on_frame = other->on_frame = serve_the_other;
        set_delimiter(c, "\n");
        set_delimiter(other, "\n");
        say(w, peer, "one\ntwo\nthree\n");
        check(c, "[one][two][three]");
        check(other, "[other][other][other]");
        finish(c, peer);
        finish(other, other_peer);
    }
}

/* ---- Buffers dropped --------------------------------------------------- */

static void discarded(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        set_delimiter(c, "\r\n");
        say(w, peer, "abc\r");
        asynchat_discard_buffers(&c->chat);
        chatter_clear(c);
        say(w, peer, "\nd\r\n");
        check(c, "[\nd]");
        finish(c, peer);
    }
}

static void discard_at_1(chatter *c, int at)
{
    if (at == 1)
        asynchat_discard_buffers(&c->chat);
}

/* Not what is being given just now; and what is gone of a frame of n bytes
   counts as come. */
static void discarded_in_part(void **state)
{
    world *w = world_of(state);

    for (int style = 0; style < 2; style++) {
        int peer;
        chatter *c = chatter_pair(w, styles[style], &peer);

        c->on_frame = discard_at_1;
        set_delimiter(c, "\n");
        say(w, peer, "a\nb\nc");
        say(w, peer, "d\n");
        check(c, "[a][b][cd]");
        asynchat_set_terminator_bytes(&c->chat, 10);
        say(w, peer, "123456");
        asynchat_discard_buffers(&c->chat);
        chatter_clear(c);
        say(w, peer, "abcdef");
        check(c, "[abcd]");
        finish(c, peer);
    }
}

static ssize_t stingy_recv(asyncore_dispatcher *d, void *data, size_t size)
{
    return recv(d->fd, data, size < 2 ? size : 2, 0);
}

/* A transport of the class's own, with data of any size at any time. */
static void transport(void **state)
{
    static const asynchat_handlers handlers = {
        .dispatcher = { .recv = stingy_recv, .handle_close = chatter_close },
        .handle_frame = chatter_frame,
    };
    world *w = world_of(state);
    int peer;
    chatter *c = chatter_pair(w, &handlers, &peer);

    set_delimiter(c, "\r\n");
    say(w, peer, "hello world\r\nagain\r\n");
    close(peer);
    run_until(w->map, c->closed > 0);
    assert_string_equal(c->text, "[hello world][again]<close 0>");
    finish(c, -1);
}

/* One that sends a byte a minute holds nothing up, nor does it get anything
   it should not. */
static void one_slow_one_fast(void **state)
{
    world *w = world_of(state);
    int slow_peer, fast_peer;
    chatter *slow = chatter_pair(w, &chatter_frames, &slow_peer);
    chatter *fast = chatter_pair(w, &chatter_pieces, &fast_peer);

    set_delimiter(slow, "\r\n");
    set_delimiter(fast, "\r\n");
    for (int i = 0; i < 5; i++) {
        peer_write(slow_peer, &"ab\r\n."[i], 1);
        for (int j = 0; j < 20; j++)
            say(w, fast_peer, "x\r\n");
    }
    assert_string_equal(slow->text, "[ab]");
    assert_int_equal(fast->at_frame, 100);
    finish(slow, slow_peer);
    finish(fast, fast_peer);
}

#define HERE(test) \
    { \
#test, test, begin_unix, end_chat, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE(traces),
        HERE(split_everywhere),
        HERE(byte_by_byte),
        HERE(large),
        HERE(switching_in_a_buffer),
        HERE(switching_from_outside),
        HERE(switching_in_a_frame),
        HERE(no_bytes),
        HERE(no_bytes_before_the_connection),
        HERE(styles_switched),
        HERE(switching_after_what_was_held),
        HERE(prefix_at_the_end),
        HERE(bytes_cut_off),
        HERE(cut_off_and_dropped),
        HERE(prefix_before_handle_eof),
        HERE(ended_in_the_tail),
        HERE(answered_in_the_tail),
        HERE(frame_without_memory),
        HERE(counted_frame_without_memory),
        HERE(errors_survived),
        HERE(overflow_closes),
        HERE(overflow_skipped),
        HERE(overflow_then_close),
        HERE(overflow_at_the_end),
        HERE(limits_that_do_not_apply),
        HERE(nothing_after_close),
        HERE(terminator_of_a_closed_one),
        HERE(nothing_after_close_when_done),
        HERE(reopened_in_a_handler),
        HERE(pause_and_resume),
        HERE(pause_where_a_predicate_rules),
        HERE(pause_in_a_piece),
        HERE(pause_before_an_empty_frame),
        HERE(pause_and_resume_in_a_handler),
        HERE(switching_while_paused),
        HERE(closed_while_paused),
        HERE(hangup_while_paused),
        HERE(hangup_in_a_frame),
        HERE(hangup_while_waiting),
        HERE(stopped_in_a_handler),
        HERE(nested_order),
        HERE(nested_and_hung_up),
        HERE(not_moved_from_its_handlers),
        HERE(nested_without_spinning),
        HERE(nested_and_closed),
        HERE(nested_with_another),
        HERE(discarded),
        HERE(discarded_in_part),
        HERE(transport),
        HERE(one_slow_one_fast),
    };

    return cmocka_run_group_tests_name("asynchat_input", tests, NULL, NULL);
}
