/*
 * smtp_sink - an SMTP server that takes all mail for everyone and prints it,
 * or stores it in a maildir: for trying programs that send mail. To try it:
 *
 *     smtp_sink &                     swaks -s 127.0.0.1:8025 -t me@here
 *     smtp_sink --maildir mail &      mutt -f mail
 *     smtp_sink [::1]:8025 &          curl -g smtp://[::1]:8025 -T message \
 *                                         --mail-from me --mail-rcpt you
 *
 * It is Python's smtpd.DebuggingServer with decode_data=False, and answers as
 * that does to the word, but for its name in the greeting. --size is smtpd's
 * data_size_limit (33554432 unless given; 0: none), --smtputf8 its
 * enable_SMTPUTF8. A mail is answered with 250 once it is printed, or safe on
 * the disk under new/; if that fails with 451 or 452, and its sender keeps it.
 *
 * Where smtpd would hang, die or be drowned, this does not:
 *  - after "552 Error: Too much mail data" it takes commands again;
 *  - a mail without any data may end right after DATA (RFC 5321, 4.1.1.4);
 *  - where an exception ends smtpd's connection (an address that does not end,
 *    SIZE without a number), it answers 501 or 502; and "500 Error: bad
 *    syntax" to a NUL, and to what could not be echoed in ASCII;
 *  - a mail has at most 1000 recipients; a client has --timeout seconds (300;
 *    0: for ever) to say something, as many to complete a command, and ten
 *    times as many for a mail's data, however busily it sends; one that does
 *    not read its answers is not read from;
 *  - of more than --connections clients at once (1000; 0: no limit), or more
 *    than --per-peer (100) from one address or IPv6 network of 64 bits, the
 *    next is told 421.
 *
 * In this file are the frames, commands up to CRLF and data up to CRLF.CRLF,
 * taken in Python's way: a mail may come in any number of pieces, which
 * session_data collects. It ends by Ctrl-C, within a second, when the answers
 * that are due have been given; by another at once.
 */
#include "smtp_sink.h"
#include "smtp_store.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    REPLY = 1024,  /* bytes, with the NUL but without the CRLF */
    LINGER = 5000, /* ms for the last answer to arrive */
    DATA_TIMES = 10,
    STOP_MS = 700 /* and for all of them */
};

static const char usage[] =
    "usage: smtp_sink [--backend NAME] [--maildir DIR] [--size BYTES] "
    "[--smtputf8] [--timeout SECONDS] [--connections N] [--per-peer N] "
    "[PORT | HOST:PORT | [V6]:PORT | unix:PATH]";

static const char end_of_data[] = "\r\n.\r\n";
static const size_t end_size = sizeof end_of_data - 1;

struct settings settings = { .size_limit = 33554432, .timeout = 300 };
static asyncore_limits limits = {
    .connections = 1000,
    .per_peer = 100,
    .ipv6_prefix = 64,
    .word = "421 Error: too many connections\r\n",
};
static asyncore_map *map;

void session_answer(session *s, const char *format, ...)
{
    static const char bad[] = "500 Error: bad syntax";
    char line[REPLY + 2];
    size_t size;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, REPLY, format, arguments);
    va_end(arguments);
    for (const char *c = line; !s->utf8 && *c != '\0'; c++) {
        if ((unsigned char)*c > 0x7f)
            memcpy(line, bad, sizeof bad);
    }
    size = strlen(line);
    line[size++] = '\r';
    line[size++] = '\n';
    asynchat_push(&s->chat, line, size);
}

void session_finish(session *s)
{
    if (asynchat_close_when_done(&s->chat, LINGER) < 0)
        asyncore_close(&s->chat.dispatcher);
}

void session_forget_mail(session *s)
{
    for (size_t i = 0; i < s->recipient_count; i++)
        free(s->recipients[i]);
    free(s->recipients);
    free(s->sender);
    free(s->options);
    free(s->data);
    s->recipients = NULL;
    s->sender = s->options = s->data = NULL;
    s->recipient_count = s->room = 0;
    s->lost = s->utf8 = false;
}

/* The times of what is complete at last, in the settings' timeout. */
static void set_times(session *s, int times)
{
    if (settings.timeout > 0 &&
        asynchat_set_frame_timeout(&s->chat, (int64_t)settings.timeout * 1000 *
                                                 times) < 0)
        asyncore_close(&s->chat.dispatcher);
}

static void expect_command(session *s)
{
    s->state = COMMAND;
    s->received = 0;
    set_times(s, 1);
    asynchat_set_terminator(&s->chat, "\r\n", 2);
}

/*
 * The CRLF of DATA may be the first half of what ends the data, ".\r\n" being
 * all that follows. It has been read, so that the other half is looked for
 * byte by byte; with the first byte that is none of it, which is nearly always
 * the very first, asynchat takes over.
 */
void session_expect_data(session *s)
{
    s->state = DATA_BEGINS;
    s->matched = 2;
    set_times(s, DATA_TIMES);
    asynchat_set_terminator_bytes(&s->chat, 1);
}

/* Data over the limit, of which end_of_data may be a part at first, is counted
   as far as it takes to know, and dropped. */
static void keep_data(session *s, const char *data, size_t size)
{
    size_t most =
        settings.size_limit > 0 ? settings.size_limit + end_size : SIZE_MAX;
    size_t needed = s->received + size, room = s->room;
    char *grown;

    s->last = data[size - 1];
    if (s->received > most)
        return;
    s->received = needed;
    if (needed > room && !s->lost) {
        room = needed > room * 2 ? needed : room * 2;
        grown = needed > most ? NULL : realloc(s->data, room);
        if (grown == NULL) {
            free(s->data);
            room = 0;
        }
        s->data = grown;
        s->room = room;
        s->lost = grown == NULL;
    }
    if (!s->lost)
        memcpy(s->data + needed - size, data, size);
}

/* Lines end with LF from here on, and the dots that the client has put in
   front of those that had one (RFC 5321, 4.5.2) go. */
static size_t plain_text(char *data, size_t size)
{
    char *out = data;
    bool at_start = true;

    for (size_t i = 0; i < size; i++) {
        if (at_start && data[i] == '.') {
            at_start = false;
            continue;
        }
        at_start = data[i] == '\r' && size - i > 1 && data[i + 1] == '\n';
        if (at_start)
            i++;
        *out++ = data[i];
    }
    return (size_t)(out - data);
}

static void store(session *s, size_t size)
{
    static char none[1];
    struct mail m = {
        .peer = s->peer,
        .sender = s->sender,
        .recipients = s->recipients,
        .recipient_count = s->recipient_count,
        .options = s->options,
        .data = s->data != NULL ? s->data : none,
        .size = s->data != NULL ? plain_text(s->data, size) : 0,
    };
    int error = store_mail(&m) < 0 ? errno : 0;

    if (error != 0)
        asyncore_log_info(&s->chat.dispatcher, "error", "mail not stored: %s",
                          strerror(error));
    if (error == 0)
        session_answer(s, "250 OK");
    else if (error == ENOSPC || error == EDQUOT || error == ENOMEM)
        session_answer(s, "452 Error: insufficient system storage");
    else
        session_answer(s, "451 Error: mail not stored");
}

static void got_mail(session *s, size_t size)
{
    if (settings.size_limit > 0 && size > settings.size_limit)
        session_answer(s, "552 Error: Too much mail data");
    else if (s->lost)
        session_answer(s, "452 Error: out of memory");
    else
        store(s, size);
    session_forget_mail(s);
    expect_command(s);
}

static void data_begins(session *s)
{
    if (s->last == end_of_data[s->matched])
        s->matched++;
    else
        s->matched = s->last == end_of_data[0];
    if (s->matched == end_size) {
        got_mail(s, s->received > end_size ? s->received - end_size : 0);
    } else if (s->matched > 0) {
        asynchat_set_terminator_bytes(&s->chat, 1);
    } else {
        s->state = DATA;
        asynchat_set_terminator(&s->chat, end_of_data, end_size);
    }
}

static void session_data(asynchat *chat, const void *data, size_t size)
{
    session *s = (session *)chat;
    size_t room = sizeof s->line - 1;

    if (s->state != COMMAND) {
        keep_data(s, data, size);
        return;
    }
    if (s->received < room) {
        room -= s->received;
        memcpy(s->line + s->received, data, size < room ? size : room);
    }
    s->received += size;
}

static void session_found(asynchat *chat)
{
    session *s = (session *)chat;
    size_t size = s->received;

    if (s->state == DATA) {
        got_mail(s, size);
    } else if (s->state == DATA_BEGINS) {
        data_begins(s);
    } else {
        s->received = 0;
        session_command(s, size);
    }
    if (asyncore_queued(&chat->dispatcher) >= chat->limit)
        asyncore_set_readable(&chat->dispatcher, false);
}

static void session_drain(asyncore_dispatcher *d)
{
    asyncore_set_readable(d, true);
}

static void session_timeout(asyncore_dispatcher *d)
{
    session_answer((session *)d, "421 Error: timeout");
    session_finish((session *)d);
}

static void session_late(asynchat *chat)
{
    session_timeout(&chat->dispatcher);
}

/* RFC 5321, 3.8: a mail of which the end is missing stays its sender's. */
static void session_stop(asyncore_dispatcher *d)
{
    session_answer((session *)d, "421 Service not available, closing "
                                 "transmission channel");
    session_finish((session *)d);
}

static void session_eof(asyncore_dispatcher *d)
{
    session_finish((session *)d);
}

static void session_free(asyncore_dispatcher *d)
{
    session *s = (session *)d;

    session_forget_mail(s);
    free(s);
}

static const asynchat_handlers session_class = {
    .dispatcher = {
        .name = "session",
        .handle_drain = session_drain,
        .handle_timeout = session_timeout,
        .handle_stop = session_stop,
        .handle_eof = session_eof,
        .handle_free = session_free,
    },
    .collect_incoming_data = session_data,
    .found_terminator = session_found,
    .handle_frame_timeout = session_late,
};

static void accepted(asyncore_dispatcher *d, int fd,
                     const asyncore_address *peer)
{
    session *s = calloc(1, sizeof *s);

    if (s == NULL) {
        close(fd);
        return;
    }
    if (getnameinfo(&peer->any, peer->size, s->peer, sizeof s->peer, NULL, 0,
                    NI_NUMERICHOST) != 0 ||
        peer->any.sa_family == AF_UNIX)
        strcpy(s->peer, "localhost");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    if (asynchat_init(&s->chat, &session_class, fd, d->map) < 0) {
        free(s);
        return;
    }
    s->chat.frame_limit = 0; /* it has limits of its own */
    if (settings.timeout > 0 &&
        asyncore_set_timeout(&s->chat.dispatcher,
                             (int64_t)settings.timeout * 1000) < 0) {
        asyncore_close(&s->chat.dispatcher);
        return;
    }
    expect_command(s);
    session_answer(s, "220 %s libasyncore smtp_sink", settings.host);
}

static const asyncore_handlers server = {
    .name = "smtp_sink",
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
    fprintf(stderr, "smtp_sink: %s: %s\n", what, strerror(errno));
    return 1;
}

static bool read_number(const char *text, size_t *number)
{
    unsigned long n;

    errno = 0;
    n = strtoul(text, NULL, 10);
    *number = n;
    return *text != '\0' && text[strspn(text, "0123456789")] == '\0' &&
           errno == 0 && n <= UINT32_MAX;
}

static bool set(const char *option, const char *value, const char **backend,
                const char **maildir)
{
    if (strcmp(option, "--size") == 0)
        return read_number(value, &settings.size_limit);
    if (strcmp(option, "--timeout") == 0)
        return read_number(value, &settings.timeout);
    if (strcmp(option, "--connections") == 0)
        return read_number(value, &limits.connections);
    if (strcmp(option, "--per-peer") == 0)
        return read_number(value, &limits.per_peer);
    if (strcmp(option, "--maildir") == 0)
        *maildir = value;
    else if (strcmp(option, "--backend") == 0)
        *backend = value;
    else
        return false;
    return true;
}

/* The address that is given, or NULL for misuse. */
static const char *read_arguments(char **argv, const char **backend,
                                  const char **maildir)
{
    for (argv++; *argv != NULL && strncmp(*argv, "--", 2) == 0; argv++) {
        if (strcmp(*argv, "--smtputf8") == 0) {
            settings.smtputf8 = true;
        } else {
            if (argv[1] == NULL || !set(argv[0], argv[1], backend, maildir))
                return NULL;
            argv++;
        }
    }
    if (*argv == NULL)
        return "127.0.0.1:8025";
    return argv[1] == NULL ? *argv : NULL;
}

int main(int argc, char **argv)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    const char *backend = NULL, *maildir = NULL, *where;
    char text[ASYNCORE_ADDRESS_TEXT];
    asyncore_address address;
    asyncore_dispatcher d;
    int status = 0;

    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    where = read_arguments(argv, &backend, &maildir);
    map = where != NULL ? asyncore_map_new(backend) : NULL;
    if (map == NULL || asyncore_address_resolve(&address, where) < 0) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (maildir != NULL && store_open(maildir) < 0)
        return fail(maildir);
    if (gethostname(settings.host, sizeof settings.host - 1) < 0)
        strcpy(settings.host, "localhost");

    asyncore_signal(&interrupt, map, SIGINT, stop, NULL);
    asyncore_signal(&terminate, map, SIGTERM, stop, NULL);
    /* Nobody may be reading what is printed. */
    sigaction(SIGPIPE, &ignore, NULL);
    asyncore_dispatcher_init(&d, &server, -1, map);
    if (asyncore_listen_on(&d, where, SOMAXCONN) < 0 ||
        asyncore_set_limits(&d, &limits) < 0 ||
        asyncore_getsockname(&d, &address) < 0)
        return fail(where);
    asyncore_address_format(&address, text, sizeof text);
    if (printf("listening on %s\n", text) < 0 || fflush(stdout) != 0)
        status = fail("standard output");
    else if (asyncore_loop(map, -1, -1) < 0)
        status = fail(text);
    asyncore_close_all(map);
    if (address.any.sa_family == AF_UNIX)
        unlink(address.un.sun_path);
    return status;
}
