/*
 * random.h - the model of test_random.c: some fifty souls, each with a
 * dispatcher, or an asynchat, and a peer.
 */
#ifndef TESTS_RANDOM_RANDOM_H
#define TESTS_RANDOM_RANDOM_H

#include "support/ends.h"

#include <asynchat.h>

enum { SOULS = 50, PERIOD = 251 };

typedef enum class_of {
    PLAIN,
    ASKED,  /* it has predicates */
    HALVES, /* it has handle_eof */
    CLASSES
} class_of;

typedef struct body {
    union {
        asyncore_dispatcher_with_send w;
        asynchat chat;
    };
    int id;
} body;

/* How a frame ends, as the model has it. */
typedef struct ending {
    enum { NOWHERE, AT_DELIMITER, AFTER_BYTES, SPENT } at;
    const char *delimiter;
    size_t size; /* of the delimiter, or bytes to come */
} ending;

typedef struct soul {
    body *a;           /* NULL: its memory was given back */
    asyncore_map *map; /* NULL: in none */
    int peer;          /* -1: none */
    int life;          /* which one */
    bool with_free, tcp;
    bool open, ending, awaiting, evicted, connecting, shut;
    bool limbo;            /* closed by the library, its memory is still ours */
    size_t written, read;  /* from the peer */
    size_t sent, received; /* by it */
    bool chat;
    ending frame;
    size_t since;  /* where its delimiter may begin, at the earliest */
    bool skipping; /* after an overflow */
    bool lost;     /* nobody knows where its input is */
    bool cut;      /* nor its output */
    bool draining; /* after asynchat_close_when_done */
    bool naming;   /* its peer is known when it is connected */
} soul;

extern struct play {
    world *w;
    asyncore_map *map, *other_map;
    soul souls[SOULS];
    uint32_t random;
    uint32_t trouble; /* of so many calls one meets trouble.c; 0: none */
    int inside;       /* handlers on the stack */
    int deep;         /* turns within turns */
    bool calm;        /* handlers do nothing but their work */
    bool stopped;
    soul *stopper; /* its predicate did that */
    int listener;
    asyncore_address address;
    int steps, handlers;
    int file;
    int sources; /* producers that were not freed */
} play;

/* ---- souls.c: chance, and lives ---------------------------------------- */

uint32_t any(uint32_t below);
bool chance(uint32_t in);

/* The byte at that place of what a soul reads (0) or sends (1). */
unsigned char byte_at(const soul *s, int way, size_t place);

soul *soul_of(const asyncore_dispatcher *d);
asyncore_dispatcher *dispatcher_of(const soul *s);

void drop_peer(soul *s);
void give_back(soul *s); /* its memory */
void over(soul *s);      /* it is closed, and may await handle_free */
void close_soul(soul *s);

/* A new life, of a new body or the one that is there: with the descriptor and
   the peer of a connection, or with any. */
void adopt_soul(soul *s, int fd, int peer);
void open_soul(soul *s);

/* s loses its number to another, behind the library's back. */
void evict(soul *s, soul *newcomer);

/* ---- chats.c: those who chat ------------------------------------------- */

extern const asynchat_handlers chat_classes[CLASSES][2];

void something_of_chats(soul *s);
void say_goodbye(soul *s);

/* Whether all that was written has been given, as far as its class takes it,
   at an end that is orderly. */
void check_end_of_chat(const soul *s, const char *name);

/* A file of which the byte at each place is what a chat sends at that place. */
int repeating_file(void);

/* ---- others.c: what else there is -------------------------------------- */

void begin_others(void);
void end_others(void);
void end_names(void);
void something_else(void);

/* Connects s, by the name of its peer; the peer that it has then. */
void connect_by_name(soul *s);
int peer_by_name(const asyncore_dispatcher *d);

/* Of those whose souls have gone. */
void drop_strangers(void);
size_t others_in_map(void);

/* ---- test_random.c ----------------------------------------------------- */

/* One of those for s, with handle_free or without. */
const asyncore_handlers *any_class(const soul *s);

/* Something may happen to anybody; from the loop, too. */
void mischief(void);
void call(void *arg);

/* Around a handler; name is for complaints. */
soul *begin(const asyncore_dispatcher *d, const char *name);
void end(void);

void on_connect(asyncore_dispatcher *d);
void on_close(asyncore_dispatcher *d);
void on_eof(asyncore_dispatcher *d);
void on_stop(asyncore_dispatcher *d);
void on_error(asyncore_dispatcher *d, int error);
void on_drain(asyncore_dispatcher *d);
void on_free(asyncore_dispatcher *d);
void on_log(asyncore_dispatcher *d, const char *message, const char *type);

#endif
