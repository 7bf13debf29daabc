/*
 * pipes_asyncore.c - the ring with plain dispatchers, which read with
 * asyncore_recv. Its timeouts are lazy by themselves, so that timeout and lazy
 * are the same: see pipes.h.
 */
#include "pipes.h"

#include <asyncore.h>

typedef struct reader {
    pipe_end end;
    asyncore_dispatcher dispatcher;
} reader;

static inline reader *reader_of(asyncore_dispatcher *d)
{
    return (reader *)(void *)((char *)d - offsetof(reader, dispatcher));
}

static inline void relay(asyncore_dispatcher *d)
{
    char byte;

    if (asyncore_recv(d, &byte, 1) == 1 && pass_on(&reader_of(d)->end, byte))
        asyncore_stop(d->map);
}

static void plain(asyncore_dispatcher *d)
{
    relay(d);
}

static void toggle(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, false);
    asyncore_set_readable(d, true);
    relay(d);
}

static void closed(asyncore_dispatcher *d)
{
    char text[ASYNCORE_REPR_TEXT];

    fprintf(stderr, "%s: over\n", asyncore_repr(d, text, sizeof text));
    exit(1);
}

static const asyncore_handlers plain_reader = {
    .name = "plain",
    .handle_read = plain,
    .handle_close = closed,
};

static const asyncore_handlers toggling_reader = {
    .name = "toggle",
    .handle_read = toggle,
    .handle_close = closed,
};

int main(int argc, char **argv)
{
    reader *all = open_pipes(argc, argv, sizeof *all, offsetof(reader, end));
    const asyncore_handlers *handlers = &plain_reader;
    bool timeout = is_mode("timeout") || is_mode("lazy");
    int i;

    if (is_mode("toggle"))
        handlers = &toggling_reader;
    else if (!is_mode("plain") && !timeout)
        usage(argv[0]);
    for (i = 0; i < pipes; i++) {
        asyncore_dispatcher *d = &all[i].dispatcher;
        if (asyncore_dispatcher_init(d, handlers, all[i].end.fd, NULL) < 0)
            die("asyncore_dispatcher_init");
        if (timeout && asyncore_set_timeout(d, IDLE_MS) < 0)
            die("asyncore_set_timeout");
    }
    start_pipes();
    if (asyncore_loop(NULL, -1, -1) < 0)
        die("asyncore_loop");
    return 0;
}
