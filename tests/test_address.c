/*
 * test_address.c - addresses as text: every notation, and what must not pass
 * for one.
 */
#include "support/world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static asyncore_address parsed(const char *text)
{
    asyncore_address a;

    memset(&a, 0xa5, sizeof a);
    if (asyncore_address_parse(&a, text) != 0)
        fail_msg("refused: %s (%s)", text, strerror(errno));
    return a;
}

static void check_in(const char *text, const char *host, int port)
{
    asyncore_address a = parsed(text);
    char buffer[INET_ADDRSTRLEN];

    assert_int_equal(a.any.sa_family, AF_INET);
    assert_int_equal(a.size, sizeof a.in);
    assert_string_equal(
        inet_ntop(AF_INET, &a.in.sin_addr, buffer, sizeof buffer), host);
    assert_int_equal(ntohs(a.in.sin_port), port);
}

static void check_in6(const char *text, const char *host, int port)
{
    asyncore_address a = parsed(text);
    char buffer[INET6_ADDRSTRLEN];

    assert_int_equal(a.any.sa_family, AF_INET6);
    assert_int_equal(a.size, sizeof a.in6);
    assert_string_equal(
        inet_ntop(AF_INET6, &a.in6.sin6_addr, buffer, sizeof buffer), host);
    assert_int_equal(ntohs(a.in6.sin6_port), port);
}

static void ipv4(void **state)
{
    (void)state;
    check_in("80", "127.0.0.1", 80);
    check_in("0", "127.0.0.1", 0);
    check_in("65535", "127.0.0.1", 65535);
    check_in("1.2.3.4:80", "1.2.3.4", 80);
    check_in("0.0.0.0:0", "0.0.0.0", 0);
    check_in("255.255.255.255:65535", "255.255.255.255", 65535);
    check_in("127.0.0.1:0080", "127.0.0.1", 80);
}

static void ipv6(void **state)
{
    (void)state;
    check_in6("[::1]:80", "::1", 80);
    check_in6("[::]:0", "::", 0);
    check_in6("[2001:db8::7]:65535", "2001:db8::7", 65535);
    check_in6("[2001:DB8:0:0:0:0:0:7]:1", "2001:db8::7", 1);
    check_in6("[::ffff:1.2.3.4]:80", "::ffff:1.2.3.4", 80);
}

static void unix_paths(void **state)
{
    enum { ROOM = sizeof((struct sockaddr_un *)NULL)->sun_path };
    static const size_t fitting[] = { 1, 2, 50, ROOM - 2, ROOM - 1 };
    static const size_t too_long[] = { ROOM, ROOM + 1, 200, 5000 };
    char text[6000] = "unix:";
    asyncore_address a;

    (void)state;
    for (size_t i = 0; i < sizeof fitting / sizeof *fitting; i++) {
        memset(text + 5, 'p', fitting[i]);
        text[5 + fitting[i]] = '\0';
        a = parsed(text);
        assert_int_equal(a.any.sa_family, AF_UNIX);
        assert_string_equal(a.un.sun_path, text + 5);
        assert_true(a.size >
                    offsetof(struct sockaddr_un, sun_path) + fitting[i] - 1);
        assert_true(a.size <= sizeof a.un);
    }
    for (size_t i = 0; i < sizeof too_long / sizeof *too_long; i++) {
        memset(text + 5, 'p', too_long[i]);
        text[5 + too_long[i]] = '\0';
        errno = 0;
        assert_int_equal(asyncore_address_parse(&a, text), -1);
        assert_int_equal(errno, ENAMETOOLONG);
        errno = 0;
        assert_int_equal(asyncore_address_resolve(&a, text), -1);
        assert_int_equal(errno, ENAMETOOLONG);
    }
    /* A path may hold anything, colons too. */
    a = parsed("unix:/a:b/[c]:80");
    assert_string_equal(a.un.sun_path, "/a:b/[c]:80");
    a = parsed("unix:relative path");
    assert_string_equal(a.un.sun_path, "relative path");
}

static void malformed(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        ":80",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:99999999999999999999",
        "1.2.3.4:-1",
        "1.2.3.4:+1",
        "1.2.3.4: 80",
        "1.2.3.4:80 ",
        " 1.2.3.4:80",
        "1.2.3.4:80\n",
        "1.2.3.4:0x50",
        "1.2.3.4:http",
        "1.2.3.4:80:80",
        "1.2.3:80",
        "1:80",
        "0x7f.1:80",
        "1.2.3.256:80",
        "1.2.3.4.5:80",
        "-1",
        "+1",
        "65536",
        "80x",
        "http",
        " 80",
        "localhost:80",
        "::1",
        "::1:80",
        "[::1]",
        "[::1]:",
        "[::1]80",
        "[::1]:80x",
        "[::1]:65536",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[1.2.3.4]:80",
        "[::g]:80",
        "[::1%]:80",
        "[::1]x:80",
        "x[::1]:80",
        "unix:",
        "unix",
    };
    asyncore_address a;
    char longest[2000];

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        errno = 0;
        if (asyncore_address_parse(&a, texts[i]) != -1)
            fail_msg("taken for an address: \"%s\"", texts[i]);
        if (errno != EINVAL)
            fail_msg("\"%s\": %s", texts[i], strerror(errno));
    }
    memset(longest, '1', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(asyncore_address_parse(&a, longest), -1);
    assert_int_equal(errno, EINVAL);
    longest[1000] = ':';
    assert_int_equal(asyncore_address_parse(&a, longest), -1);
    assert_int_equal(errno, EINVAL);
}

static void check_round_trip(const char *text)
{
    asyncore_address a = parsed(text);
    asyncore_address again;
    char out[ASYNCORE_ADDRESS_TEXT];

    assert_ptr_equal(asyncore_address_format(&a, out, sizeof out), out);
    assert_string_equal(out, text);
    again = parsed(out);
    assert_int_equal(again.size, a.size);
    assert_memory_equal(&again.storage, &a.storage, a.size);
}

static void round_trips(void **state)
{
    char text[ASYNCORE_ADDRESS_TEXT] = "unix:";

    (void)state;
    check_round_trip("127.0.0.1:80");
    check_round_trip("255.255.255.255:65535");
    check_round_trip("0.0.0.0:0");
    check_round_trip("[::1]:80");
    check_round_trip("[::]:0");
    check_round_trip("[2001:db8:1:2:3:4:5:6]:65535");
    check_round_trip("unix:/run/x.sock");
    check_round_trip("unix:x");
    memset(text + 5, 'p', sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
    check_round_trip(text);
}

static void zones(void **state)
{
    char name[IF_NAMESIZE], text[ASYNCORE_ADDRESS_TEXT];
    unsigned loopback = if_nametoindex("lo");
    asyncore_address a;

    (void)state;
    if (loopback == 0)
        skip();
    assert_non_null(if_indextoname(loopback, name));
    snprintf(text, sizeof text, "[fe80::1%%%s]:80", name);
    a = parsed(text);
    assert_int_equal(a.in6.sin6_scope_id, loopback);
    check_round_trip(text);

    /* One without a name is written as its number, which can be read. */
    a.in6.sin6_scope_id = 54321;
    asyncore_address_format(&a, text, sizeof text);
    assert_string_equal(text, "[fe80::1%54321]:80");
    assert_int_equal(parsed(text).in6.sin6_scope_id, 54321);

    assert_int_equal(asyncore_address_parse(&a, "[fe80::1%nosuchzone]:80"), -1);
    assert_int_equal(errno, EINVAL);
}

/* Cut off as by snprintf: size bytes are never exceeded. */
static void tiny_buffers(void **state)
{
    static const char *const texts[] = {
        "127.0.0.1:8007",
        "[2001:db8::7]:65535",
        "unix:/run/x.sock",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        asyncore_address a = parsed(texts[i]);

        for (size_t size = 1; size <= strlen(texts[i]) + 1; size++) {
            char out[64];

            memset(out, '#', sizeof out);
            asyncore_address_format(&a, out, size);
            assert_int_equal(strlen(out), size - 1);
            assert_int_equal(strncmp(out, texts[i], size - 1), 0);
            for (size_t j = size; j < sizeof out; j++)
                assert_int_equal(out[j], '#');
        }
        asyncore_address_format(&a, NULL, 0);
    }
}

/* What the kernel fills in need not be what we would write. */
static void foreign(void **state)
{
    char text[ASYNCORE_ADDRESS_TEXT];
    asyncore_address a;

    (void)state;
    memset(&a, 0, sizeof a);
    a.un.sun_family = AF_UNIX;
    a.size = offsetof(struct sockaddr_un, sun_path);
    assert_string_equal(asyncore_address_format(&a, text, sizeof text),
                        "unix:");

    /* A path of 108 bytes has no NUL: the byte after it is not part of it. */
    memset(a.un.sun_path, 'q', sizeof a.un.sun_path);
    memset((char *)&a.un + sizeof a.un, 'z', 4);
    a.size = sizeof a.un;
    asyncore_address_format(&a, text, sizeof text);
    assert_int_equal(strlen(text), 5 + sizeof a.un.sun_path);
    assert_null(strchr(text, 'z'));

    /* The size ends a path too. */
    a.size = offsetof(struct sockaddr_un, sun_path) + 3;
    assert_string_equal(asyncore_address_format(&a, text, sizeof text),
                        "unix:qqq");

    memset(&a, 0, sizeof a);
    a.any.sa_family = AF_UNSPEC;
    a.size = sizeof a.any;
    asyncore_address_format(&a, text, sizeof text);
    assert_true(strlen(text) > 0);
    assert_int_equal(asyncore_address_parse(&a, text), -1);
}

static void resolve(void **state)
{
    asyncore_address a;

    (void)state;
    assert_int_equal(asyncore_address_resolve(&a, "1.2.3.4:80"), 0);
    assert_int_equal(a.any.sa_family, AF_INET);
    assert_int_equal(ntohs(a.in.sin_port), 80);
    assert_int_equal(asyncore_address_resolve(&a, "[::1]:80"), 0);
    assert_int_equal(a.any.sa_family, AF_INET6);
    assert_int_equal(asyncore_address_resolve(&a, "8007"), 0);
    assert_int_equal(ntohs(a.in.sin_port), 8007);
    assert_int_equal(asyncore_address_resolve(&a, "unix:/x"), 0);
    assert_int_equal(a.any.sa_family, AF_UNIX);

    /* From the hosts file, without a network. */
    assert_int_equal(asyncore_address_resolve(&a, "localhost:80"), 0);
    if (a.any.sa_family == AF_INET) {
        assert_int_equal(ntohl(a.in.sin_addr.s_addr), INADDR_LOOPBACK);
        assert_int_equal(ntohs(a.in.sin_port), 80);
        assert_int_equal(a.size, sizeof a.in);
    } else {
        assert_int_equal(a.any.sa_family, AF_INET6);
        assert_true(IN6_IS_ADDR_LOOPBACK(&a.in6.sin6_addr));
        assert_int_equal(ntohs(a.in6.sin6_port), 80);
        assert_int_equal(a.size, sizeof a.in6);
    }
    if (getservbyname("http", "tcp") != NULL) {
        assert_int_equal(asyncore_address_resolve(&a, "1.2.3.4:http"), 0);
        assert_int_equal(ntohs(a.in.sin_port), 80);
    }
}

static void resolve_malformed(void **state)
{
    static const char *const texts[] = {
        "",          ":",       ":80",      "localhost:",
        "[::1]",     "[::1]:",  "[]:80",    "unix:",
        "::1:80",    "[::1:80", "1.2.3.4:", "localhost:65536",
        "[::1]x:80",
    };
    asyncore_address a;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        errno = 0;
        if (asyncore_address_resolve(&a, texts[i]) != -1)
            fail_msg("taken for an address: \"%s\"", texts[i]);
        assert_true(errno == EINVAL || errno == ENOENT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4),         cmocka_unit_test(ipv6),
        cmocka_unit_test(unix_paths),   cmocka_unit_test(malformed),
        cmocka_unit_test(round_trips),  cmocka_unit_test(zones),
        cmocka_unit_test(tiny_buffers), cmocka_unit_test(foreign),
        cmocka_unit_test(resolve),      cmocka_unit_test(resolve_malformed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
