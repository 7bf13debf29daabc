/*
 * test_limits.c - limits of listeners: asyncore_set_limits.
 */
#include "support/accept.h"
#include "support/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- What the library is told ------------------------------------------ */

static const asyncore_address *from; /* where all come from; NULL: the truth */
static bool no_keys;                 /* all addresses fall together */

WRAP_ACCEPT
{
    int accepted = REAL_ACCEPT();

    if (accepted >= 0 && from != NULL) {
        memcpy(peer, &from->any, from->size);
        *size = from->size;
    }
    return accepted;
}

void __real_asyncore__random(void *data, size_t size);
void __wrap_asyncore__random(void *data, size_t size);
void __wrap_asyncore__random(void *data, size_t size)
{
    if (no_keys)
        memset(data, 0, size);
    else
        __real_asyncore__random(data, size);
}

/* ---- A server ---------------------------------------------------------- */

enum { MOST = 2048 };

static asyncore_limits limits;
static asyncore_dispatcher guests[MOST]; /* in the order of their coming */
static int count;
static asyncore_map *other;

/* What handle_accepted does instead of taking the guest in. */
static void (*on_accepted)(asyncore_dispatcher *d, int fd);

static void read_on(asyncore_dispatcher *d)
{
    char data[4096];

    (void)asyncore_recv(d, data, sizeof data);
}

static void nothing(asyncore_dispatcher *d)
{
    (void)d;
}

static const asyncore_handlers guest = {
    .handle_read = read_on,
    .handle_close = nothing,
};

static void take_in(int fd, asyncore_map *map)
{
    (void)asyncore_dispatcher_init(&guests[count++], &guest, fd, map);
}

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    (void)peer;
    if (on_accepted != NULL)
        on_accepted(d, fd);
    else
        take_in(fd, d->map);
}

static const asyncore_handlers server = {
    .handle_accepted = accepted,
    .handle_close = nothing,
};

static asyncore_dispatcher *serve(world *w, asyncore_limits *its,
                                  asyncore_address *at)
{
    asyncore_dispatcher *d = lend(w, sizeof *d);

    *at = listen_at(w, d, &server);
    assert_int_equal(asyncore_set_limits(d, its), 0);
    return d;
}

static int begin(void)
{
    memset(&limits, 0, sizeof limits);
    memset(guests, 0, sizeof guests);
    count = 0;
    from = NULL;
    no_keys = false;
    on_accepted = NULL;
    other = NULL;
    return 0;
}

static int here_ipv4(void **state)
{
    return begin() + begin_ipv4(state);
}

static int here_ipv6(void **state)
{
    return begin() + begin_ipv6(state);
}

static int here_unix(void **state)
{
    return begin() + begin_unix(state);
}

static int end(void **state)
{
    asyncore_map_free(other);
    return end_world(state);
}

/* What has come has been accepted, or refused. */
static void settle(world *w)
{
    run_turns(w->map, 4);
}

static int come(world *w, const asyncore_address *to)
{
    int peer = peer_connect(to);

    settle(w);
    return peer;
}

static int come_from(world *w, const char *source, const asyncore_address *to)
{
    int peer = peer_socket(to->any.sa_family, SOCK_STREAM);
    asyncore_address a;

    assert_int_equal(asyncore_address_parse(&a, source), 0);
    assert_int_equal(bind(peer, &a.any, a.size), 0);
    assert_int_equal(connect(peer, &to->any, to->size), 0);
    settle(w);
    return peer;
}

static void leave(world *w, int peer)
{
    size_t before = asyncore_map_count(w->map);

    close(peer);
    run_until(w->map, asyncore_map_count(w->map) < before);
}

/* The word, all of it, and the end; no reset. */
static void assert_refused(int peer, const char *word)
{
    char text[4096] = "";

    assert_int_equal(peer_read(peer, text, sizeof text), strlen(word));
    assert_string_equal(text, word);
    close(peer);
}

static void assert_counts(size_t open, uint64_t refused)
{
    assert_int_equal(limits.open, open);
    assert_int_equal(limits.refused, refused);
}

/* ---- Connections ------------------------------------------------------- */

static void at_the_limit(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer[3];

    limits.connections = 2;
    limits.word = "too many\r\n";
    serve(w, &limits, &at);
    for (int round = 1; round <= 3; round++) {
        peer[0] = come(w, &at);
        peer[1] = come(w, &at);
        peer[2] = come(w, &at);
        assert_refused(peer[2], "too many\r\n");
        assert_counts(2, (uint64_t)(3 * round - 2));
        leave(w, peer[0]);
        assert_counts(1, (uint64_t)(3 * round - 2));
        peer[0] = come(w, &at);
        assert_counts(2, (uint64_t)(3 * round - 2));
        assert_refused(come(w, &at), "too many\r\n");
        assert_refused(come(w, &at), "too many\r\n");
        leave(w, peer[1]);
        leave(w, peer[0]);
        assert_counts(0, (uint64_t)(3 * round));
    }
    assert_int_equal(count, 9);
}

static void without_limits(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer[40];

    serve(w, &limits, &at);
    for (int i = 0; i < 40; i++)
        peer[i] = come(w, &at);
    assert_counts(40, 0);
    for (int i = 0; i < 40; i++)
        leave(w, peer[i]);
    assert_counts(0, 0);
}

static void without_a_word(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer;

    limits.connections = 1;
    serve(w, &limits, &at);
    peer = come(w, &at);
    assert_refused(come(w, &at), "");
    assert_counts(1, 1);
    close(peer);
}

/* Those who have been let in stay. */
static void changed_meanwhile(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer[5];

    serve(w, &limits, &at);
    for (int i = 0; i < 4; i++)
        peer[i] = come(w, &at);
    limits.connections = 2;
    assert_refused(come(w, &at), "");
    leave(w, peer[0]);
    leave(w, peer[1]);
    assert_refused(come(w, &at), "");
    assert_counts(2, 2);
    leave(w, peer[2]);
    peer[2] = come(w, &at);
    assert_counts(2, 2);
    limits.connections = 3;
    peer[4] = come(w, &at);
    assert_counts(3, 2);
    assert_refused(come(w, &at), "");
    limits.connections = 0;
    peer[0] = come(w, &at);
    assert_counts(4, 3);
    close(peer[0]), close(peer[2]), close(peer[3]), close(peer[4]);
}

/* ---- Peers ------------------------------------------------------------- */

static void per_peer(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int first[2], second[2];

    limits.per_peer = 2;
    limits.word = "you again";
    serve(w, &limits, &at);
    first[0] = come_from(w, "127.0.0.1:0", &at);
    first[1] = come_from(w, "127.0.0.1:0", &at);
    assert_refused(come_from(w, "127.0.0.1:0", &at), "you again");
    second[0] = come_from(w, "127.0.0.2:0", &at);
    second[1] = come_from(w, "127.0.0.2:0", &at);
    assert_refused(come_from(w, "127.0.0.2:0", &at), "you again");
    assert_counts(4, 2);
    leave(w, first[0]);
    assert_refused(come_from(w, "127.0.0.2:0", &at), "you again");
    first[0] = come_from(w, "127.0.0.1:0", &at);
    assert_refused(come_from(w, "127.0.0.1:0", &at), "you again");
    assert_counts(4, 4);
    /* The sum has its own limit. */
    limits.connections = 4;
    assert_refused(come_from(w, "127.0.0.3:0", &at), "you again");
    for (int i = 0; i < 2; i++)
        leave(w, first[i]), leave(w, second[i]);
    assert_counts(0, 5);
}

/* Without addresses they are not told apart, nor held to be one. */
static void unix_peers(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer[4];

    limits.per_peer = 1;
    limits.connections = 4;
    serve(w, &limits, &at);
    for (int i = 0; i < 4; i++)
        peer[i] = come(w, &at);
    assert_refused(come(w, &at), "");
    assert_counts(4, 1);
    for (int i = 0; i < 4; i++)
        close(peer[i]);
}

static void mapped(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *both = lend(w, sizeof *both);
    asyncore_address at, plain, v4;
    int peer[3];

    limits.per_peer = 1;
    serve(w, &limits, &plain);
    at = plain;
    assert_int_equal(asyncore_dispatcher_init(both, &server, -1, w->map), 0);
    if (asyncore_listen_on(both, "[::]:0", 5) < 0)
        skip();
    assert_int_equal(asyncore_set_limits(both, &limits), 0);
    asyncore_getsockname(both, &v4);
    at.in.sin_port = v4.in6.sin6_port; /* as IPv4, to the other */
    peer[0] = come(w, &at);
    asyncore_getpeername(&guests[0], &v4);
    assert_int_equal(v4.any.sa_family, AF_INET6);
    assert_counts(1, 0);
    assert_refused(come(w, &at), "");
    assert_refused(come(w, &plain), "");
    limits.ipv6_prefix = 64; /* is not for those */
    peer[1] = come_from(w, "127.0.0.2:0", &at);
    peer[2] = come_from(w, "127.0.0.3:0", &plain);
    assert_refused(come_from(w, "127.0.0.2:0", &plain), "");
    assert_refused(come_from(w, "127.0.0.3:0", &at), "");
    assert_counts(3, 4);
    for (int i = 0; i < 3; i++)
        close(peer[i]);
}

static asyncore_address parsed(const char *text)
{
    asyncore_address a;

    assert_int_equal(asyncore_address_parse(&a, text), 0);
    return a;
}

/* Whether the second is the same peer as the first. */
static bool alike(world *w, unsigned prefix, const char *first,
                  const char *second)
{
    asyncore_address at, a = parsed(first), b = parsed(second);
    uint64_t refused = limits.refused;
    asyncore_dispatcher *d;
    int peers[2];

    limits.per_peer = 1;
    limits.ipv6_prefix = prefix;
    d = serve(w, &limits, &at);
    from = &a;
    peers[0] = come(w, &at);
    from = &b;
    peers[1] = come(w, &at);
    from = NULL;
    assert_int_equal(limits.open + limits.refused - refused, 2);
    asyncore_close(d);
    leave(w, peers[0]);
    if (limits.refused == refused)
        leave(w, peers[1]);
    else
        close(peers[1]);
    return limits.refused > refused;
}

static void addresses(void **state)
{
    world *w = world_of(state);

    assert_true(alike(w, 0, "10.1.2.3:1", "10.1.2.3:2"));
    assert_true(alike(w, 0, "10.1.2.3:1", "[::ffff:10.1.2.3]:1"));
    assert_true(alike(w, 24, "[::ffff:10.1.2.3]:1", "10.1.2.3:1"));
    assert_false(alike(w, 24, "10.1.2.3:1", "10.1.2.4:1"));
    assert_false(alike(w, 24, "[::ffff:10.1.2.3]:1", "[::ffff:10.1.2.4]:1"));
    assert_false(alike(w, 0, "10.1.2.3:1", "[::10.1.2.3]:1"));
    assert_true(alike(w, 0, "[2001:db8::1]:1", "[2001:db8::1]:9"));
    assert_false(alike(w, 0, "[2001:db8::1]:1", "[2001:db8::2]:1"));
    assert_false(alike(w, 128, "[2001:db8::1]:1", "[2001:db8::]:1"));
    assert_true(alike(w, 127, "[2001:db8::1]:1", "[2001:db8::]:1"));
    assert_false(alike(w, 127, "[2001:db8::2]:1", "[2001:db8::]:1"));
    assert_true(alike(w, 64, "[1:2:3:4::1]:1", "[1:2:3:4:ffff::2]:1"));
    assert_false(alike(w, 64, "[1:2:3:4::1]:1", "[1:2:3:5::1]:1"));
    assert_true(alike(w, 63, "[1:2:3:4::1]:1", "[1:2:3:5::1]:1"));
    assert_false(alike(w, 56, "[1:2:3:4::1]:1", "[1:2:3:104::1]:1"));
    assert_true(alike(w, 1, "[1:2:3:4::1]:1", "[7fff::1]:1"));
    assert_false(alike(w, 1, "[1:2:3:4::1]:1", "[8000::1]:1"));
    assert_false(alike(w, 99999, "[2001:db8::1]:1", "[2001:db8::2]:1"));
    assert_true(alike(w, 0, "[fe80::1%lo]:1", "[fe80::1%lo]:2"));
    assert_false(alike(w, 0, "[fe80::1%lo]:1", "[fe80::1]:1"));
}

/* ---- Listeners --------------------------------------------------------- */

static void shared(void **state)
{
    world *w = world_of(state), elsewhere = { .family = AF_UNIX };
    asyncore_address at[3];
    asyncore_dispatcher *d[3];
    int peer[3];

    limits.connections = 3;
    d[0] = serve(w, &limits, &at[0]);
    d[1] = serve(w, &limits, &at[1]);
    elsewhere.map = w->map;
    d[2] = serve(&elsewhere, &limits, &at[2]);
    for (int i = 0; i < 3; i++)
        peer[i] = come(w, &at[i]);
    for (int i = 0; i < 3; i++)
        assert_refused(come(w, &at[i]), "");
    assert_counts(3, 3);
    /* It counts for as long as one of them is there. */
    asyncore_close(d[0]);
    asyncore_close(d[2]);
    assert_counts(3, 3);
    assert_refused(come(w, &at[1]), "");
    leave(w, peer[0]);
    assert_counts(2, 4);
    peer[0] = come(w, &at[1]);
    assert_counts(3, 4);
    asyncore_close(d[1]);
    assert_null(limits.census);
    assert_counts(0, 4);
    for (int i = 0; i < 3; i++)
        leave(w, peer[i]);
    assert_counts(0, 4);
    unlink(at[2].un.sun_path);
    rmdir(elsewhere.directory);
    free(elsewhere.memory[0]);
}

static void of_another_map(void **state)
{
    world *w = world_of(state);
    asyncore_limits another = { .connections = 7 };
    asyncore_address at;
    asyncore_dispatcher *d = serve(w, &limits, &at);
    asyncore_dispatcher *far = lend(w, sizeof *far);

    other = asyncore_map_new(NULL);
    assert_int_equal(asyncore_dispatcher_init(far, &server, -1, other), 0);
    assert_int_equal(asyncore_set_limits(far, &limits), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(asyncore_set_limits(far, NULL), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(asyncore_listen_on(far, "127.0.0.1:0", 5), 0);
    assert_int_equal(asyncore_set_limits(far, &another), 0);
    assert_int_equal(asyncore_set_limits(far, &limits), -1);
    assert_int_equal(errno, EINVAL);
    assert_non_null(another.census);
    assert_int_equal(asyncore_set_limits(far, NULL), 0);
    assert_null(another.census);
    /* When it has left the first. */
    asyncore_close(d);
    assert_int_equal(asyncore_set_limits(far, &limits), 0);
    asyncore_map_free(other);
    assert_null(limits.census);
    other = NULL;
}

/* It keeps them only for as long as it stays. */
static void listener_moved(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    asyncore_dispatcher *d = serve(w, &limits, &at);
    int peer[2];

    limits.connections = 1;
    peer[0] = come(w, &at);
    assert_counts(1, 0);
    assert_int_equal(asyncore_del_channel(d), 0);
    assert_null(limits.census);
    assert_counts(0, 0);
    assert_int_equal(asyncore_add_channel(d, w->map), 0);
    peer[1] = come(w, &at);
    assert_int_equal(count, 2);
    assert_counts(0, 0);
    close(peer[0]), close(peer[1]);
}

static void replaced(void **state)
{
    world *w = world_of(state);
    asyncore_limits *second = calloc(1, sizeof *second);
    asyncore_address at;
    asyncore_dispatcher *d;
    int peer[3];

    limits.connections = 1;
    d = serve(w, NULL, &at); /* without any */
    asyncore_close(d);
    d = serve(w, &limits, &at);
    peer[0] = come(w, &at);
    assert_int_equal(asyncore_set_limits(d, &limits), 0);
    assert_counts(1, 0);
    second->connections = 1;
    assert_int_equal(asyncore_set_limits(d, second), 0);
    assert_counts(0, 0);
    assert_null(limits.census);
    memset(&limits, 0xff, sizeof limits);
    peer[1] = come(w, &at);
    assert_int_equal(second->open, 1);
    assert_refused(come(w, &at), "");
    leave(w, peer[0]);
    assert_int_equal(second->open, 1);
    assert_int_equal(asyncore_set_limits(d, NULL), 0);
    assert_int_equal(second->refused, 1);
    free(second);
    peer[0] = come(w, &at);
    peer[2] = come(w, &at);
    assert_int_equal(count, 4);
    for (int i = 0; i < 3; i++)
        leave(w, peer[i]);
    assert_int_equal(asyncore_set_limits(d, NULL), 0);
}

/* The limits are gone before those who were counted. */
static void listener_closed_first(void **state)
{
    world *w = world_of(state);
    asyncore_limits *its = calloc(1, sizeof *its);
    asyncore_address at;
    asyncore_dispatcher *d = serve(w, its, &at);
    int peer[3];

    for (int i = 0; i < 3; i++)
        peer[i] = come(w, &at);
    assert_int_equal(its->open, 3);
    asyncore_close(d);
    assert_int_equal(its->open, 0);
    free(its);
    for (int i = 0; i < 3; i++)
        leave(w, peer[i]);
    /* And anew. */
    limits.connections = 1;
    serve(w, &limits, &at);
    peer[0] = come(w, &at);
    assert_refused(come(w, &at), "");
    assert_counts(1, 1);
    close(peer[0]);
}

static void map_freed(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer[4];

    other = asyncore_map_new(NULL);
    for (int round = 0; round < 2; round++) {
        asyncore_map *map = round == 0 ? w->map : other;
        asyncore_dispatcher *d = lend(w, sizeof *d);

        at = listen_at(w, d, &server);
        assert_int_equal(asyncore_del_channel(d), 0);
        assert_int_equal(asyncore_add_channel(d, map), 0);
        assert_int_equal(asyncore_set_limits(d, &limits), 0);
        for (int i = 0; i < 4; i++)
            peer[i] = peer_connect(&at);
        run_turns(map, 4);
        assert_counts(4, 0);
        if (round == 0)
            asyncore_close_all(map);
        else
            asyncore_map_free(map);
        assert_null(limits.census);
        assert_counts(0, 0);
        for (int i = 0; i < 4; i++)
            close(peer[i]);
    }
    other = NULL;
}

/* ---- What handle_accepted does ----------------------------------------- */

static size_t open_inside;

static void close_descriptor(asyncore_dispatcher *d, int fd)
{
    (void)d;
    open_inside = limits.open;
    close(fd);
}

static void close_dispatcher(asyncore_dispatcher *d, int fd)
{
    take_in(fd, d->map);
    asyncore_close(&guests[count - 1]);
}

static void move_elsewhere(asyncore_dispatcher *d, int fd)
{
    (void)d;
    take_in(fd, other);
}

static void take_out(asyncore_dispatcher *d, int fd)
{
    take_in(fd, d->map);
    asyncore_del_channel(&guests[count - 1]);
}

/* The lowest number that is free is what close has freed. */
static void connect_with_its_number(asyncore_dispatcher *d, int fd)
{
    asyncore_address at;

    close(fd);
    asyncore_getsockname(d, &at);
    from = &at;
    if (asyncore_dispatcher_init(&guests[count++], &guest, -1, d->map) == 0 &&
        asyncore_create_socket(&guests[count - 1], at.any.sa_family,
                               SOCK_STREAM) == 0 &&
        guests[count - 1].fd == fd)
        (void)asyncore_connect(&guests[count - 1], &at);
    on_accepted = NULL;
    from = NULL;
}

static void not_counted(void **state)
{
    static void (*const ways[])(asyncore_dispatcher * d, int fd) = {
        close_descriptor,
        close_dispatcher,
        move_elsewhere,
        take_out,
    };
    world *w = world_of(state);
    asyncore_address at;
    int peer[5];

    other = asyncore_map_new(NULL);
    limits.connections = limits.per_peer = 1;
    serve(w, &limits, &at);
    for (int i = 0; i < 4; i++) {
        on_accepted = ways[i];
        peer[i] = come(w, &at);
        assert_counts(0, 0);
    }
    assert_int_equal(open_inside, 1);
    on_accepted = NULL;
    peer[4] = come(w, &at);
    assert_counts(1, 0);
    asyncore_close(&guests[2]); /* the one that was taken out */
    assert_counts(1, 0);
    for (int i = 0; i < 5; i++)
        close(peer[i]);
}

static void number_used_anew(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer;

    serve(w, &limits, &at);
    on_accepted = connect_with_its_number;
    peer = come(w, &at);
    /* The one that it made came in, too. */
    assert_int_equal(count, 2);
    assert_true(guests[0].connected);
    assert_counts(1, 0);
    asyncore_close(&guests[0]);
    run_until(w->map, guests[1].fd == -1);
    assert_counts(0, 0);
    close(peer);
}

static void poll_after_close(asyncore_dispatcher *d, int fd)
{
    asyncore_map *map = d->map;

    close(fd);
    on_accepted = NULL;
    asyncore_poll(map, 0);
}

static void number_used_anew_by_the_next(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer[2];

    serve(w, &limits, &at);
    on_accepted = poll_after_close;
    peer[0] = peer_connect(&at);
    peer[1] = peer_connect(&at);
    settle(w);
    assert_int_equal(count, 1);
    assert_counts(1, 0);
    leave(w, peer[1]);
    assert_counts(0, 0);
    close(peer[0]);
}

/* Closed behind the library's back, it counts until that is found out. */
static void lost(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *d;
    asyncore_address at;
    int peer[3], number;

    d = serve(w, &limits, &at);
    peer[0] = peer_connect(&at);
    peer[1] = peer_connect(&at);
    peer[2] = peer_connect(&at);
    settle(w);
    number = guests[0].fd;
    assert_counts(3, 0);
    close(peer[0]);
    peer[0] = peer_connect(&at);
    close(number);
    asyncore_readwrite(d, POLLIN);
    assert_int_equal(guests[3].fd, number);
    assert_counts(3, 0);
    leave(w, peer[1]);
    leave(w, peer[2]);
    assert_counts(1, 0);
    leave(w, peer[0]);
    assert_counts(0, 0);
}

static void lost_and_not_replaced(void **state)
{
    world *w = world_of(state);
    asyncore_dispatcher *d;
    asyncore_address at;
    int peer[2];

    /* First one that is counted, then one that is not. */
    for (size_t counted = 1; counted != SIZE_MAX; counted--) {
        d = serve(w, counted ? &limits : NULL, &at);
        on_accepted = NULL;
        count = 0;
        peer[0] = come(w, &at);
        assert_counts(counted, 0);
        assert_int_equal(asyncore_set_limits(d, &limits), 0);
        on_accepted = close_descriptor;
        peer[1] = peer_connect(&at);
        close(guests[0].fd);
        asyncore_readwrite(d, POLLIN);
        assert_int_equal(open_inside, counted + 1);
        assert_counts(counted, 0);
        asyncore_close(&guests[0]);
        assert_counts(0, 0);
        close(peer[0]), close(peer[1]);
    }
}

static void moved_later(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer;

    other = asyncore_map_new(NULL);
    serve(w, &limits, &at);
    peer = come(w, &at);
    assert_counts(1, 0);
    assert_int_equal(asyncore_del_channel(&guests[0]), 0);
    assert_counts(0, 0);
    assert_int_equal(asyncore_add_channel(&guests[0], other), 0);
    assert_counts(0, 0);
    assert_int_equal(asyncore_del_channel(&guests[0]), 0);
    assert_int_equal(asyncore_add_channel(&guests[0], w->map), 0);
    assert_counts(0, 0);
    leave(w, peer);
    assert_counts(0, 0);
}

static asyncore_limits *doomed;

static void close_listener(asyncore_dispatcher *d, int fd)
{
    asyncore_map *map = d->map;

    take_in(fd, map);
    asyncore_close(d);
    free(doomed);
    doomed = NULL;
}

static void free_limits(asyncore_dispatcher *d, int fd)
{
    asyncore_set_limits(d, NULL);
    free(doomed);
    doomed = NULL;
    take_in(fd, d->map);
}

static void renew_limits(asyncore_dispatcher *d, int fd)
{
    take_in(fd, d->map);
    asyncore_set_limits(d, NULL);
    asyncore_set_limits(d, doomed);
}

static void limits_gone_inside(void **state)
{
    static void (*const ways[])(asyncore_dispatcher * d, int fd) = {
        close_listener,
        free_limits,
        renew_limits,
    };
    world *w = world_of(state);
    asyncore_address at;

    for (int i = 0; i < 3; i++) {
        asyncore_dispatcher *d;
        int peer[2];

        doomed = calloc(1, sizeof *doomed);
        assert_non_null(doomed);
        d = serve(w, doomed, &at);
        peer[0] = come(w, &at);
        assert_int_equal(doomed->open, 1);
        on_accepted = ways[i];
        peer[1] = come(w, &at);
        on_accepted = NULL;
        assert_int_equal(count, 2 * (i + 1));
        if (doomed != NULL)
            assert_int_equal(doomed->open, 0);
        leave(w, peer[0]);
        leave(w, peer[1]);
        asyncore_close(d);
        free(doomed);
    }
}

static void poll_inside(asyncore_dispatcher *d, int fd)
{
    asyncore_map *map = d->map;

    asyncore_poll(map, 0);
    take_in(fd, map);
}

/* The limit holds in turns inside of handle_accepted too. */
static void nested(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer[8];

    limits.connections = 3;
    serve(w, &limits, &at);
    on_accepted = poll_inside;
    for (int i = 0; i < 8; i++)
        peer[i] = peer_connect(&at);
    settle(w);
    assert_int_equal(count, 3);
    assert_counts(3, 5);
    asyncore_close(&guests[0]);
    asyncore_close(&guests[1]);
    asyncore_close(&guests[2]);
    assert_counts(0, 5);
    for (int i = 0; i < 8; i++)
        close(peer[i]);
}

/* ---- Refusal ----------------------------------------------------------- */

/* What is unread would make close(2) a reset. */
static void word_to_one_that_has_sent(void **state)
{
    static char sent[30000];
    world *w = world_of(state);
    asyncore_address at;
    int peer[2];

    limits.connections = 1;
    limits.word = "421 Too many connections\r\n";
    serve(w, &limits, &at);
    peer[0] = come(w, &at);
    peer[1] = peer_connect(&at);
    peer_write(peer[1], sent, sizeof sent);
    settle(w);
    assert_refused(peer[1], limits.word);
    close(peer[0]);
}

/* More than is read: the reset comes after the end. */
static void word_to_one_that_goes_on_sending(void **state)
{
    static char sent[1000000];
    world *w = world_of(state);
    asyncore_address at;
    int peer[2];

    limits.connections = 1;
    limits.word = "421 Too many connections\r\n";
    serve(w, &limits, &at);
    peer[0] = come(w, &at);
    peer[1] = peer_connect(&at);
    assert_in_range(send(peer[1], sent, sizeof sent, MSG_DONTWAIT), 100000,
                    sizeof sent);
    settle(w);
    assert_refused(peer[1], limits.word);
    close(peer[0]);
}

static void word_longer_than_there_is_room(void **state)
{
    enum { SIZE = 8 << 20 };
    world *w = world_of(state);
    char *word = lend(w, SIZE + 1), data[4096];
    asyncore_address at;
    size_t got = 0, n;
    int64_t before;
    int peer[2];

    memset(word, 'x', SIZE);
    limits.connections = 1;
    limits.word = word;
    serve(w, &limits, &at);
    peer[0] = come(w, &at);
    before = now_ms();
    peer[1] = come(w, &at);
    assert_true(now_ms() - before < DEADLINE_MS / 2);
    assert_counts(1, 1);
    while ((n = peer_read(peer[1], data, sizeof data)) > 0)
        got += n;
    assert_in_range(got, 1, SIZE - 1);
    close(peer[0]), close(peer[1]);
}

/* It raises no SIGPIPE, and does not matter. */
static void refused_one_has_gone(void **state)
{
    world *w = world_of(state);
    asyncore_address at;
    int peer, gone[2];

    limits.connections = 1;
    limits.word = "421";
    serve(w, &limits, &at);
    peer = come(w, &at);
    gone[0] = peer_connect(&at);
    gone[1] = peer_connect(&at);
    peer_reset(gone[0]);
    close(gone[1]);
    settle(w);
    /* One that was reset before it was accepted may not be given out. */
    assert_in_range(limits.refused, 1, 2);
    assert_int_equal(limits.open, 1);
    close(peer);
}

/* They are taken 64 in a turn, and others have their turn too. */
static void flood(void **state)
{
    enum { CLIENTS = 100 };
    world *w = world_of(state);
    recorder *r;
    asyncore_address at;
    int peer[CLIENTS], inside, talker;

    limits.connections = 1;
    limits.word = "no";
    serve(w, &limits, &at);
    inside = come(w, &at);
    r = join_pair(w, &recorder_handlers, &talker);
    for (int i = 0; i < CLIENTS; i++)
        peer[i] = peer_connect(&at);
    peer_write(talker, "?", 1);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 2);
    assert_int_equal(r->ran.read, 1);
    assert_counts(1, 64);
    assert_int_equal(asyncore_poll(w->map, DEADLINE_MS), 1);
    assert_counts(1, CLIENTS);
    assert_int_equal(asyncore_poll(w->map, 0), 0);
    for (int i = 0; i < CLIENTS; i++)
        assert_refused(peer[i], "no");
    close(inside), close(talker);
}

static int stop_accepting;

static void accept_some(asyncore_dispatcher *d)
{
    stop_accepting++;
    asyncore_base(d)->handle_accept(d);
}

/* A handle_accept that ends in the default one keeps them, others do not. */
static void handle_accept_of_ones_own(void **state)
{
    static const asyncore_handlers classes[] = {
        {
            .handle_accept = accept_some,
            .handle_accepted = accepted,
            .handle_close = nothing,
        },
        { .handle_accept = record_accept, .handle_close = nothing },
    };
    world *w = world_of(state);
    asyncore_address at;
    asyncore_dispatcher *d = serve(w, &limits, &at);
    int peer, fd;

    limits.connections = 1;
    assert_int_equal(asyncore_set_handlers(d, &classes[0]), 0);
    peer = come(w, &at);
    assert_refused(come(w, &at), "");
    assert_true(stop_accepting >= 2);
    assert_counts(1, 1);
    close(peer);
    peer = peer_connect(&at);
    fd = asyncore_accept(d, NULL);
    assert_true(fd >= 0);
    close(fd), close(peer);
}

/* ---- Against a simple count -------------------------------------------- */

enum { STEPS = 4000, PEERS = 160, CLASSES = PEERS / 2 };

static struct {
    asyncore_address address[PEERS]; /* each with its class: its number / 2 */
    int in_class[CLASSES];
    int open;
    struct {
        int peer, class; /* class: -1: not counted */
    } guest[MOST];
} model;

static uint32_t seed;

static uint32_t pick(uint32_t bound)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % bound;
}

/* With a prefix of 64. */
static void make_addresses(void)
{
    for (int i = 0; i < PEERS; i++) {
        char text[64];
        int n = i / 2;

        if (n % 4 == 0)
            snprintf(text, sizeof text,
                     i % 2 ? "[::ffff:10.0.%d.1]:1" : "10.0.%d.1:1", n);
        else if (n % 4 == 1)
            snprintf(text, sizeof text, "10.0.1.%d:%d", n, i + 1);
        else
            snprintf(text, sizeof text, "[2001:db8::%x:%x:0:0:%x]:1", n, 0,
                     i % 2 + n);
        model.address[i] = parsed(text);
    }
}

static void arrive(world *w, const asyncore_address *at)
{
    uint32_t who = pick(PEERS), class = who / 2;
    uint64_t refused = limits.refused;
    int before = count, peer;
    bool full =
        (limits.connections != 0 && (size_t)model.open >= limits.connections) ||
        (limits.per_peer != 0 &&
         (size_t)model.in_class[class] >= limits.per_peer);

    from = &model.address[who];
    peer = peer_connect(at);
    run_until(w->map, count > before || limits.refused > refused);
    from = NULL;
    assert_int_equal(count - before, full ? 0 : 1);
    assert_int_equal(limits.refused - refused, full ? 1 : 0);
    if (full) {
        close(peer);
        return;
    }
    model.guest[before].peer = peer;
    model.guest[before].class = (int)class;
    model.in_class[class]++;
    model.open++;
}

static int first; /* of the guests that may be there */

static void depart(bool is_moved)
{
    int i = first + (int)pick((uint32_t)(count - first + 1));

    if (i == count || guests[i].fd == -1)
        return;
    if (is_moved)
        assert_int_equal(asyncore_del_channel(&guests[i]), 0);
    asyncore_close(&guests[i]);
    close(model.guest[i].peer);
    if (model.guest[i].class >= 0) {
        model.in_class[model.guest[i].class]--;
        model.open--;
    }
    while (first < count && guests[first].fd == -1)
        first++;
}

static void forget(asyncore_dispatcher *d)
{
    assert_int_equal(asyncore_set_limits(d, NULL), 0);
    assert_int_equal(asyncore_set_limits(d, &limits), 0);
    memset(model.in_class, 0, sizeof model.in_class);
    model.open = 0;
    for (int i = 0; i < count; i++)
        model.guest[i].class = -1;
}

static void at_random(world *w)
{
    asyncore_address at;
    asyncore_dispatcher *d;

    memset(&model, 0, sizeof model);
    make_addresses();
    limits.ipv6_prefix = 64;
    d = serve(w, &limits, &at);
    first = 0;
    for (int step = 0; step < STEPS && count < MOST; step++) {
        uint32_t what = pick(1000);

        if (what < 520 && count - first < 400)
            arrive(w, &at);
        else if (what < 980)
            depart(what % 2 == 0);
        else if (what < 998)
            limits.per_peer = pick(4), limits.connections = pick(8) * 20;
        else
            forget(d);
        assert_int_equal(limits.open, model.open);
    }
    for (int i = first; i < count; i++)
        if (guests[i].fd >= 0)
            close(model.guest[i].peer);
    asyncore_close_all(w->map);
    assert_int_equal(limits.open, 0);
}

static void against_a_count(void **state)
{
    world *w = world_of(state);

    for (seed = 1; seed < 4; seed++) {
        uint32_t kept = seed;

        begin();
        at_random(w);
        seed = kept;
    }
}

/* The worst that peers could do, if they knew the keys. */
static void all_collide(void **state)
{
    world *w = world_of(state);

    no_keys = true;
    seed = 17;
    at_random(w);
}

int main(void)
{
#define LIMITS(test, family, begin) \
    { \
#test " (" family ")", test, begin, end, NULL \
    }
#define EVERYWHERE(test) \
    LIMITS(test, "IPv4", here_ipv4), LIMITS(test, "IPv6", here_ipv6), \
        LIMITS(test, "unix", here_unix)
    const struct CMUnitTest tests[] = {
        EVERYWHERE(at_the_limit),
        EVERYWHERE(without_limits),
        EVERYWHERE(without_a_word),
        EVERYWHERE(changed_meanwhile),
        LIMITS(per_peer, "IPv4", here_ipv4),
        LIMITS(unix_peers, "unix", here_unix),
        LIMITS(mapped, "IPv4", here_ipv4),
        LIMITS(addresses, "unix", here_unix),
        EVERYWHERE(shared),
        EVERYWHERE(of_another_map),
        EVERYWHERE(listener_moved),
        EVERYWHERE(replaced),
        EVERYWHERE(listener_closed_first),
        EVERYWHERE(map_freed),
        EVERYWHERE(not_counted),
        EVERYWHERE(number_used_anew),
        EVERYWHERE(number_used_anew_by_the_next),
        EVERYWHERE(lost),
        EVERYWHERE(lost_and_not_replaced),
        EVERYWHERE(moved_later),
        EVERYWHERE(limits_gone_inside),
        EVERYWHERE(nested),
        EVERYWHERE(word_to_one_that_has_sent),
        LIMITS(word_to_one_that_goes_on_sending, "IPv4", here_ipv4),
        LIMITS(word_to_one_that_goes_on_sending, "IPv6", here_ipv6),
        EVERYWHERE(word_longer_than_there_is_room),
        EVERYWHERE(refused_one_has_gone),
        EVERYWHERE(flood),
        EVERYWHERE(handle_accept_of_ones_own),
        LIMITS(against_a_count, "unix", here_unix),
        LIMITS(all_collide, "unix", here_unix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
