/*
 * chatter.c - see chatter.h.
 */
#include "chatter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static chatter *all;

static void write_down(chatter *c, const void *data, size_t size)
{
    if (c->size + size + 1 > c->room) {
        size_t room = (c->size + size + 1) * 2;
        char *text = realloc(c->text, room);

        if (text == NULL)
            abort();
        c->text = text;
        c->room = room;
    }
    if (size > 0)
        memcpy(c->text + c->size, data, size);
    c->size += size;
    c->text[c->size] = '\0';
}

static void mark(chatter *c, const char *text)
{
    if (!c->bare)
        write_down(c, text, strlen(text));
}

static void mark_number(chatter *c, const char *what, int number)
{
    char text[64];

    snprintf(text, sizeof text, "<%s %d>", what, number);
    mark(c, text);
}

static chatter *of(asyncore_dispatcher *d)
{
    return (chatter *)d;
}

void chatter_connect(asyncore_dispatcher *d)
{
    mark(of(d), "<connect>");
}

void chatter_eof(asyncore_dispatcher *d)
{
    mark(of(d), "<eof>");
}

void chatter_error(asyncore_dispatcher *d, int error)
{
    mark_number(of(d), "error", error);
}

void chatter_close(asyncore_dispatcher *d)
{
    of(d)->closed++;
    mark_number(of(d), "close", d->error);
}

void chatter_drain(asyncore_dispatcher *d)
{
    mark(of(d), "<drain>");
}

void chatter_free(asyncore_dispatcher *d)
{
    of(d)->freed++;
}

void chatter_log(asyncore_dispatcher *d, const char *message, const char *type)
{
    (void)d, (void)message, (void)type;
}

void chatter_frame(asynchat *chat, const void *data, size_t size)
{
    chatter *c = chatter_of(chat);

    c->calls++;
    mark(c, "[");
    write_down(c, data, size);
    mark(c, "]");
    c->at_frame++;
    if (c->on_frame != NULL)
        c->on_frame(c, c->at_frame);
}

void chatter_collect(asynchat *chat, const void *data, size_t size)
{
    chatter *c = chatter_of(chat);

    c->calls++;
    c->empty += size == 0;
    write_down(c, data, size);
    if (c->on_piece != NULL)
        c->on_piece(c, data, size);
}

void chatter_found(asynchat *chat)
{
    chatter *c = chatter_of(chat);

    c->calls++;
    mark(c, "|");
    c->at_frame++;
    if (c->on_frame != NULL)
        c->on_frame(c, c->at_frame);
}

void chatter_tail(asynchat *chat, const void *data, size_t size)
{
    chatter *c = chatter_of(chat);

    c->empty += size == 0;
    if (c->size > 0 && c->text[c->size - 1] == '}')
        c->size--;
    else
        mark(c, "{");
    write_down(c, data, size);
    mark(c, "}");
}

void chatter_overflow(asynchat *chat)
{
    mark(chatter_of(chat), "<overflow>");
}

const asynchat_handlers chatter_frames = {
    .dispatcher =
        {
            .name = "chatter",
            .handle_connect = chatter_connect,
            .handle_close = chatter_close,
            .handle_drain = chatter_drain,
            .handle_free = chatter_free,
            .log_info = chatter_log,
        },
    .handle_frame = chatter_frame,
    .collect_incoming_data = chatter_tail,
};

const asynchat_handlers chatter_pieces = {
    .dispatcher =
        {
            .name = "chatter",
            .handle_connect = chatter_connect,
            .handle_close = chatter_close,
            .handle_drain = chatter_drain,
            .handle_free = chatter_free,
            .log_info = chatter_log,
        },
    .collect_incoming_data = chatter_collect,
    .found_terminator = chatter_found,
};

int end_chat(void **state)
{
    int result = end_world(state);

    while (all != NULL) {
        chatter *c = all;
        all = c->next;
        free(c->text);
        free(c);
    }
    return result;
}

chatter *new_chatter(void)
{
    chatter *c = calloc(1, sizeof *c);

    assert_non_null(c);
    c->next = all;
    all = c;
    chatter_clear(c);
    return c;
}

chatter *chatter_pair(world *w, const asynchat_handlers *handlers, int *peer)
{
    chatter *c = new_chatter();
    int ends[2];

    peer_pair(SOCK_STREAM, ends);
    *peer = ends[1];
    assert_int_equal(asynchat_init(&c->chat, handlers, ends[0], w->map), 0);
    return c;
}

chatter *chatter_tcp(world *w, const asynchat_handlers *handlers, int *peer)
{
    chatter *c = new_chatter();
    int family = w->family, listener;
    asyncore_address at;

    w->family = AF_INET;
    listener = peer_listen(w, &at);
    w->family = family;
    *peer = peer_connect(&at);
    assert_int_equal(
        asynchat_init(&c->chat, handlers, peer_accept(listener), w->map), 0);
    close(listener);
    return c;
}

void chatter_clear(chatter *c)
{
    c->size = 0;
    write_down(c, "", 0);
}

void settle(world *w)
{
    run_turns(w->map, 4);
}

void say(world *w, int peer, const char *text)
{
    peer_write(peer, text, strlen(text));
    settle(w);
}
