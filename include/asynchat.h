/*
 * asynchat.h - Python's asynchat for C programs: the reference manual of
 * framing and queued output. It stands on asyncore.h, whose five rules and
 * conventions hold here too.
 *
 * An asynchat turns the byte stream of a connection into frames, and a queue
 * of pieces into writes.
 *
 * Input. The terminator says where a frame ends: at a delimiter of any length,
 * after n bytes, or nowhere. It may be switched at any time, above all in the
 * handler that was just given a frame: a header line by its delimiter, then a
 * body by its length, then the next header, all from one buffer.
 *
 *     static void got_frame(asynchat *chat, const void *data, size_t size)
 *     {
 *         struct session *s = (struct session *)chat;
 *         if (s->in_body) {
 *             store(s, data, size);
 *             asynchat_set_terminator(chat, "\r\n", 2);
 *         } else {
 *             asynchat_set_terminator_bytes(chat, body_size(data, size));
 *         }
 *         s->in_body = !s->in_body;
 *     }
 *
 * A class takes its input in one of two ways. With handle_frame it is given
 * each frame whole and without its delimiter. With collect_incoming_data and
 * found_terminator, as in Python, it is given the pieces of a frame as they
 * come and then told that the frame has ended; nothing is held for it, so a
 * frame may be larger than memory.
 *
 * Output. asynchat_push and asynchat_push_shared send at once what the kernel
 * takes; the rest is queued, and goes out as there is room, several pieces in
 * a call. What a handler pushes with asynchat_push while it is given input is
 * sent together when the input is used up, or before a piece of another kind:
 * sixteen answers to sixteen requests that came together make one call. Files
 * and producers are sent from the loop. asyncore_queued tells how much waits,
 * and handle_drain runs as for a dispatcher_with_send. asyncore_send is
 * asynchat_push, and asyncore_shutdown half-closes behind what is queued.
 *
 * Pausing. asyncore_set_readable(&chat->dispatcher, false) stops the delivery
 * at once, in the middle of a buffer too; what has been read is kept and is
 * delivered first, in a later turn, when it is set true again.
 */
#ifndef ASYNCHAT_H
#define ASYNCHAT_H

#include <asyncore.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct asynchat asynchat;

/*
 * A class's table: that of asyncore.h, of which handle_read and handle_write
 * are best left alone, and what is asynchat's. Defaults that differ from
 * asyncore's: handle_close says nothing.
 */
typedef struct asynchat_handlers {
    asyncore_handlers dispatcher;

    /*
     * A frame, whole, without its delimiter; for a terminator of n bytes, n
     * bytes; without a terminator, whatever has come. data lives until the
     * handler returns or runs a nested asyncore_poll, and is not copied where
     * the frame came in one piece. Where there is no memory for one that did
     * not, handle_error is told (ENOMEM), and who survives that is given the
     * next one, if a delimiter ends it; else the connection ends.
     */
    void (*handle_frame)(asynchat *chat, const void *data, size_t size);

    /*
     * In a class without handle_frame: a piece of the frame, never empty, on
     * the same terms. Default: dropped. In a class that has both: what the end
     * of the stream has cut off, a frame without its terminator; default:
     * dropped.
     */
    void (*collect_incoming_data)(asynchat *chat, const void *data,
                                  size_t size);

    /* In a class without handle_frame: the frame has ended. */
    void (*found_terminator)(asynchat *chat);

    /*
     * A frame has grown over frame_limit without its delimiter. The bytes of
     * it held for handle_frame are dropped when the handler returns, and so is
     * what follows, up to the delimiter, for which found_terminator does not
     * run; then all goes on. Default:
     * handle_error with EMSGSIZE, which closes.
     */
    void (*handle_overflow)(asynchat *chat);

    /*
     * A frame has begun, and is not complete after as long as
     * asynchat_set_frame_timeout said. The frame has another period. Default:
     * handle_close with d->error ETIMEDOUT, whatever the class's
     * handle_timeout does, which is for silence.
     */
    void (*handle_frame_timeout)(asynchat *chat);
} asynchat_handlers;

/* An asynchat is a dispatcher: &chat->dispatcher goes wherever one is taken,
   and a handler's d may be cast to asynchat *. */
struct asynchat {
    asyncore_dispatcher dispatcher;

    /* Yours. */
    size_t limit;       /* of queued output, see handle_drain; 65536 at first */
    size_t frame_limit; /* of a frame ended by a delimiter; 65536 at first, 0:
                           none */

    /* Private: see asynchat_parser.h and asynchat_output.c. */
    const char *delimiter; /* NULL: the frame ends otherwise */
    unsigned mode;         /* the delimiter's size, or how it ends */
    unsigned matched;      /* of the delimiter, at the end of the input */
    size_t count;          /* bytes of the frame: come so far, or to come */
    union {
        struct asynchat__input *input; /* held back; NULL: nothing */
        asyncore_timer *linger;        /* after close_when_done; NULL: none */
    };
    struct asyncore__outqueue *output; /* queued; NULL: nothing */
};

/*
 * As asyncore_dispatcher_init. There is no terminator at first: everything is
 * delivered as it comes.
 */
ASYNCORE_API int asynchat_init(asynchat *chat,
                               const asynchat_handlers *handlers, int fd,
                               asyncore_map *map);

/*
 * From here on frames end at the delimiter: size bytes that must stay as they
 * are until another terminator is set or chat is closed (a string literal
 * does). NULL or size 0: no terminator. Input held back is looked at with the
 * new terminator. EINVAL: size is over 32768; ENOMEM, the old one is kept,
 * possible only outside asynchat's own handlers.
 */
ASYNCORE_API int asynchat_set_terminator(asynchat *chat, const void *delimiter,
                                         size_t size);

/*
 * The next frame is n bytes, 0 included: an empty frame follows then. When it
 * has been delivered and its handler has set no other terminator, nothing is
 * read until one is set. ENOMEM as above.
 */
ASYNCORE_API int asynchat_set_terminator_bytes(asynchat *chat, size_t n);

/*
 * The delimiter, with its size in *size; or NULL, with the bytes that the
 * frame still lacks in *size, or SIZE_MAX when there is no terminator.
 */
ASYNCORE_API const void *asynchat_get_terminator(const asynchat *chat,
                                                 size_t *size);

/*
 * handle_frame_timeout when a frame is not complete so many milliseconds after
 * its first byte, however steadily it comes: a peer that sends a byte a minute
 * is never silent, and this ends it. -1: never (as at first). What comes
 * between frames does not count, which is for asyncore_set_timeout, nor does
 * what comes without a terminator. A frame that is skipped after
 * handle_overflow is still the same.
 *
 * A frame begins anew, and with it its time, when its terminator is replaced
 * before it is complete, and when reading goes on after a pause: then the peer
 * is not to blame. Another time holds for the frame that has begun; to set the
 * first for one that has, counts from its next byte.
 *
 * A frame costs stores, not a timer: the clock is that of the turn. It ends
 * with the connection, and when chat leaves its map. EBADF: chat is in no map;
 * ENOMEM.
 */
ASYNCORE_API int asynchat_set_frame_timeout(asynchat *chat, int64_t timeout_ms);

/* ---- Output ------------------------------------------------------------ */

/*
 * The push functions return 0, or -1 with errno: EBADF, chat is closed;
 * ESHUTDOWN, after asynchat_close_when_done or asyncore_shutdown; ENOTCONN,
 * not connected nor connecting; ENOMEM, which has run handle_error; or why the
 * connection has ended, which has run handle_close. They may be used while
 * connecting. What a push has taken is sent in spite of an error that
 * handle_error survives. Run handlers.
 */

/* Queues a copy of size bytes. */
ASYNCORE_API int asynchat_push(asynchat *chat, const void *data, size_t size);

/*
 * Bytes that many channels of a thread share: a broadcast to ten thousand
 * holds one copy. _new copies data and gives you one reference, which _free
 * drops (NULL is fine); each push holds one of its own for as long as it needs
 * it. NULL and ENOMEM.
 */
typedef struct asynchat_shared asynchat_shared;

ASYNCORE_API asynchat_shared *asynchat_shared_new(const void *data,
                                                  size_t size);
ASYNCORE_API void asynchat_shared_free(asynchat_shared *shared);
ASYNCORE_API int asynchat_push_shared(asynchat *chat, asynchat_shared *shared);

/*
 * Queues size bytes of the file fd from offset on, without reading them into
 * memory where the system can (sendfile(2)). fd, a regular file, becomes
 * chat's, also when the call fails, and is closed when done with. A file that
 * turns out shorter is handle_error with EIO: the peer cannot be told.
 */
ASYNCORE_API int asynchat_push_file(asynchat *chat, int fd, int64_t offset,
                                    int64_t size);

/*
 * A source of output that is asked when there is room for more. Embed it as
 * the first member of your own.
 *
 * more: writes up to size bytes to data and returns how many; 0: that was
 * all; -1: errno is EAGAIN for "none now", after which it is not asked again
 * before asynchat_producer_resume, or else the error, which goes to
 * handle_error. It may not close chat. free: chat is done with the producer,
 * or has been closed before it was; exactly once, also when the push fails.
 * NULL: nothing to do.
 */
typedef struct asynchat_producer asynchat_producer;

struct asynchat_producer {
    ssize_t (*more)(asynchat_producer *producer, void *data, size_t size);
    void (*free)(asynchat_producer *producer);
};

ASYNCORE_API int asynchat_push_with_producer(asynchat *chat,
                                             asynchat_producer *producer);

/* The producer that said EAGAIN has something again; it is asked from the
   loop. */
ASYNCORE_API void asynchat_producer_resume(asynchat *chat);

/*
 * Sends what is queued, half-closes, waits for the peer to close too, and ends
 * with handle_close; but no longer than linger_ms altogether (-1: for ever),
 * after which handle_close runs with d->error ETIMEDOUT. Input is dropped from
 * now on. Waiting for the peer is what makes sure that it gets everything: to
 * close with input unread would reset the connection (RFC 1122, 4.2.2.13). A
 * push returns -1 and ESHUTDOWN. Calling it again changes nothing. EBADF: chat
 * is in no map; ENOTCONN, ENOMEM.
 */
ASYNCORE_API int asynchat_close_when_done(asynchat *chat, int linger_ms);

/*
 * Drops what is queued and what input is held back. Data of which a part was
 * sent is cut off there: for a connection that is to be closed. A half-close
 * that waited behind what was queued takes place. What is dropped of a frame
 * of n bytes counts as come, and a handler that is being given input goes on
 * to be given the rest of what was read.
 */
ASYNCORE_API void asynchat_discard_buffers(asynchat *chat);

#ifdef __cplusplus
}
#endif

#endif
