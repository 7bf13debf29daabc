/*
 * chat_server - a chat with rooms. To try it, from as many terminals as you
 * have friends:
 *
 *     chat_server &                  nc 127.0.0.1 8008
 *     chat_server [::1]:8008 &       telnet ::1 8008
 *     chat_server unix:/tmp/chat &   chat_client unix:/tmp/chat
 *
 * Every client is an asynchat whose frames are lines, behind a recv that takes
 * telnet's commands out. What the lines do is in chat_room.c. Who tells no
 * name for --timeout seconds (60; 0: for ever), or takes nothing of what he is
 * told, has to go. It ends by Ctrl-C, within a second, when all have been told;
 * by another at once.
 */
#include "chat_room.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STOP_MS = 700 };

static const char usage[] =
    "usage: chat_server [--backend NAME] [--timeout SECONDS] "
    "[PORT | HOST:PORT | [V6]:PORT | unix:PATH]";

static int64_t timeout_ms = 60000; /* -1: for ever */

/* These stay to the end, so that a second signal finds them still. */
static asyncore_signal_handler interrupt, terminate;
static asyncore_dispatcher listener;

/* ---- Lines ------------------------------------------------------------- */

/* Whoever has answers to read is listened to when they have been read. */
static void listen_later(asyncore_dispatcher *d)
{
    if (asyncore_queued(d) >= ((struct client *)d)->chat.limit)
        asyncore_set_readable(d, false);
}

static void got_line(asynchat *chat, const void *data, size_t size)
{
    struct client *c = (struct client *)chat;
    char line[LINE_SIZE + 1]; /* size is at most frame_limit */

    plain_text(line, data, size);
    chat_hear(c, line);
    listen_later(&chat->dispatcher);
}

static void client_drain(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, true);
}

static void line_too_long(asynchat *chat)
{
    chat_tell((struct client *)chat,
              "* That line was too long: %d bytes at most.", LINE_SIZE);
}

/* Below the lines, since a telnet option or a window may be number 10, as a
   newline is. */
static ssize_t telnet_recv(asyncore_dispatcher *d, void *data, size_t size)
{
    ssize_t n = asyncore_base(d)->recv(d, data, size);

    if (n > 0) {
        n = (ssize_t)telnet_filter(&((struct client *)d)->telnet, data,
                                   (size_t)n);
        if (n == 0) { /* it is not the end */
            errno = EAGAIN;
            n = -1;
        }
    }
    return n;
}

/* ---- Coming and going -------------------------------------------------- */

static void client_read(asyncore_dispatcher *d)
{
    struct client *c = (struct client *)d;

    asyncore_base(d)->handle_read(d);
    if (c->telnet.wants_mark) {
        c->telnet.wants_mark = false;
        asynchat_push(&c->chat, TELNET_MARK, strlen(TELNET_MARK));
    }
    /* Marks and lines too long are answered, too. */
    listen_later(d);
}

static void client_eof(asyncore_dispatcher *d)
{
    chat_goodbye((struct client *)d, "Goodbye!", "has left");
}

static void client_close(asyncore_dispatcher *d)
{
    if (d->error != 0)
        ((struct client *)d)->end = "has lost the connection";
}

static void client_timeout(asyncore_dispatcher *d)
{
    struct client *c = (struct client *)d;

    if (c->room == NULL)
        chat_goodbye(c, "No name? Another time, then. Goodbye!", NULL);
    else if (asyncore_queued(d) > 0)
        asyncore_base(d)->handle_timeout(d);
}

/* Nobody has to hear of all the others' leaving now. */
static void client_stop(asyncore_dispatcher *d)
{
    chat_goodbye((struct client *)d, "The server is closing down. Goodbye!",
                 NULL);
}

static void client_free(asyncore_dispatcher *d)
{
    struct client *c = (struct client *)d;

    chat_leave(c, c->end);
    free(c);
}

static const asynchat_handlers client = {
    .dispatcher.name = "client",
    .dispatcher.recv = telnet_recv,
    .dispatcher.handle_read = client_read,
    .dispatcher.handle_drain = client_drain,
    .dispatcher.handle_eof = client_eof,
    .dispatcher.handle_close = client_close,
    .dispatcher.handle_timeout = client_timeout,
    .dispatcher.handle_stop = client_stop,
    .dispatcher.handle_free = client_free,
    .handle_frame = got_line,
    .handle_overflow = line_too_long,
};

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    struct client *c = calloc(1, sizeof *c);
    int on = 1;

    (void)peer;
    /* A line does not wait until the one before it is acknowledged. Telnet's
       urgent byte is the second of a command, and wanted behind the first. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
    if (c == NULL) {
        close(fd);
    } else if (asynchat_init(&c->chat, &client, fd, d->map) < 0) {
        free(c);
    } else {
        c->end = "has left";
        c->chat.frame_limit = LINE_SIZE;
        asynchat_set_terminator(&c->chat, "\n", 1);
        if (asyncore_set_timeout(&c->chat.dispatcher, timeout_ms) < 0)
            asyncore_close(&c->chat.dispatcher);
        chat_tell(c, "* Welcome to the chat. What is your name?");
    }
}

static const asyncore_handlers server = {
    .name = "chat_server",
    .handle_accepted = accepted,
};

static int fail(const char *what)
{
    fprintf(stderr, "chat_server: %s: %s\n", what, strerror(errno));
    return 1;
}

static void stop(void *arg)
{
    static bool again;

    (void)arg;
    if (again)
        asyncore_stop(chat_map);
    else
        asyncore_stop_when_done(chat_map, STOP_MS);
    again = true;
}

static bool set(const char *option, const char *value, const char **backend)
{
    size_t digits = strspn(value, "0123456789");

    if (strcmp(option, "--backend") == 0) {
        *backend = value;
        return true;
    }
    if (strcmp(option, "--timeout") != 0 || digits == 0 || digits > 8 ||
        value[digits] != '\0')
        return false;
    timeout_ms = atoi(value) > 0 ? (int64_t)atoi(value) * 1000 : -1;
    return true;
}

int main(int argc, char **argv)
{
    const char *backend = NULL, *where = "127.0.0.1:8008";
    char text[ASYNCORE_ADDRESS_TEXT];
    asyncore_address address;
    int status = 0;

    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    for (; argc > 2 && set(argv[1], argv[2], &backend); argc -= 2)
        argv += 2;
    if (argc == 2)
        where = argv[1];
    chat_map = argc <= 2 ? asyncore_map_new(backend) : NULL;
    if (chat_map == NULL || asyncore_address_resolve(&address, where) < 0) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }

    asyncore_signal(&interrupt, chat_map, SIGINT, stop, NULL);
    asyncore_signal(&terminate, chat_map, SIGTERM, stop, NULL);
    asyncore_dispatcher_init(&listener, &server, -1, chat_map);
    if (asyncore_listen_on(&listener, where, SOMAXCONN) < 0 ||
        asyncore_getsockname(&listener, &address) < 0)
        return fail(where);
    asyncore_address_format(&address, text, sizeof text);
    if (printf("listening on %s\n", text) < 0 || fflush(stdout) != 0)
        status = fail("standard output");
    else if (asyncore_loop(chat_map, -1, -1) < 0)
        status = fail(text);
    asyncore_close_all(chat_map);
    if (address.any.sa_family == AF_UNIX)
        unlink(address.un.sun_path);
    return status;
}
