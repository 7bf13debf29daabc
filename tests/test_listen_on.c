/*
 * test_listen_on.c - a listener in one call: asyncore_listen_on.
 */
#include <asyncore.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static asyncore_map *map;
static char directory[] = "/tmp/asyncore-XXXXXX";
static char path[64], address_of_path[80];
static int accepted, freed;

static int set_up(void **state)
{
    (void)state;
    map = asyncore_map_new(NULL);
    accepted = freed = 0;
    unlink(path);
    return map == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    asyncore_map_free(map);
    return 0;
}

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/socket", directory);
    snprintf(address_of_path, sizeof address_of_path, "unix:%s", path);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void count_accepted(asyncore_dispatcher *d, int fd,
                           const asyncore_address *peer)
{
    (void)d;
    (void)peer;
    close(fd);
    accepted++;
}

static void count_freed(asyncore_dispatcher *d)
{
    (void)d;
    freed++;
}

static const asyncore_handlers server = {
    .name = "server",
    .handle_accepted = count_accepted,
    .handle_free = count_freed,
};

static void expired(void *arg)
{
    *(bool *)arg = true;
}

/* The listener accepts a connection to that address. */
static void assert_answers(const asyncore_address *address)
{
    int before = accepted;
    int fd = socket(address->any.sa_family, SOCK_STREAM, 0);
    asyncore_timer deadline = { 0 };
    bool late = false;

    assert_int_equal(connect(fd, &address->any, address->size), 0);
    asyncore_call_later(&deadline, map, 10000, expired, &late);
    while (accepted == before && !late)
        asyncore_poll(map, -1);
    asyncore_timer_cancel(&deadline);
    assert_false(late);
    close(fd);
}

static void ports(void **state)
{
    static const char *const texts[] = { "0", "127.0.0.1:0", "localhost:0" };
    asyncore_address address;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        static asyncore_dispatcher d;

        asyncore_dispatcher_init(&d, &server, -1, map);
        assert_int_equal(asyncore_listen_on(&d, texts[i], 5), 0);
        assert_true(d.accepting);
        assert_int_equal(asyncore_getsockname(&d, &address), 0);
        assert_answers(&address);
        asyncore_close_all(map);
    }
}

static void both_families(void **state)
{
    asyncore_address address, v4;
    static asyncore_dispatcher d;

    (void)state;
    asyncore_dispatcher_init(&d, &server, -1, map);
    if (asyncore_listen_on(&d, "[::]:0", 5) < 0)
        skip();
    asyncore_getsockname(&d, &address);
    asyncore_address_parse(&v4, "127.0.0.1:1");
    v4.in.sin_port = address.in6.sin6_port;
    assert_answers(&v4);
    address.in6.sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
    assert_answers(&address);
}

static void assert_refused(const char *text, int error)
{
    static asyncore_dispatcher d;

    asyncore_dispatcher_init(&d, &server, -1, map);
    errno = 0;
    assert_int_equal(asyncore_listen_on(&d, text, 5), -1);
    assert_int_equal(errno, error);
    assert_int_equal(d.fd, -1);
    assert_false(d.accepting);
    asyncore_poll(map, 0);
    assert_int_equal(freed, 0);
}

static void failures(void **state)
{
    char text[ASYNCORE_ADDRESS_TEXT];
    asyncore_address address;
    static asyncore_dispatcher d;

    (void)state;
    assert_refused("nonsense:", EINVAL);
    assert_refused("unix:", EINVAL);
    assert_refused("unix:/nowhere/at/all", ENOENT);
    asyncore_dispatcher_init(&d, &server, -1, map);
    assert_int_equal(asyncore_listen_on(&d, "0", 5), 0);
    assert_int_equal(asyncore_listen_on(&d, "0", 5), -1);
    assert_int_equal(errno, EEXIST);
    asyncore_getsockname(&d, &address);
    assert_refused(asyncore_address_format(&address, text, sizeof text),
                   EADDRINUSE);
    assert_answers(&address);
}

static int bind_with_reuse_port(asyncore_dispatcher *d,
                                const asyncore_address *address)
{
    assert_int_equal(asyncore_dispatcher_init(d, &server, -1, map), 0);
    assert_int_equal(asyncore_create_socket(d, AF_INET, SOCK_STREAM), 0);
    if (asyncore_set_reuse_port(d) < 0) {
        assert_int_equal(errno, ENOPROTOOPT);
        skip();
    }
    return asyncore_bind(d, address);
}

static void one_port_for_several(void **state)
{
    static asyncore_dispatcher first, second, other;
    asyncore_address address;

    (void)state;
    asyncore_address_parse(&address, "127.0.0.1:0");
    assert_int_equal(bind_with_reuse_port(&first, &address), 0);
    assert_int_equal(asyncore_getsockname(&first, &address), 0);
    assert_int_equal(bind_with_reuse_port(&second, &address), 0);
    assert_int_equal(asyncore_listen(&first, 5), 0);
    assert_int_equal(asyncore_listen(&second, 5), 0);
    /* Who does not ask for it has no part in it. */
    asyncore_dispatcher_init(&other, &server, -1, map);
    assert_int_equal(asyncore_create_socket(&other, AF_INET, SOCK_STREAM), 0);
    assert_int_equal(asyncore_bind(&other, &address), -1);
    assert_int_equal(errno, EADDRINUSE);
    /* Either of the two, and the one that is left. */
    assert_answers(&address);
    asyncore_close(&first);
    assert_answers(&address);
    asyncore_close(&second);
    assert_int_equal(asyncore_set_reuse_port(&second), -1);
    assert_int_equal(errno, EBADF);
}

static void path_of_a_live_server(void **state)
{
    asyncore_address address;
    static asyncore_dispatcher d;

    (void)state;
    asyncore_dispatcher_init(&d, &server, -1, map);
    assert_int_equal(asyncore_listen_on(&d, address_of_path, 5), 0);
    assert_refused(address_of_path, EADDRINUSE);
    asyncore_address_parse(&address, address_of_path);
    assert_answers(&address);
}

/* Its backlog is full, so that it does not answer; but it is there. */
static void path_of_a_server_with_no_time(void **state)
{
    int fds[8], count = 0, listener = socket(AF_UNIX, SOCK_STREAM, 0);
    asyncore_address address;

    (void)state;
    asyncore_address_parse(&address, address_of_path);
    assert_int_equal(bind(listener, &address.any, address.size), 0);
    assert_int_equal(listen(listener, 0), 0);
    while (count < 8) {
        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fds[count++], &address.any, address.size) < 0)
            break;
    }
    assert_refused(address_of_path, EADDRINUSE);
    assert_int_equal(access(path, F_OK), 0);
    while (count > 0)
        close(fds[--count]);
    close(listener);
}

static void path_that_is_left_over(void **state)
{
    asyncore_address address;
    static asyncore_dispatcher d;

    (void)state;
    asyncore_dispatcher_init(&d, &server, -1, map);
    assert_int_equal(asyncore_listen_on(&d, address_of_path, 5), 0);
    asyncore_close(&d);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(asyncore_listen_on(&d, address_of_path, 5), 0);
    asyncore_address_parse(&address, address_of_path);
    assert_answers(&address);
}

static void path_that_is_no_socket(void **state)
{
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    struct stat file;

    (void)state;
    assert_int_equal(write(fd, "precious", 8), 8);
    close(fd);
    assert_refused(address_of_path, EADDRINUSE);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_size, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(both_families, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_port_for_several, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(path_of_a_live_server, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(path_of_a_server_with_no_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(path_that_is_left_over, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(path_that_is_no_socket, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
