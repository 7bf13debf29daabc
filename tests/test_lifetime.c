/*
 * test_lifetime.c - rule 2: anything may be closed, freed, opened anew, moved
 * or stopped from any handler.
 *
 * A matrix. A row is a way into user code (a handler, a predicate, a posted
 * call), a column is something done there. One body runs all of it: it builds
 * a map with a subject, whose handler it is, among others that are ready in
 * the same batch, does the deed, and lets the loop go on until nothing is owed
 * any more. What was promised is checked by every handler as it begins, and at
 * the end. Memory goes back as early as the rule allows, overwritten first, so
 * that a late look is seen.
 *
 * Handlers never assert, for a failing assertion would jump out of the
 * library: they complain, and the body fails.
 */
#include "support/ends.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ROOM = 96, CLIENTS = 4, FLOOD = 1000000 };

/* ---- The stage --------------------------------------------------------- */

typedef struct actor {
    asyncore_dispatcher_with_send w;
    int id;
} actor;

/* What is known of an actor, which outlives its memory. */
typedef struct record {
    actor *a;          /* NULL: its memory was given back */
    asyncore_map *map; /* NULL: in none */
    int peer;          /* the other end, or -1 */
    int due;           /* bytes that it has yet to read */
    int ends;          /* handle_close in this life of its */
    int class_of;      /* a kind: that of its table */
    bool with_free;    /* its class has handle_free */
    bool open;         /* handlers may run */
    bool ending;       /* and handle_close does */
    bool awaiting;     /* handle_free is due */
    bool quiet;        /* nothing can have happened to it */
    bool connect_due;
    bool deaf;    /* its class did not read when it was opened */
    bool evicted; /* its number was taken over */
} record;

typedef enum kind {
    IN_READABLE,
    IN_WRITABLE,
    IN_READ,
    IN_WRITE,
    IN_EXPT,
    IN_CONNECT,
    IN_ACCEPT,
    IN_ACCEPTED,
    IN_CLOSE,
    IN_CLOSE_REFUSED,
    IN_CLOSE_HUNG_UP,
    IN_CLOSE_EVICTED,
    IN_CLOSE_SEND,
    IN_CLOSE_LOST,
    IN_EOF,
    IN_ERROR,
    IN_ERROR_LOST,
    IN_ERROR_SHORTAGE,
    IN_DRAIN,
    IN_FREE,
    IN_LOG,
    IN_LOG_READ,
    IN_LOG_CLOSE,
    IN_LOG_ERROR,
    IN_CALL,
    KINDS
} kind;

static struct {
    record actors[ROOM];
    int count;
    asyncore_map *map, *other_map; /* NULL: freed */
    kind kind;
    int subject;
    void (*deed)(int self);
    bool done;    /* the deed is */
    bool stopped; /* and the loop has not been left since */
    int inside;   /* handlers on the stack */
    int listener; /* somebody to connect to, who never accepts */
    asyncore_address address;
    int clients[CLIENTS];
    struct rlimit limit; /* what to go back to; 0: nothing was changed */
} stage;

static asyncore_handlers tables[KINDS][2];

static void give_bytes(int id)
{
    record *r = &stage.actors[id];

    r->quiet = false;
    if (send(r->peer, "x", 1, MSG_NOSIGNAL) == 1)
        r->due++;
}

/* ---- The actors -------------------------------------------------------- */

static record *record_of(const asyncore_dispatcher *d)
{
    return &stage.actors[((const actor *)(const void *)d)->id];
}

static asyncore_dispatcher *dispatcher_of(int id)
{
    return &stage.actors[id].a->w.dispatcher;
}

static void give_back(record *r)
{
    if (r->a == NULL)
        return;
    memset(r->a, 0xee, sizeof *r->a);
    free(r->a);
    r->a = NULL;
}

/* Its new life begins. */
static void opened(record *r, asyncore_map *map, int peer)
{
    shut(&r->peer);
    r->peer = peer;
    r->map = map;
    r->due = r->ends = 0;
    r->open = r->quiet = true;
    r->ending = r->awaiting = r->connect_due = r->evicted = false;
    r->deaf = r->class_of == IN_LOG_READ;
}

/* Its life is over, whoever ended it. */
static void over(record *r)
{
    if (!r->open)
        return;
    r->open = r->ending = r->connect_due = false;
    r->awaiting = r->with_free;
    r->due = 0;
    r->map = NULL;
}

/* On the stage, not yet in a map. */
static int enter_stage(kind k, bool with_free, bool with_send)
{
    int id = stage.count++, result;
    record *r = &stage.actors[id];

    memset(r, 0, sizeof *r);
    r->peer = -1;
    r->class_of = (int)k;
    r->with_free = with_free;
    r->a = calloc(1, sizeof *r->a);
    r->a->id = id;
    result = with_send ? asyncore_dispatcher_with_send_init(
                             &r->a->w, &tables[k][with_free], -1, stage.map)
                       : asyncore_dispatcher_init(&r->a->w.dispatcher,
                                                  &tables[k][with_free], -1,
                                                  stage.map);
    if (result < 0)
        complain("init: %s", strerror(errno));
    return id;
}

/* fd becomes its descriptor. */
static void take(int id, int fd, int peer)
{
    record *r = &stage.actors[id];

    if (asyncore_set_socket(dispatcher_of(id), fd) < 0) {
        complain("set_socket: %s", strerror(errno));
        close(peer);
        return;
    }
    opened(r, stage.map, peer);
}

static int add(kind k, bool with_free)
{
    int id = enter_stage(k, with_free, stage.count % 2 == 0), ends[2];

    stream_pair(ends);
    take(id, ends[0], ends[1]);
    return id;
}

/* asyncore_close, and its memory goes back as early as the rule says. */
static void close_actor(int id)
{
    record *r = &stage.actors[id];
    bool was_open = r->open;

    if (r->a == NULL)
        return;
    over(r);
    asyncore_close(dispatcher_of(id));
    if (dispatcher_of(id)->fd != -1)
        complain("closed, and has a descriptor");
    if (was_open && !r->with_free)
        give_back(r);
}

/* Whom the library has closed without a word: asyncore_close_all. */
static void all_closed(asyncore_map *map)
{
    for (int id = 0; id < stage.count; id++) {
        record *r = &stage.actors[id];
        if (r->open && (r->map == map || r->evicted)) {
            over(r);
            if (!r->with_free)
                give_back(r);
        }
    }
}

static void connect_actor(int id)
{
    record *r = &stage.actors[id];

    if (asyncore_create_socket(dispatcher_of(id), AF_INET, SOCK_STREAM) < 0 ||
        asyncore_connect(dispatcher_of(id), &stage.address) < 0) {
        complain("connect: %s", strerror(errno));
        return;
    }
    opened(r, stage.map, -1);
    r->quiet = false;
    r->connect_due = true;
}

/* ---- The handlers ------------------------------------------------------ */

static int id_of(const record *r)
{
    return (int)(r - stage.actors);
}

/* At the beginning of each, with what has been promised. */
static record *begin(const asyncore_dispatcher *d, const char *name)
{
    record *r = record_of(d);

    if (!r->open)
        complain("%s of one that was closed", name);
    else if (r->map == NULL && !r->evicted)
        complain("%s of one that is in no map", name);
    if (r->ending)
        complain("%s of one in its handle_close", name);
    if (r->quiet)
        complain("%s of one that nothing happened to", name);
    /* The end of one that is lost belongs to its handle_error. */
    if (stage.stopped && stage.inside == 0 &&
        (stage.kind != IN_ERROR_LOST || id_of(r) != stage.subject))
        complain("%s after asyncore_stop", name);
    stage.inside++;
    return r;
}

static void end(void)
{
    stage.inside--;
}

/* The deed, once, in the handler that it is to be done in. */
static bool hook(kind k, int id)
{
    if (stage.kind != k || id != stage.subject || stage.done)
        return false;
    stage.done = true;
    stage.deed(id);
    return true;
}

/* A closed one may finish its sentence. */
static void finish_sentence(record *r)
{
    char byte;

    if (r->a == NULL || r->open)
        return;
    errno = 0;
    if (asyncore_send(dispatcher_of(id_of(r)), "x", 1) != -1 || errno != EBADF)
        complain("send on a closed one");
    errno = 0;
    if (asyncore_recv(dispatcher_of(id_of(r)), &byte, 1) != -1 ||
        errno != EBADF)
        complain("recv on a closed one");
}

static bool predicate(asyncore_dispatcher *d, kind k, bool answer)
{
    record *r = record_of(d);
    bool quiet = r->quiet;

    r->quiet = false;
    begin(d, "a predicate");
    r->quiet = quiet;
    hook(k, id_of(r));
    end();
    return answer;
}

static bool on_readable(asyncore_dispatcher *d)
{
    return predicate(d, IN_READABLE, true);
}

static bool on_writable(asyncore_dispatcher *d)
{
    return predicate(d, IN_WRITABLE, false);
}

static void on_read(asyncore_dispatcher *d)
{
    record *r = begin(d, "handle_read");
    char data[100];
    ssize_t n;

    if (stage.kind == IN_LOG && id_of(r) == stage.subject && !stage.done)
        asyncore_log(d, "reading");
    else
        hook(IN_READ, id_of(r));
    if (r->open && r->a != NULL) {
        n = asyncore_recv(d, data, sizeof data);
        r->due -= n > 0 ? (int)n : 0;
    }
    finish_sentence(r);
    end();
}

static void on_write(asyncore_dispatcher *d)
{
    record *r = begin(d, "handle_write");

    if (stage.kind == IN_CLOSE_SEND && id_of(r) == stage.subject &&
        !stage.done) {
        if (asyncore_send(d, "x", 1) != -1)
            complain("sent to a peer that has gone");
    } else {
        hook(IN_WRITE, id_of(r));
    }
    if (r->open && r->a != NULL)
        asyncore_set_writable(d, false);
    finish_sentence(r);
    end();
}

static void on_expt(asyncore_dispatcher *d)
{
    record *r = begin(d, "handle_expt");
    char byte;

    (void)!recv(d->fd, &byte, 1, MSG_OOB);
    hook(IN_EXPT, id_of(r));
    finish_sentence(r);
    end();
}

static void on_connect(asyncore_dispatcher *d)
{
    record *r = begin(d, "handle_connect");

    if (!r->connect_due)
        complain("handle_connect of one that did not ask for it");
    r->connect_due = false;
    hook(IN_CONNECT, id_of(r));
    finish_sentence(r);
    end();
}

static void on_accept(asyncore_dispatcher *d)
{
    record *r = begin(d, "handle_accept");
    int fd;

    hook(IN_ACCEPT, id_of(r));
    while (r->open && r->a != NULL && d->accepting &&
           (fd = asyncore_accept(d, NULL)) >= 0)
        close(fd);
    end();
}

static void on_accepted(asyncore_dispatcher *d, int fd,
                        const asyncore_address *peer)
{
    record *r = begin(d, "handle_accepted");

    if (peer->size == 0)
        complain("accepted nobody");
    close(fd);
    hook(IN_ACCEPTED, id_of(r));
    finish_sentence(r);
    end();
}

static bool is_close(kind k)
{
    return k >= IN_CLOSE && k <= IN_CLOSE_LOST;
}

static void on_close(asyncore_dispatcher *d)
{
    record *r = begin(d, "handle_close");
    int id = id_of(r), life = 0;

    if (++r->ends > 1)
        complain("handle_close twice");
    if (!d->closing)
        complain("handle_close without closing set");
    r->ending = true;
    if (is_close(stage.kind))
        hook(stage.kind, id);
    life = r->ending;
    /* A class without handle_free has no other place to give its memory back;
       the other leaves the closing to the library. */
    if (life && r->open) {
        if (r->with_free)
            over(r);
        else
            close_actor(id);
    }
    end();
}

static void on_eof(asyncore_dispatcher *d)
{
    record *r = begin(d, "handle_eof");

    if (!hook(IN_EOF, id_of(r)) || (r->open && r->map != NULL && !r->quiet))
        close_actor(id_of(r));
    end();
}

static void on_error(asyncore_dispatcher *d, int error)
{
    record *r = begin(d, "handle_error");

    if (error == EMFILE && stage.limit.rlim_cur != 0)
        setrlimit(RLIMIT_NOFILE, &stage.limit);
    if (stage.kind >= IN_ERROR && stage.kind <= IN_ERROR_SHORTAGE)
        hook(stage.kind, id_of(r));
    finish_sentence(r);
    end();
}

static void on_drain(asyncore_dispatcher *d)
{
    record *r = begin(d, "handle_drain");

    hook(IN_DRAIN, id_of(r));
    finish_sentence(r);
    end();
}

static void on_free(asyncore_dispatcher *d)
{
    record *r = record_of(d);

    if (!r->awaiting)
        complain("handle_free %s", r->open ? "of an open one" : "twice");
    if (stage.inside > 0)
        complain("handle_free under a handler");
    r->awaiting = false;
    stage.inside++;
    if (d->fd != -1)
        complain("handle_free before it was closed");
    hook(IN_FREE, id_of(r));
    if (!r->open && !r->awaiting)
        give_back(r);
    stage.inside--;
}

static void on_log(asyncore_dispatcher *d, const char *message)
{
    record *r = record_of(d);

    (void)message;
    stage.inside++;
    hook(IN_LOG, id_of(r));
    stage.inside--;
}

/* Where the defaults of the library call user code. */
static void on_log_info(asyncore_dispatcher *d, const char *message,
                        const char *type)
{
    record *r = record_of(d);
    bool closes = stage.kind == IN_LOG_CLOSE && id_of(r) == stage.subject &&
                  strstr(message, "close event") != NULL;

    (void)type;
    if (!r->open)
        complain("log_info of one that was closed");
    stage.inside++;
    if (closes) {
        r->ending = true;
        r->ends++;
    }
    if (stage.kind >= IN_LOG && stage.kind <= IN_LOG_ERROR)
        hook(stage.kind, id_of(r));
    if (closes && r->open && r->ending)
        over(r);
    stage.inside--;
}

/* The one error that the transport has to tell. */
static ssize_t fail_once(asyncore_dispatcher *d, void *data, size_t size)
{
    if (!stage.done) {
        errno = EIO;
        return -1;
    }
    return recv(d->fd, data, size, MSG_DONTWAIT);
}

static void fill_tables(void)
{
    static const asyncore_handlers common = {
        .name = "actor",
        .handle_read = on_read,
        .handle_write = on_write,
        .handle_connect = on_connect,
        .handle_accepted = on_accepted,
        .handle_close = on_close,
        .handle_error = on_error,
        .handle_drain = on_drain,
        .log = on_log,
        .log_info = on_log_info,
    };

    for (int k = 0; k < KINDS; k++)
        for (int with_free = 0; with_free < 2; with_free++) {
            tables[k][with_free] = common;
            tables[k][with_free].handle_free = with_free ? on_free : NULL;
        }
    for (int i = 0; i < 2; i++) {
        tables[IN_READABLE][i].readable = on_readable;
        tables[IN_WRITABLE][i].writable = on_writable;
        tables[IN_EXPT][i].handle_expt = on_expt;
        tables[IN_ACCEPT][i].handle_accept = on_accept;
        tables[IN_EOF][i].handle_eof = on_eof;
        tables[IN_DRAIN][i].handle_write = NULL;
        tables[IN_ERROR][i].recv = fail_once;
        tables[IN_LOG_READ][i].handle_read = NULL;
        tables[IN_LOG_CLOSE][i].handle_close = NULL;
        tables[IN_LOG_ERROR][i].handle_error = NULL;
        tables[IN_LOG_ERROR][i].recv = fail_once;
    }
}

/* ---- Rows: how the subject's handler comes to run ---------------------- */

static int add_subject(kind k, bool with_free)
{
    int id, ends[2];

    if (k == IN_CONNECT || k == IN_CLOSE_REFUSED || k == IN_ACCEPT ||
        k == IN_ACCEPTED || k == IN_ERROR_SHORTAGE) {
        id = enter_stage(k, with_free, false);
        opened(&stage.actors[id], stage.map, -1);
    } else {
        id = enter_stage(k, with_free, k == IN_DRAIN);
        if (k == IN_EXPT)
            tcp_pair(ends);
        else
            stream_pair(ends);
        take(id, ends[0], ends[1]);
    }
    stage.actors[id].quiet = false;
    return id;
}

static void trigger_connect(int id)
{
    connect_actor(id);
}

static void trigger_refused(int id)
{
    asyncore_dispatcher *d = dispatcher_of(id);
    asyncore_address nowhere;

    close(listen_on_loopback(&nowhere));
    if (asyncore_create_socket(d, AF_INET, SOCK_STREAM) < 0 ||
        asyncore_connect(d, &nowhere) < 0)
        complain("connect: %s", strerror(errno));
}

static void trigger_accept(int id)
{
    asyncore_dispatcher *d = dispatcher_of(id);
    asyncore_address any = { .size = sizeof any.in };

    any.in.sin_family = AF_INET;
    any.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (asyncore_create_socket(d, AF_INET, SOCK_STREAM) < 0 ||
        asyncore_bind(d, &any) < 0 || asyncore_listen(d, 16) < 0 ||
        asyncore_getsockname(d, &any) < 0)
        complain("listen: %s", strerror(errno));
    for (int i = 0; i < CLIENTS; i++)
        stage.clients[i] = connect_to_loopback(&any);
}

static void trigger_shortage(int id)
{
    struct rlimit none;
    int next;

    trigger_accept(id);
    next = dup(0);
    close(next);
    getrlimit(RLIMIT_NOFILE, &stage.limit);
    none = stage.limit;
    none.rlim_cur = (rlim_t)next;
    setrlimit(RLIMIT_NOFILE, &none);
}

static void trigger_bytes(int id)
{
    give_bytes(id);
}

static void trigger_deaf(int id)
{
    give_bytes(id);
    stage.actors[id].due = 0;
}

static void trigger_nothing(int id)
{
    (void)id;
}

static void trigger_writable(int id)
{
    asyncore_set_writable(dispatcher_of(id), true);
}

static void trigger_expt(int id)
{
    (void)!send(stage.actors[id].peer, "!", 1, MSG_OOB);
}

static void trigger_end(int id)
{
    shut(&stage.actors[id].peer);
}

static void trigger_hangup(int id)
{
    asyncore_set_readable(dispatcher_of(id), false);
    shut(&stage.actors[id].peer);
}

static void trigger_broken_pipe(int id)
{
    asyncore_set_readable(dispatcher_of(id), false);
    asyncore_set_writable(dispatcher_of(id), true);
    shut(&stage.actors[id].peer);
}

/* Its descriptor is closed behind the library's back. */
static void trigger_lost(int id)
{
    asyncore_dispatcher *d = dispatcher_of(id);

    /* epoll learns of it only when something is changed. */
    asyncore_set_writable(d, true);
    close(d->fd);
    shut(&stage.actors[id].peer);
}

static void trigger_evicted(int id)
{
    int number = dispatcher_of(id)->fd, ends[2], newcomer;

    newcomer = enter_stage(IN_READ, stage.actors[id].with_free, false);
    close(number);
    pair_at(number, ends);
    take(newcomer, ends[0], ends[1]);
    stage.actors[id].map = NULL;
    stage.actors[id].evicted = true;
    shut(&stage.actors[id].peer);
}

static void trigger_half_close(int id)
{
    shutdown(stage.actors[id].peer, SHUT_WR);
}

static void trigger_drain(int id)
{
    static char flood[FLOOD];

    fcntl(stage.actors[id].peer, F_SETFL, O_NONBLOCK);
    if (asyncore_send(dispatcher_of(id), flood, sizeof flood) !=
        (ssize_t)sizeof flood)
        complain("send: %s", strerror(errno));
}

/* Between the turns: the peer takes what there is. */
static void drain_peer(void)
{
    char data[65536];
    int peer = stage.actors[stage.subject].peer;

    if (stage.kind == IN_DRAIN && peer >= 0)
        while (recv(peer, data, sizeof data, MSG_DONTWAIT) > 0)
            ;
}

static void trigger_free(int id)
{
    over(&stage.actors[id]);
    asyncore_close(dispatcher_of(id));
}

static void call(void *arg)
{
    (void)arg;
    stage.inside++;
    hook(IN_CALL, stage.subject);
    stage.inside--;
}

static void trigger_call(int id)
{
    give_bytes(id);
    if (asyncore_call_soon(stage.map, call, NULL) < 0)
        complain("call_soon: %s", strerror(errno));
}

static const struct {
    const char *name;
    void (*trigger)(int id);
} rows[KINDS] = {
    [IN_READABLE] = { "readable", trigger_nothing },
    [IN_WRITABLE] = { "writable", trigger_nothing },
    [IN_READ] = { "handle_read", trigger_bytes },
    [IN_WRITE] = { "handle_write", trigger_writable },
    [IN_EXPT] = { "handle_expt", trigger_expt },
    [IN_CONNECT] = { "handle_connect", trigger_connect },
    [IN_ACCEPT] = { "handle_accept", trigger_accept },
    [IN_ACCEPTED] = { "handle_accepted", trigger_accept },
    [IN_CLOSE] = { "handle_close after recv", trigger_end },
    [IN_CLOSE_REFUSED] = { "handle_close, refused", trigger_refused },
    [IN_CLOSE_HUNG_UP] = { "handle_close, hung up", trigger_hangup },
    [IN_CLOSE_EVICTED] = { "handle_close, number taken", trigger_evicted },
    [IN_CLOSE_SEND] = { "handle_close in send", trigger_broken_pipe },
    [IN_CLOSE_LOST] = { "handle_close, descriptor gone", trigger_lost },
    [IN_EOF] = { "handle_eof", trigger_half_close },
    [IN_ERROR] = { "handle_error in recv", trigger_bytes },
    [IN_ERROR_LOST] = { "handle_error, descriptor gone", trigger_lost },
    [IN_ERROR_SHORTAGE] = { "handle_error in accept", trigger_shortage },
    [IN_DRAIN] = { "handle_drain", trigger_drain },
    [IN_FREE] = { "handle_free", trigger_free },
    [IN_LOG] = { "log", trigger_bytes },
    [IN_LOG_READ] = { "log_info in handle_read", trigger_deaf },
    [IN_LOG_CLOSE] = { "log_info in handle_close", trigger_end },
    [IN_LOG_ERROR] = { "log_info in handle_error", trigger_bytes },
    [IN_CALL] = { "call_soon", trigger_call },
};

/* ---- Columns: what is done in it --------------------------------------- */

/* One that is ready and has not been served, so its event is in the batch;
   another when there is none left; -1 when there is nobody. */
static int ready_other(int self)
{
    int found = -1;

    for (int id = 0; id < stage.count; id++) {
        const record *r = &stage.actors[id];
        if (id == self || !r->open || r->map != stage.map || r->ending ||
            r->peer < 0)
            continue;
        if (r->due > 0)
            return id;
        found = id;
    }
    return found;
}

static void nothing(int self)
{
    (void)self;
}

static void close_self(int self)
{
    close_actor(self);
}

static void close_self_twice(int self)
{
    asyncore_dispatcher *d = dispatcher_of(self);

    asyncore_close(d);
    close_actor(self);
}

static void close_other(int self)
{
    int other = ready_other(self);

    if (other >= 0)
        close_actor(other);
}

static void close_others(int self)
{
    for (int id = 0; id < stage.count; id++)
        if (id != self && stage.actors[id].open)
            close_actor(id);
}

static void close_others_and_self(int self)
{
    close_others(self);
    close_actor(self);
}

static void close_all(int self)
{
    asyncore_close_all(stage.map);
    all_closed(stage.map);
    if (asyncore_map_count(stage.map) != 0)
        complain("close_all left some");
    (void)self;
}

static void add_newborn(int self)
{
    give_bytes(add(IN_READ, stage.actors[self].with_free));
}

static void close_newborn(int self)
{
    int newborn = add(IN_READ, stage.actors[self].with_free);

    give_bytes(newborn);
    close_actor(newborn);
}

static void close_all_twice(int self)
{
    close_all(self);
    add_newborn(self);
    close_all(self);
    add_newborn(self);
}

/* Enough for the lists that are being gone through to move. */
static void add_many(int self)
{
    for (int i = 0; i < 24; i++)
        give_bytes(add(i % 2 == 0 ? IN_READABLE : IN_READ,
                       stage.actors[self].with_free));
}

static void add_many_and_close_self(int self)
{
    add_many(self);
    close_actor(self);
}

/* So high that the map's slots must move. */
static void add_high(int self)
{
    int id = add(IN_READ, stage.actors[self].with_free), high, peer;

    high = fcntl(dispatcher_of(id)->fd, F_DUPFD_CLOEXEC, 900);
    peer = dup(stage.actors[id].peer);
    if (high < 0 || peer < 0) {
        complain("dup: %s", strerror(errno));
        return;
    }
    close_actor(id);
    id = enter_stage(IN_READ, stage.actors[self].with_free, true);
    take(id, high, peer);
    give_bytes(id);
}

/* A stranger on the number of one whose event is in the batch. */
static void reuse_number(int self)
{
    int other = ready_other(self), number, ends[2], newborn;

    if (other < 0)
        return;
    number = dispatcher_of(other)->fd;
    close_actor(other);
    newborn = enter_stage(IN_READ, stage.actors[self].with_free, false);
    pair_at(number, ends);
    take(newborn, ends[0], ends[1]);
}

static void reuse_numbers(int self)
{
    for (int i = 0; i < 6; i++)
        reuse_number(self);
}

static void reopen(int id)
{
    asyncore_dispatcher *d = dispatcher_of(id);
    int number = d->fd, ends[2];

    over(&stage.actors[id]);
    asyncore_close(d);
    if (number >= 0 && fcntl(number, F_GETFD) < 0)
        pair_at(number, ends);
    else
        stream_pair(ends);
    take(id, ends[0], ends[1]);
}

static void reopen_other(int self)
{
    int other = ready_other(self);

    if (other >= 0)
        reopen(other);
}

static void reopen_self(int self)
{
    reopen(self);
}

static void reopen_and_close_self(int self)
{
    reopen(self);
    close_actor(self);
}

static void reconnect_self(int self)
{
    over(&stage.actors[self]);
    asyncore_close(dispatcher_of(self));
    connect_actor(self);
}

static void nest(int self)
{
    for (int i = 0; i < 3; i++)
        if (asyncore_poll(stage.map, 0) < 0)
            complain("a nested poll failed");
    (void)self;
}

static void nest_loop(int self)
{
    if (asyncore_loop(stage.map, 0, 3) < 0)
        complain("a nested loop failed");
    (void)self;
}

static void close_self_and_nest(int self)
{
    close_actor(self);
    nest(self);
}

static void close_others_and_nest(int self)
{
    close_others(self);
    add_newborn(self);
    nest(self);
}

static void reconnect_and_nest(int self)
{
    reconnect_self(self);
    nest(self);
}

static void free_map(int self)
{
    asyncore_map *map = stage.map;

    stage.map = NULL;
    asyncore_map_free(map);
    all_closed(map);
    (void)self;
}

static void free_map_twice(int self)
{
    asyncore_map *map = stage.map;

    free_map(self);
    asyncore_map_free(map);
}

static void close_self_and_free_map(int self)
{
    close_actor(self);
    free_map(self);
}

static void nest_and_free_map(int self)
{
    nest(self);
    free_map(self);
}

static void stop(int self)
{
    asyncore_stop(stage.map);
    stage.stopped = true;
    (void)self;
}

static void close_self_and_stop(int self)
{
    close_actor(self);
    stop(self);
}

static void take_out(int id)
{
    record *r = &stage.actors[id];

    if (!r->open || r->map == NULL)
        return;
    asyncore_del_channel(dispatcher_of(id));
    r->map = NULL;
    r->ending = false;
    r->ends = 0;
}

static void put_in(int id, asyncore_map *map)
{
    record *r = &stage.actors[id];

    if (!r->open || r->a == NULL || dispatcher_of(id)->fd < 0)
        return;
    if (asyncore_add_channel(dispatcher_of(id), map) < 0)
        complain("add_channel: %s", strerror(errno));
    r->map = map;
}

static void take_out_self(int self)
{
    take_out(self);
}

static void take_out_other(int self)
{
    int other = ready_other(self);

    if (other >= 0)
        take_out(other);
}

static void take_out_and_put_in(int self)
{
    int other = ready_other(self);

    take_out(self);
    put_in(self, stage.map);
    if (other >= 0) {
        take_out(other);
        put_in(other, stage.map);
    }
}

static void move_self(int self)
{
    take_out(self);
    put_in(self, stage.other_map);
}

static void move_other(int self)
{
    int other = ready_other(self);

    if (other < 0)
        return;
    take_out(other);
    put_in(other, stage.other_map);
}

static void change_class(int id, kind k, bool with_free)
{
    record *r = &stage.actors[id];

    if (!r->open || r->a == NULL)
        return;
    if (asyncore_set_handlers(dispatcher_of(id), &tables[k][with_free]) < 0)
        complain("set_handlers: %s", strerror(errno));
    r->class_of = (int)k;
    r->with_free = with_free;
}

static void change_classes(int self)
{
    static const kind asked[] = { IN_READABLE, IN_READ, IN_WRITABLE };

    for (int id = 0; id < stage.count; id++)
        change_class(id, asked[id % 3], stage.actors[self].with_free);
}

static void change_classes_back(int self)
{
    kind before = stage.kind;

    change_classes(self);
    change_class(self, IN_READ, stage.actors[self].with_free);
    change_class(self, before, stage.actors[self].with_free);
}

/* The class decides about handle_free at the end of a life, not its start. */
static void change_rule(int self)
{
    for (int id = 0; id < stage.count; id++)
        if (!stage.actors[id].awaiting)
            change_class(id, IN_READ, !stage.actors[id].with_free);
    (void)self;
}

static void close_by_call(void *arg)
{
    int id = *(int *)arg;

    stage.inside++;
    close_actor(id);
    stage.inside--;
}

static void close_self_later(int self)
{
    static int id;

    id = self;
    if (asyncore_call_soon(stage.map, close_by_call, &id) < 0)
        complain("call_soon: %s", strerror(errno));
}

static const struct {
    const char *name;
    void (*deed)(int self);
} columns[] = {
    { "nothing", nothing },
    { "close self", close_self },
    { "close self twice", close_self_twice },
    { "close another", close_other },
    { "close all others", close_others },
    { "close all others and self", close_others_and_self },
    { "close_all", close_all },
    { "close_all, twice", close_all_twice },
    { "add one", add_newborn },
    { "add one and close it", close_newborn },
    { "add many", add_many },
    { "add many and close self", add_many_and_close_self },
    { "add one with a high number", add_high },
    { "reuse a number", reuse_number },
    { "reuse all numbers", reuse_numbers },
    { "reopen another", reopen_other },
    { "reopen self", reopen_self },
    { "reopen self and close it", reopen_and_close_self },
    { "reconnect", reconnect_self },
    { "poll", nest },
    { "loop", nest_loop },
    { "close self and poll", close_self_and_nest },
    { "close all others and poll", close_others_and_nest },
    { "reconnect and poll", reconnect_and_nest },
    { "free the map", free_map },
    { "free the map twice", free_map_twice },
    { "close self and free the map", close_self_and_free_map },
    { "poll and free the map", nest_and_free_map },
    { "stop", stop },
    { "close self and stop", close_self_and_stop },
    { "take self out", take_out_self },
    { "take another out", take_out_other },
    { "take out and put in", take_out_and_put_in },
    { "move self to another map", move_self },
    { "move another to another map", move_other },
    { "change all classes", change_classes },
    { "change all classes and back", change_classes_back },
    { "change whether there is handle_free", change_rule },
    { "close self by a call", close_self_later },
};

/* ---- The body ---------------------------------------------------------- */

static void turn(bool as_loop, int timeout)
{
    drain_peer();
    if (stage.map != NULL) {
        int result = as_loop ? asyncore_loop(stage.map, timeout, 1)
                             : asyncore_poll(stage.map, timeout);
        if (result < 0)
            complain("the loop failed: %s", strerror(errno));
    }
    stage.stopped = false;
    if (stage.inside != 0)
        complain("left in the middle of a handler");
    if (asyncore_poll(stage.other_map, 0) < 0)
        complain("the other loop failed");
}

/* Whether something has yet to happen. */
static bool owed(void)
{
    if (!stage.done)
        return true;
    for (int id = 0; id < stage.count; id++) {
        const record *r = &stage.actors[id];
        if (r->awaiting || r->connect_due || (r->map != NULL && r->due > 0))
            return true;
    }
    return false;
}

static void settle(bool as_loop)
{
    int64_t until = now_ms() + DEADLINE_MS;

    while (complaint[0] == '\0' && owed()) {
        if (now_ms() > until)
            complain(stage.done ? "something never came" : "it never ran");
        turn(as_loop, 5);
    }
    for (int i = 0; i < 2; i++)
        turn(as_loop, 0);
}

static size_t living_in(const asyncore_map *map)
{
    size_t count = 0;

    for (int id = 0; id < stage.count; id++)
        count += stage.actors[id].open && stage.actors[id].map == map;
    return count;
}

static void check_counts(void)
{
    if (stage.map != NULL &&
        asyncore_map_count(stage.map) != living_in(stage.map))
        complain("%zu in the map instead of %zu", asyncore_map_count(stage.map),
                 living_in(stage.map));
    if (asyncore_map_count(stage.other_map) != living_in(stage.other_map))
        complain("%zu in the other map instead of %zu",
                 asyncore_map_count(stage.other_map),
                 living_in(stage.other_map));
}

/* Whoever is left is as alive as ever. */
static void check_living(bool as_loop)
{
    for (int id = 0; id < stage.count; id++) {
        record *r = &stage.actors[id];
        if (!r->open || r->peer < 0 || r->deaf || r->a == NULL)
            continue;
        if (r->map == NULL && stage.map != NULL)
            put_in(id, stage.map);
        if (r->map != NULL)
            give_bytes(id);
    }
    settle(as_loop);
}

static void clear_stage(void)
{
    for (int id = 0; id < stage.count; id++)
        if (stage.actors[id].open && stage.actors[id].map == NULL &&
            stage.map != NULL)
            close_actor(id);
    for (int i = 0; i < 2; i++) {
        asyncore_map *map = i == 0 ? stage.map : stage.other_map;
        for (int id = 0; map != NULL && id < stage.count; id++)
            if (stage.actors[id].map == map)
                over(&stage.actors[id]);
        asyncore_map_free(map);
    }
    for (int id = 0; id < stage.count; id++) {
        record *r = &stage.actors[id];
        if (r->awaiting)
            complain("handle_free never ran");
        /* Taken out of a map that is no more. */
        if (r->open && r->a != NULL && dispatcher_of(id)->fd >= 0)
            close(dispatcher_of(id)->fd);
        give_back(r);
        shut(&r->peer);
    }
    for (int i = 0; i < CLIENTS; i++)
        shut(&stage.clients[i]);
    shut(&stage.listener);
    if (stage.limit.rlim_cur != 0)
        setrlimit(RLIMIT_NOFILE, &stage.limit);
}

static void play(kind k, void (*deed)(int self), bool with_free, bool as_loop)
{
    int before = open_descriptors(), ready[6];

    memset(&stage, 0, sizeof stage);
    complaint[0] = '\0';
    stage.kind = k;
    stage.deed = deed;
    stage.map = asyncore_map_new(NULL);
    stage.other_map = asyncore_map_new(NULL);
    stage.listener = listen_on_loopback(&stage.address);
    for (int i = 0; i < CLIENTS; i++)
        stage.clients[i] = -1;
    for (int i = 0; i < 3; i++)
        ready[i] = add(i == 1 ? IN_READABLE : IN_READ, with_free);
    stage.subject = add_subject(k, with_free);
    for (int i = 3; i < 6; i++)
        ready[i] = add(i == 4 ? IN_WRITABLE : IN_READ, with_free);
    for (int i = 0; i < 3; i++)
        give_bytes(ready[i]);
    rows[k].trigger(stage.subject);
    for (int i = 3; i < 6; i++)
        give_bytes(ready[i]);
    settle(as_loop);
    check_counts();
    check_living(as_loop);
    check_counts();
    clear_stage();
    if (open_descriptors() != before)
        complain("%d descriptors were not given back",
                 open_descriptors() - before);
}

static void row(void **state)
{
    kind k = *(const kind *)*state;

    for (size_t column = 0; column < sizeof columns / sizeof *columns; column++)
        for (int way = 0; way < 4; way++) {
            bool with_free = (way & 1) != 0;
            /* A newborn's memory goes back in handle_free alone. */
            if (k == IN_FREE && !with_free)
                continue;
            play(k, columns[column].deed, with_free, (way & 2) != 0);
            if (complaint[0] != '\0')
                fail_msg("%s: %s (%s handle_free): %s", rows[k].name,
                         columns[column].name, with_free ? "with" : "without",
                         complaint);
        }
}

int main(void)
{
    static kind kinds[KINDS];
    struct CMUnitTest tests[KINDS];

    fill_tables();
    for (int k = 0; k < KINDS; k++) {
        kinds[k] = (kind)k;
        tests[k] =
            (struct CMUnitTest){ rows[k].name, row, NULL, NULL, &kinds[k] };
    }
    return cmocka_run_group_tests_name("lifetime", tests, NULL, NULL);
}
