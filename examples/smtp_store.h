/*
 * smtp_store.h - where smtp_sink's mail goes: to standard output, or into a
 * maildir. It knows nothing of sockets or of SMTP. The disk and the terminal
 * are waited for.
 */
#ifndef SMTP_STORE_H
#define SMTP_STORE_H

#include <stddef.h>

struct mail {
    const char *peer;   /* the host that it came from */
    const char *sender; /* "user@host", or "<>" */
    char *const *recipients;
    size_t recipient_count;
    const char *options; /* "BODY=8BITMIME SIZE=20", or "" */
    const char *data;    /* lines that end with LF, the last one perhaps not */
    size_t size;
};

/* Mail is printed until this has been called: makes the maildir where it is
   not there. -1 and errno. */
int store_open(const char *directory);

/* When it returns 0 the mail is safe; -1 and errno: it may be lost. */
int store_mail(const struct mail *m);

#endif
