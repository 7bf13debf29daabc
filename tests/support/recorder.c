/*
 * recorder.c - see recorder.h.
 */
#include "recorder.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void record_read(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);
    char data[65536];
    ssize_t n;

    r->ran.read++;
    n = asyncore_recv(d, data, sizeof data);
    if (n <= 0)
        return;
    if (r->size < sizeof r->data) {
        size_t room = sizeof r->data - r->size;
        size_t part = (size_t)n < room ? (size_t)n : room;

        memcpy(r->data + r->size, data, part);
    }
    r->size += (size_t)n;
}

void record_write(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.write++;
}

void record_expt(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.expt++;
}

void record_connect(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.connect++;
}

void record_accept(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.accept++;
    asyncore_base(d)->handle_accept(d);
}

void record_accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    (void)peer;
    recorder_of(d)->ran.accepted++;
    close(fd);
}

void record_close(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.close++;
    recorder_of(d)->close_error = d->error;
}

void record_eof(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.eof++;
}

void record_error(asyncore_dispatcher *d, int error)
{
    recorder_of(d)->ran.error++;
    recorder_of(d)->error = error;
}

void record_drain(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.drain++;
}

void record_free(asyncore_dispatcher *d)
{
    recorder_of(d)->ran.free++;
}

void record_log(asyncore_dispatcher *d, const char *message)
{
    recorder *r = recorder_of(d);

    snprintf(r->log, sizeof r->log, "log: %s", message);
}

void record_log_info(asyncore_dispatcher *d, const char *message,
                     const char *type)
{
    recorder *r = recorder_of(d);

    r->ran.warning += strcmp(type, "warning") == 0;
    snprintf(r->log, sizeof r->log, "%s: %s", type, message);
}

const asyncore_handlers recorder_handlers = {
    .name = "recorder",
    .handle_read = record_read,
    .handle_write = record_write,
    .handle_connect = record_connect,
    .handle_accepted = record_accepted,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_drain = record_drain,
    .handle_free = record_free,
    .log = record_log,
    .log_info = record_log_info,
};
