/*
 * chat_text.h - what strangers send, made fit for other people's terminals.
 * Bytes only: nothing here knows of sockets or of the chat.
 */
#ifndef CHAT_TEXT_H
#define CHAT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* What telnet_filter keeps between two reads; all zero at first. */
struct telnet {
    enum { DATA, CR, IAC, OPTION, SUB, SUB_IAC } state;
    unsigned char command; /* of which the option is to come */
    bool wants_mark;       /* has said DO TIMING-MARK; yours to answer */
};

/* WONT TIMING-MARK (RFC 860). telnet drops all that comes between a Ctrl-C and
   this answer. */
#define TELNET_MARK "\377\374\006"

/*
 * Takes telnet's commands (RFC 854) out of a stream, wherever the reads have
 * cut them: data becomes what remains, and its size is returned. A line ends
 * with LF then, be it sent so, as CR LF, CR NUL (RFC 1123, 3.3.1) or CR, as
 * terminals in raw mode do.
 */
size_t telnet_filter(struct telnet *telnet, void *data, size_t size);

/*
 * Copies a line of UTF-8 to text, which has room for size + 1 bytes, and ends
 * it with NUL. Control characters are left out, those above U+0080 too, since
 * a terminal takes orders from them; a tab becomes a space, a byte that is no
 * UTF-8 a "?". Spaces at the end are left out.
 */
void plain_text(char *text, const void *data, size_t size);

#endif
