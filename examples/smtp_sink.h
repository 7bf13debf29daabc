/*
 * smtp_sink.h - what the two halves of smtp_sink share: the session of one
 * client. smtp_sink.c has the bytes, the frames and the data of a mail,
 * smtp_commands.c the commands.
 */
#ifndef SMTP_SINK_H
#define SMTP_SINK_H

#include <asynchat.h>

enum {
    LINE = 512,         /* bytes of a command without its CRLF, */
    LINE_SIZE = 26,     /* of MAIL so many more where it may have SIZE, */
    LINE_SMTPUTF8 = 10, /* and SMTPUTF8 */
    LINE_ROOM = LINE + LINE_SIZE + LINE_SMTPUTF8 + 1,
    ADDRESS_ROOM = 2 * LINE_ROOM + 8,
    MAX_RECIPIENTS = 1000 /* RFC 5321, 4.5.3.1.8: at least 100 */
};

extern struct settings {
    size_t size_limit; /* of a mail's data; 0: none */
    size_t timeout;    /* seconds of silence; 0: for ever */
    bool smtputf8;
    char host[256];
} settings;

typedef struct session {
    asynchat chat;
    char peer[128]; /* its host */

    enum { COMMAND, DATA_BEGINS, DATA } state;
    unsigned matched; /* of what ends the data, in DATA_BEGINS */
    size_t received;  /* bytes of the command or the data, kept or not */
    char line[LINE_ROOM];
    char last; /* byte of the data */
    bool lost; /* there was no memory for the data */
    char *data;
    size_t room;

    bool greeted, extended;
    bool utf8; /* the mail may have UTF-8 in its addresses */
    char *sender, *options, **recipients;
    size_t recipient_count;
} session;

/* Formats a line as printf(3) does and sends it. Runs handlers. */
void session_answer(session *s, const char *format, ...) ASYNCORE_PRINTF(2, 3);

/* What follows is the data of a mail. */
void session_expect_data(session *s);

/* No mail is under way. */
void session_forget_mail(session *s);

/* Closes, the last answer first. Runs handlers. */
void session_finish(session *s);

/* Does what a command of size bytes, s->line as far as it has room for them,
   says, and answers. Runs handlers. */
void session_command(session *s, size_t size);

#endif
