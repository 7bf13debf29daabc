/*
 * redis_lite - the part of Redis that a cache needs. To try it:
 *
 *     redis_lite &                      redis-cli -p 6380
 *     redis_lite [::1]:6380 &           redis-benchmark -h ::1 -p 6380 -q
 *     redis_lite unix:/tmp/redis &      redis-cli -s /tmp/redis
 *     printf 'SET k v EX 10\nGET k\n' | nc -N 127.0.0.1 6380
 *
 * A request is lines and counted bytes by turns, "*2 $3 GET $3 key" with a
 * CRLF after each, or one line for people, "GET key". Each part says how the
 * next one ends: got_frame, which asynchat gives them whole, is a machine of
 * three states that sets the terminator to match. Many requests may come in
 * one packet, and asynchat sends the replies together. A client that does not
 * read its replies is not read from either. It may be silent for as long as it
 * likes, but a line or a word that it has begun has to be complete after
 * --timeout seconds (60; 0: never), and one that takes none of its replies for
 * so long is cut off.
 *
 * It knows PING, ECHO, SET (with EX or PX), GET, DEL, EXISTS, INCR, EXPIRE,
 * TTL, DBSIZE, FLUSHALL, QUIT, and as much of COMMAND and CONFIG as redis-cli
 * and redis-benchmark ask for. Its replies are redis-server's, errors too. The
 * keys, redis_keys.c, are kept in memory only. It ends by Ctrl-C, within a
 * second, when all requests that have come are answered; by another at once.
 */
#include "redis_commands.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_LINE = 65536,
    MAX_REQUEST = 16 << 20, /* bytes of its words together */
    KEPT = 4096,            /* of the room for words, between requests */
    STOP_MS = 700
};

static const char usage[] =
    "usage: redis_lite [--backend NAME] [--timeout SECONDS] "
    "[PORT | HOST:PORT | [V6]:PORT | unix:PATH]";

static asyncore_map *map;
static int64_t timeout_ms = 60000; /* -1: for ever */

typedef struct client {
    asynchat chat;
    enum next { REQUEST, SIZE, WORD } next; /* what the next frame is */
    size_t missing;                         /* words of the request */
    size_t used, room;
    char *words; /* those that are there, each behind its size */
} client;

static void expect_line(client *c, enum next next)
{
    c->next = next;
    /* People at a terminal send LF alone. */
    asynchat_set_terminator(&c->chat, "\n", 1);
}

/* Keeps a word until the last one has come. */
static void keep(client *c, struct text word)
{
    size_t needed = c->used + sizeof word.size + word.size;
    size_t room = needed > c->room * 2 ? needed : c->room * 2;
    char *words = needed > c->room ? realloc(c->words, room) : c->words;

    if (words == NULL) {
        redis_refuse(&c->chat, "out of memory");
        return;
    }
    if (needed > c->room)
        c->room = room;
    memcpy(words + c->used, &word.size, sizeof word.size);
    memcpy(words + c->used + sizeof word.size, word.data, word.size);
    c->words = words;
    c->used = needed;
}

static void run(client *c, const struct text *words, size_t n)
{
    redis_run(&c->chat, words, n);
    if (asyncore_queued(&c->chat.dispatcher) >= c->chat.limit)
        asyncore_set_readable(&c->chat.dispatcher, false);
}

static void got_word(client *c, struct text word)
{
    struct text words[MAX_WORDS];
    size_t n = 0;

    if (--c->missing > 0) {
        expect_line(c, SIZE);
        keep(c, word);
        return;
    }
    for (size_t i = 0; i < c->used; i += words[n++].size) {
        memcpy(&words[n].size, c->words + i, sizeof words[n].size);
        i += sizeof words[n].size;
        words[n].data = c->words + i;
    }
    words[n++] = word;
    c->used = 0;
    expect_line(c, REQUEST);
    run(c, words, n);
    if (c->room > KEPT) {
        free(c->words);
        c->words = NULL;
        c->room = 0;
    }
}

static void got_size(client *c, struct text line)
{
    char error[] = "expected '$', got ' '";
    int64_t size;

    if (line.size == 0 || line.data[0] != '$') {
        if (line.size > 0)
            error[sizeof error - 3] = line.data[0];
        redis_refuse(&c->chat, error);
    } else if (!text_to_number((struct text){ line.data + 1, line.size - 1 },
                               &size) ||
               size < 0 || size > MAX_REQUEST - (int64_t)c->used) {
        redis_refuse(&c->chat, "invalid bulk length");
    } else {
        c->next = WORD;
        asynchat_set_terminator_bytes(&c->chat, (size_t)size + 2);
    }
}

/*
 * A word of a line, up to a space, as redis-cli has it: in quotes there may be
 * spaces, and in double quotes \n \r \t \b \a \xHH. Writes it to *out, and
 * returns where it ended; NULL: its quotes do not.
 */
static const char *unquote(const char *p, const char *end, char **out)
{
    static const char names[] = "nrtba", meanings[] = "\n\r\t\b\a";
    char quote = '\0', hex[3] = "", *digits;
    const char *name;

    for (; p < end && (quote != '\0' || !isspace((unsigned char)*p)); p++) {
        char c = *p;
        if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
            continue;
        }
        if (quote != '\0' && c == quote) {
            quote = '\0';
            if (p + 1 < end && !isspace((unsigned char)p[1]))
                return NULL;
            continue;
        }
        if (quote == '\'' && c == '\\' && end - p > 1 && p[1] == '\'') {
            c = *++p;
        } else if (quote == '"' && c == '\\' && end - p > 1) {
            c = *++p;
            if (c == 'x' && end - p > 2 && isxdigit((unsigned char)p[1]) &&
                isxdigit((unsigned char)p[2])) {
                memcpy(hex, p + 1, 2);
                c = (char)strtol(hex, &digits, 16);
                p += 2;
            } else if (c != '\0' && (name = strchr(names, c)) != NULL) {
                c = meanings[name - names];
            }
        }
        *(*out)++ = c;
    }
    return quote == '\0' ? p : NULL;
}

static void got_line(client *c, struct text line)
{
    struct text words[MAX_WORDS];
    static char unquoted[MAX_LINE];
    char *out = unquoted;
    const char *p = line.data, *end = line.data + line.size;
    size_t n = 0;

    for (;;) {
        while (p < end && isspace((unsigned char)*p))
            p++;
        if (p == end || n == MAX_WORDS)
            break;
        words[n].data = out;
        p = unquote(p, end, &out);
        if (p == NULL) {
            redis_refuse(&c->chat, "unbalanced quotes in request");
            return;
        }
        words[n].size = (size_t)(out - words[n].data);
        n++;
    }
    if (p < end)
        redis_refuse(&c->chat, "too many words");
    else if (n > 0)
        run(c, words, n);
}

static void got_request(client *c, struct text line)
{
    int64_t n;

    if (line.size == 0 || line.data[0] != '*') {
        got_line(c, line);
    } else if (!text_to_number((struct text){ line.data + 1, line.size - 1 },
                               &n) ||
               n > MAX_WORDS) {
        redis_refuse(&c->chat, "invalid multibulk length");
    } else if (n > 0) {
        c->missing = (size_t)n;
        expect_line(c, SIZE);
    }
}

static void got_frame(asynchat *chat, const void *data, size_t size)
{
    client *c = (client *)chat;
    struct text frame = { data, size };

    if (c->next == WORD)
        frame.size -= 2;
    else if (size > 0 && frame.data[size - 1] == '\r')
        frame.size -= 1;
    if (c->next == REQUEST)
        got_request(c, frame);
    else if (c->next == SIZE)
        got_size(c, frame);
    else
        got_word(c, frame);
}

static void client_overflow(asynchat *chat)
{
    client *c = (client *)chat;

    redis_refuse(&c->chat, c->next == REQUEST ? "too big inline request"
                                              : "too big bulk count string");
}

static void client_drain(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, true);
}

static void client_eof(asyncore_dispatcher *d)
{
    if (asynchat_close_when_done((asynchat *)d, LINGER) < 0)
        asyncore_close(d);
}

static void client_timeout(asyncore_dispatcher *d)
{
    if (asyncore_queued(d) > 0)
        asyncore_base(d)->handle_timeout(d);
}

static void client_free(asyncore_dispatcher *d)
{
    client *c = (client *)d;

    free(c->words);
    free(c);
}

static const asynchat_handlers client_class = {
    .dispatcher = {
        .name = "client",
        .handle_drain = client_drain,
        .handle_eof = client_eof,
        .handle_timeout = client_timeout,
        .handle_free = client_free,
    },
    .handle_frame = got_frame,
    .handle_overflow = client_overflow,
};

/* ---- The server -------------------------------------------------------- */

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    client *c = calloc(1, sizeof *c);

    (void)peer;
    if (c == NULL) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    if (asynchat_init(&c->chat, &client_class, fd, d->map) < 0) {
        free(c);
        return;
    }
    c->chat.frame_limit = MAX_LINE;
    expect_line(c, REQUEST);
    if (asyncore_set_timeout(&c->chat.dispatcher, timeout_ms) < 0 ||
        asynchat_set_frame_timeout(&c->chat, timeout_ms) < 0)
        asyncore_close(&c->chat.dispatcher);
}

static const asyncore_handlers server = {
    .name = "redis_lite",
    .handle_accepted = accepted,
};

/* These stay to the end, so that a second signal finds them still. */
static asyncore_signal_handler interrupt, terminate;

static void stop(void *arg)
{
    static bool again;

    (void)arg;
    if (again)
        asyncore_stop(map);
    else
        asyncore_stop_when_done(map, STOP_MS);
    again = true;
}

static int fail(const char *what)
{
    fprintf(stderr, "redis_lite: %s: %s\n", what, strerror(errno));
    return 1;
}

static bool set(const char *option, const char *value, const char **backend)
{
    int64_t seconds;

    if (strcmp(option, "--backend") == 0) {
        *backend = value;
        return true;
    }
    if (strcmp(option, "--timeout") != 0 ||
        !text_to_number((struct text){ value, strlen(value) }, &seconds) ||
        seconds < 0 || seconds > INT_MAX)
        return false;
    timeout_ms = seconds > 0 ? seconds * 1000 : -1;
    return true;
}

int main(int argc, char **argv)
{
    const char *backend = NULL, *where = "127.0.0.1:6380";
    char text[ASYNCORE_ADDRESS_TEXT];
    asyncore_address address;
    asyncore_dispatcher d;
    int status = 0;

    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    for (; argc > 2 && set(argv[1], argv[2], &backend); argc -= 2)
        argv += 2;
    if (argc == 2)
        where = argv[1];
    map = argc <= 2 ? asyncore_map_new(backend) : NULL;
    if (map == NULL || asyncore_address_resolve(&address, where) < 0) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (keys_init(map) < 0)
        return fail("keys");

    asyncore_signal(&interrupt, map, SIGINT, stop, NULL);
    asyncore_signal(&terminate, map, SIGTERM, stop, NULL);
    asyncore_dispatcher_init(&d, &server, -1, map);
    if (asyncore_listen_on(&d, where, SOMAXCONN) < 0 ||
        asyncore_getsockname(&d, &address) < 0)
        return fail(where);
    asyncore_address_format(&address, text, sizeof text);
    if (printf("listening on %s\n", text) < 0 || fflush(stdout) != 0)
        status = fail("standard output");
    else if (asyncore_loop(map, -1, -1) < 0)
        status = fail(text);
    asyncore_close_all(map);
    keys_free();
    if (address.any.sa_family == AF_UNIX)
        unlink(address.un.sun_path);
    return status;
}
