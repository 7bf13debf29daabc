/*
 * redis_commands.c - the commands, and their replies as redis-server's. It
 * knows the keys, and of the client that it is an asynchat to push to.
 */
#include "redis_commands.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char ok[] = "+OK\r\n";
static const char not_a_number[] =
    "-ERR value is not an integer or out of range\r\n";
static const char no_memory[] = "-ERR out of memory\r\n";

/* A reply as it stands. */
static void reply(asynchat *client, const char *text)
{
    asynchat_push(client, text, strlen(text));
}

static void reply_number(asynchat *client, int64_t n)
{
    char line[32];

    snprintf(line, sizeof line, ":%lld\r\n", (long long)n);
    reply(client, line);
}

static void reply_text(asynchat *client, struct text t)
{
    char line[32];

    snprintf(line, sizeof line, "$%zu\r\n", t.size);
    reply(client, line);
    asynchat_push(client, t.data, t.size);
    reply(client, "\r\n");
}

static void reply_error(asynchat *client, const char *format, ...)
    ASYNCORE_PRINTF(2, 3);

static void reply_error(asynchat *client, const char *format, ...)
{
    char line[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *p = line; *p != '\0'; p++) {
        if (*p == '\r' || *p == '\n')
            *p = ' '; /* what a client has sent does not end the line */
    }
    reply(client, "-ERR ");
    reply(client, line);
    reply(client, "\r\n");
}

/* For "%.*s": as much of a word as an error tells. */
#define SHOWN(word) (int)((word).size < 128 ? (word).size : 128), (word).data

void redis_refuse(asynchat *client, const char *why)
{
    reply_error(client, "Protocol error: %s", why);
    asynchat_close_when_done(client, LINGER);
}

static bool is(struct text t, const char *word)
{
    return t.size == strlen(word) && strncasecmp(t.data, word, t.size) == 0;
}

static void do_ping(asynchat *client, const struct text *words, size_t n)
{
    if (n == 1)
        reply(client, "+PONG\r\n");
    else
        reply_text(client, words[1]);
}

static void do_echo(asynchat *client, const struct text *words, size_t n)
{
    (void)n;
    reply_text(client, words[1]);
}

static void do_get(asynchat *client, const struct text *words, size_t n)
{
    const struct entry *e = keys_find(words[1]);
    struct text found;

    (void)n;
    if (e == NULL) {
        reply(client, "$-1\r\n");
    } else {
        found = entry_reply(e);
        asynchat_push(client, found.data, found.size);
    }
}

static void do_set(asynchat *client, const struct text *words, size_t n)
{
    int64_t expires = 0, unit, time;

    for (size_t i = 3; i < n; i += 2) {
        unit = is(words[i], "ex") ? 1000 : is(words[i], "px") ? 1 : 0;
        if (unit == 0 || i + 1 == n || expires != 0) {
            reply_error(client, "syntax error");
            return;
        }
        if (!text_to_number(words[i + 1], &time)) {
            reply(client, not_a_number);
            return;
        }
        if (time <= 0 || time > (INT64_MAX - keys_now()) / unit) {
            reply_error(client, "invalid expire time in 'set' command");
            return;
        }
        expires = keys_now() + time * unit;
    }
    reply(client, keys_put(words[1], words[2], expires) == 0 ? ok : no_memory);
}

static void do_del(asynchat *client, const struct text *words, size_t n)
{
    int64_t deleted = 0;

    for (size_t i = 1; i < n; i++)
        deleted += keys_delete(words[i]);
    reply_number(client, deleted);
}

static void do_exists(asynchat *client, const struct text *words, size_t n)
{
    int64_t found = 0;

    for (size_t i = 1; i < n; i++)
        found += keys_find(words[i]) != NULL;
    reply_number(client, found);
}

static void do_incr(asynchat *client, const struct text *words, size_t n)
{
    const struct entry *e = keys_find(words[1]);
    int64_t number = 0;
    char text[24];
    int size;

    (void)n;
    if (e != NULL && !text_to_number(entry_value(e), &number)) {
        reply(client, not_a_number);
    } else if (number == INT64_MAX) {
        reply_error(client, "increment or decrement would overflow");
    } else {
        size = snprintf(text, sizeof text, "%lld", (long long)++number);
        if (keys_put(words[1], (struct text){ text, (size_t)size },
                     e != NULL ? entry_expires(e) : 0) == 0)
            reply_number(client, number);
        else
            reply(client, no_memory);
    }
}

static void do_expire(asynchat *client, const struct text *words, size_t n)
{
    struct entry *e = keys_find(words[1]);
    int64_t time;

    if (n > 3) {
        reply_error(client, "Unsupported option %.*s", SHOWN(words[3]));
    } else if (!text_to_number(words[2], &time)) {
        reply(client, not_a_number);
    } else if (time > (INT64_MAX - keys_now()) / 1000 ||
               time < INT64_MIN / 1000) {
        reply_error(client, "invalid expire time in 'expire' command");
    } else {
        if (e != NULL && time > 0)
            entry_set_expires(e, keys_now() + time * 1000);
        else
            keys_delete(words[1]);
        reply_number(client, e != NULL);
    }
}

static void do_ttl(asynchat *client, const struct text *words, size_t n)
{
    const struct entry *e = keys_find(words[1]);

    (void)n;
    if (e == NULL)
        reply_number(client, -2);
    else if (entry_expires(e) == 0)
        reply_number(client, -1);
    else
        reply_number(client, (entry_expires(e) - keys_now() + 500) / 1000);
}

static void do_dbsize(asynchat *client, const struct text *words, size_t n)
{
    (void)words, (void)n;
    reply_number(client, (int64_t)keys_count());
}

static void do_flushall(asynchat *client, const struct text *words, size_t n)
{
    (void)words, (void)n;
    keys_clear();
    reply(client, ok);
}

static void unknown_subcommand(asynchat *client, const char *command,
                               struct text word)
{
    reply_error(client, "unknown subcommand '%.*s'. Try %s HELP.", SHOWN(word),
                command);
}

/* redis-benchmark asks whether its subject writes to a disk. */
static void do_config(asynchat *client, const struct text *words, size_t n)
{
    if (!is(words[1], "get") || n != 3)
        unknown_subcommand(client, "CONFIG", words[1]);
    else if (is(words[2], "save"))
        reply(client, "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    else if (is(words[2], "appendonly"))
        reply(client, "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    else
        reply(client, "*0\r\n");
}

/* redis-cli asks for COMMAND DOCS to help with; where there are none, it has
   help of its own. */
static void do_command(asynchat *client, const struct text *words, size_t n)
{
    if (n == 1)
        reply(client, "*0\r\n");
    else
        unknown_subcommand(client, "COMMAND", words[1]);
}

static void do_quit(asynchat *client, const struct text *words, size_t n)
{
    (void)words, (void)n;
    reply(client, ok);
    asynchat_close_when_done(client, LINGER);
}

static const struct command {
    const char *name;
    size_t least, most; /* words, its name included */
    void (*run)(asynchat *client, const struct text *words, size_t n);
} commands[] = {
    { "get", 2, 2, do_get },
    { "set", 3, MAX_WORDS, do_set },
    { "ping", 1, 2, do_ping },
    { "incr", 2, 2, do_incr },
    { "del", 2, MAX_WORDS, do_del },
    { "exists", 2, MAX_WORDS, do_exists },
    { "expire", 3, MAX_WORDS, do_expire },
    { "ttl", 2, 2, do_ttl },
    { "echo", 2, 2, do_echo },
    { "dbsize", 1, 1, do_dbsize },
    { "flushall", 1, 1, do_flushall },
    { "config", 2, MAX_WORDS, do_config },
    { "command", 1, MAX_WORDS, do_command },
    { "quit", 1, MAX_WORDS, do_quit },
};

static void unknown(asynchat *client, const struct text *words, size_t n)
{
    char rest[160] = "";
    size_t size = 0;

    for (size_t i = 1; i < n && size < 128; i++) {
        size_t most = 128 - size, t = words[i].size;
        size += (size_t)snprintf(rest + size, sizeof rest - size, "'%.*s' ",
                                 (int)(t < most ? t : most), words[i].data);
    }
    reply_error(client, "unknown command '%.*s', with args beginning with: %s",
                SHOWN(words[0]), rest);
}

void redis_run(asynchat *client, const struct text *words, size_t n)
{
    const struct command *end = commands + sizeof commands / sizeof *commands;
    const struct command *command = commands;

    while (command < end && !is(words[0], command->name))
        command++;
    if (command == end)
        unknown(client, words, n);
    else if (n < command->least || n > command->most)
        reply_error(client, "wrong number of arguments for '%s' command",
                    command->name);
    else
        command->run(client, words, n);
}
