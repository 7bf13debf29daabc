/*
 * recorder.h - a dispatcher that remembers which of its handlers ran.
 *
 * A test's class is a table of these handlers and its own; what it leaves to
 * the library's defaults shows in ran.warning, because they all log a line.
 * Handlers never assert: a failing assertion jumps out of the library, which
 * then would have to be torn down from the middle of a turn.
 */
#ifndef TESTS_SUPPORT_RECORDER_H
#define TESTS_SUPPORT_RECORDER_H

#include "world.h"

typedef struct recorder {
    union {
        asyncore_dispatcher dispatcher;
        asyncore_dispatcher_with_send with_send;
        asyncore_file_dispatcher file;
    };
    struct {
        int read, write, expt, connect, accept, accepted;
        int close, eof, error, drain, free, warning;
    } ran;
    int error;       /* what handle_error was told last */
    int close_error; /* d->error as the last handle_close saw it */
    bool flag;       /* what the test waits for */
    void *arg;       /* the test's own */
    char log[1200];  /* the last line logged, "type: message" */
    char data[4096]; /* what record_read received: its first bytes */
    size_t size;     /* how much it received in all */
} recorder;

static inline recorder *recorder_of(asyncore_dispatcher *d)
{
    return (recorder *)d;
}

void record_read(asyncore_dispatcher *d); /* one recv */
void record_write(asyncore_dispatcher *d);
void record_expt(asyncore_dispatcher *d);
void record_connect(asyncore_dispatcher *d);
void record_accept(asyncore_dispatcher *d); /* then the default */
void record_accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer); /* closes fd */
void record_close(asyncore_dispatcher *d);
void record_eof(asyncore_dispatcher *d);
void record_error(asyncore_dispatcher *d, int error); /* and no more */
void record_drain(asyncore_dispatcher *d);
void record_free(asyncore_dispatcher *d);
void record_log(asyncore_dispatcher *d, const char *message);
void record_log_info(asyncore_dispatcher *d, const char *message,
                     const char *type);

/* All of them, but for eof, expt and accept, which change what is watched. */
extern const asyncore_handlers recorder_handlers;

#endif
