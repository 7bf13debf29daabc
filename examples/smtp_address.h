/*
 * smtp_address.h - the addresses of MAIL, RCPT and VRFY, as Python's smtpd
 * reads them: by the email package's grammar of RFC 5322, obsolete forms
 * (comments, routes, spaces between words) included. Text only: nothing here
 * knows of sockets or of SMTP.
 */
#ifndef SMTP_ADDRESS_H
#define SMTP_ADDRESS_H

/* Characters of what was read that do not count as text, C and Python alike. */
#define SMTP_SPACE " \t\n\v\f\r\x1c\x1d\x1e\x1f"

/*
 * Reads the address that text begins with, "<user@host>", "user@host" or
 * "<>", writes it to address without what does not belong to it ("<>" stays
 * as it is), and returns what follows it; or NULL if there is none. address
 * has room for twice the text and 8 bytes more.
 */
const char *smtp_address(const char *text, char *address);

#endif
