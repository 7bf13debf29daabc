/*
 * world.c - see world.h. The clean-up does not lean on what is under test:
 * directories and peers are removed with plain system calls.
 */
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int open_descriptors(void)
{
    struct pollfd fds[256];
    int count = 0;

    /* poll tells of many at a time which of them are none. */
    for (int first = 0; first < 2048; first += 256) {
        for (int i = 0; i < 256; i++)
            fds[i] = (struct pollfd){ .fd = first + i };
        if (poll(fds, 256, 0) < 0)
            return -1;
        for (int i = 0; i < 256; i++)
            count += (fds[i].revents & POLLNVAL) == 0;
    }
    return count;
}

static int begin(void **state, int family)
{
    world *w = calloc(1, sizeof *w);

    if (w == NULL)
        return -1;
    alarm(TEST_SECONDS);
    w->family = family;
    w->descriptors = open_descriptors();
    w->map = asyncore_map_new(NULL);
    if (w->map == NULL) {
        free(w);
        return -1;
    }
    w->previous = asyncore_set_socket_map(w->map);
    *state = w;
    return 0;
}

int begin_ipv4(void **state)
{
    return begin(state, AF_INET);
}

int begin_ipv6(void **state)
{
    return begin(state, AF_INET6);
}

int begin_unix(void **state)
{
    return begin(state, AF_UNIX);
}

static void remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;

    if (directory == NULL)
        return;
    while ((entry = readdir(directory)) != NULL)
        unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(path);
}

int end_world(void **state)
{
    world *w = *state;
    int leaked;

    asyncore_set_socket_map(w->previous);
    asyncore_map_free(w->map);
    if (w->directory[0] != '\0')
        remove_directory(w->directory);
    while (w->lent > 0)
        free(w->memory[--w->lent]);
    leaked = open_descriptors() - w->descriptors;
    if (leaked != 0)
        print_error("%d descriptors were not given back\n", leaked);
    free(w);
    alarm(0);
    return leaked != 0 ? -1 : 0;
}

static bool have_ipv6(void)
{
    struct sockaddr_in6 loopback = {
        .sin6_family = AF_INET6,
        .sin6_addr = IN6ADDR_LOOPBACK_INIT,
    };
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool bound;

    if (fd < 0)
        return false;
    bound = bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0;
    close(fd);
    return bound;
}

world *world_of(void **state)
{
    world *w = *state;

    if (w->family == AF_INET6 && !have_ipv6())
        skip();
    return w;
}

void *lend(world *w, size_t size)
{
    void *memory = calloc(1, size);

    assert_non_null(memory);
    assert_true((size_t)w->lent < sizeof w->memory / sizeof *w->memory);
    w->memory[w->lent++] = memory;
    return memory;
}

asyncore_address fresh_address(world *w)
{
    asyncore_address a;

    memset(&a, 0, sizeof a);
    a.any.sa_family = (sa_family_t)w->family;
    switch (w->family) {
    case AF_INET:
        a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        a.size = sizeof a.in;
        break;
    case AF_INET6:
        a.in6.sin6_addr = in6addr_loopback;
        a.size = sizeof a.in6;
        break;
    default:
        if (w->directory[0] == '\0') {
            snprintf(w->directory, sizeof w->directory, "/tmp/asyncore.XXXXXX");
            assert_non_null(mkdtemp(w->directory));
        }
        snprintf(a.un.sun_path, sizeof a.un.sun_path, "%s/%d", w->directory,
                 w->names++);
        a.size = sizeof a.un;
    }
    return a;
}

asyncore_address listen_at(world *w, asyncore_dispatcher *d,
                           const asyncore_handlers *handlers)
{
    asyncore_address a = fresh_address(w);

    assert_int_equal(asyncore_dispatcher_init(d, handlers, -1, w->map), 0);
    assert_int_equal(asyncore_create_socket(d, w->family, SOCK_STREAM), 0);
    asyncore_set_reuse_addr(d);
    assert_int_equal(asyncore_bind(d, &a), 0);
    assert_int_equal(asyncore_listen(d, 128), 0);
    assert_int_equal(asyncore_getsockname(d, &a), 0);
    return a;
}

void connect_to(asyncore_dispatcher *d, const asyncore_handlers *handlers,
                const asyncore_address *to)
{
    assert_int_equal(asyncore_dispatcher_init(d, handlers, -1, NULL), 0);
    assert_int_equal(asyncore_create_socket(d, to->any.sa_family, SOCK_STREAM),
                     0);
    assert_int_equal(asyncore_connect(d, to), 0);
}

int peer_socket(int family, int type)
{
    struct timeval deadline = { .tv_sec = DEADLINE_MS / 1000 };
    int fd = socket(family, type | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
    return fd;
}

int peer_listen(world *w, asyncore_address *at)
{
    int fd = peer_socket(w->family, SOCK_STREAM);

    *at = fresh_address(w);
    assert_int_equal(bind(fd, &at->any, at->size), 0);
    assert_int_equal(listen(fd, 128), 0);
    at->size = sizeof at->storage;
    assert_int_equal(getsockname(fd, &at->any, &at->size), 0);
    return fd;
}

int peer_connect(const asyncore_address *to)
{
    int fd = peer_socket(to->any.sa_family, SOCK_STREAM);

    assert_int_equal(connect(fd, &to->any, to->size), 0);
    return fd;
}

int peer_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

void peer_write(int fd, const void *data, size_t size)
{
    const char *next = data;

    while (size > 0) {
        ssize_t n = send(fd, next, size, MSG_NOSIGNAL);

        assert_true(n > 0);
        next += n;
        size -= (size_t)n;
    }
}

size_t peer_read(int fd, void *data, size_t size)
{
    size_t have = 0;

    while (have < size) {
        ssize_t n = recv(fd, (char *)data + have, size - have, 0);

        assert_true(n >= 0);
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return have;
}

void peer_reset(int fd)
{
    struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

void peer_pair(int type, int ends[2])
{
    struct timeval deadline = { .tv_sec = DEADLINE_MS / 1000 };

    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], SOL_SOCKET, SO_RCVTIMEO, &deadline,
                   sizeof deadline);
        setsockopt(ends[i], SOL_SOCKET, SO_SNDTIMEO, &deadline,
                   sizeof deadline);
    }
}

void run_turns(asyncore_map *map, int turns)
{
    while (turns-- > 0)
        assert_true(asyncore_poll(map, 0) >= 0);
}

static int captured = -1;
static int standard_error = -1;

void capture_begin(void)
{
    char name[] = "/tmp/asyncore.XXXXXX";

    captured = mkstemp(name);
    assert_true(captured >= 0);
    unlink(name);
    standard_error = dup(STDERR_FILENO);
    assert_true(dup2(captured, STDERR_FILENO) >= 0);
}

char *capture_end(char *text, size_t size)
{
    ssize_t n;

    dup2(standard_error, STDERR_FILENO);
    close(standard_error);
    n = pread(captured, text, size - 1, 0);
    close(captured);
    text[n > 0 ? n : 0] = '\0';
    return text;
}
