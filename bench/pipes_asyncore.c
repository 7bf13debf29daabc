/*
 * pipes_asyncore.c - the ring with plain dispatchers, which read with
 * asyncore_recv. Its timeouts are lazy by themselves, so that timeout and lazy
 * are the same. In the modes that begin with bare- they read with recv(2), as
 * the other libraries' do, and put a timeout off by hand: see pipes.h.
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

static inline void relay_bare(asyncore_dispatcher *d)
{
    const pipe_end *end = &reader_of(d)->end;

    if (pass_on(end, take(end)))
        asyncore_stop(d->map);
}

static void bare(asyncore_dispatcher *d)
{
    relay_bare(d);
}

static void bare_toggle(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, false);
    asyncore_set_readable(d, true);
    relay_bare(d);
}

static void bare_timeout(asyncore_dispatcher *d)
{
    (void)asyncore_set_timeout(d, IDLE_MS);
    relay_bare(d);
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

static const asyncore_handlers bare_reader = {
    .name = "bare",
    .handle_read = bare,
    .handle_close = closed,
};

static const asyncore_handlers bare_toggling_reader = {
    .name = "bare toggle",
    .handle_read = bare_toggle,
    .handle_close = closed,
};

static const asyncore_handlers bare_patient_reader = {
    .name = "bare timeout",
    .handle_read = bare_timeout,
    .handle_close = closed,
};

static const struct {
    const char *name;
    const asyncore_handlers *handlers;
    bool timeout;
} modes[] = {
    { "plain", &plain_reader, false },
    { "toggle", &toggling_reader, false },
    { "timeout", &plain_reader, true },
    { "lazy", &plain_reader, true },
    { "bare-plain", &bare_reader, false },
    { "bare-toggle", &bare_toggling_reader, false },
    { "bare-timeout", &bare_patient_reader, true },
    { "bare-lazy", &bare_patient_reader, true },
};

int main(int argc, char **argv)
{
    reader *all = open_pipes(argc, argv, sizeof *all, offsetof(reader, end));
    const asyncore_handlers *handlers = NULL;
    bool timeout = false;
    int i;

    for (i = 0; i < (int)(sizeof modes / sizeof modes[0]); i++) {
        if (is_mode(modes[i].name)) {
            handlers = modes[i].handlers;
            timeout = modes[i].timeout;
        }
    }
    if (handlers == NULL)
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
