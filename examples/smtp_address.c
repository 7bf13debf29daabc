/*
 * smtp_address.c - a scanner for the grammar of Python's
 * email._header_value_parser. Each function takes the place where its part
 * should begin and returns where it ended, NULL if it is not there. What is
 * kept of it goes to *out, which moves on.
 *
 * Encoded words (RFC 2047) are atoms here, as they are to SMTP.
 */
#include "smtp_address.h"

#include <stdbool.h>
#include <string.h>

static bool one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static bool ends_atom(char c)
{
    return c == '\0' || one_of(c, "()<>@,:;.\\\"[] \t");
}

/* Not in the obsolete grammar, where words may stand side by side. */
static bool ends_words(char c)
{
    return c == '\0' || one_of(c, ")<>@,:;[]");
}

/* The character that a quoted pair stands for, or p. */
static const char *unescape(const char *p)
{
    return *p == '\\' && p[1] != '\0' && !one_of(p[1], " \t") ? p + 1 : p;
}

/* Comments nest; one that does not end goes to the end of the text. */
static const char *comment(const char *p)
{
    unsigned depth = 0;

    do {
        if (*p == '(')
            depth++;
        else if (*p == ')')
            depth--;
        p = unescape(p) + 1;
    } while (depth > 0 && *p != '\0');
    return p;
}

static const char *skip(const char *p)
{
    while (one_of(*p, " \t("))
        p = *p == '(' ? comment(p) : p + strspn(p, SMTP_SPACE);
    return p;
}

static const char *bare_atom(const char *p, char **out)
{
    if (ends_atom(*p))
        return NULL;
    while (!ends_atom(*p))
        *(*out)++ = *p++;
    return p;
}

static const char *atom(const char *p, char **out)
{
    p = bare_atom(skip(p), out);
    return p != NULL ? skip(p) : NULL;
}

static const char *dot_atom(const char *p, char **out)
{
    for (p = bare_atom(skip(p), out); p != NULL; p = bare_atom(p + 1, out)) {
        if (*p != '.')
            return skip(p);
        *(*out)++ = '.';
    }
    return NULL;
}

/* The end of the text may stand for the second quote. A backslash that
   quotes nothing is left out. */
static const char *quoted_string(const char *p, char **out)
{
    for (p++; *p != '\0' && *p != '"'; p++) {
        const char *c = unescape(p);
        if (c != p || *p != '\\')
            *(*out)++ = *c;
        p = c;
    }
    return *p == '"' ? p + 1 : p;
}

/* Words, dots and backslashes in any order; of the space between them remains
   one where no dot is. */
static const char *obsolete_local_part(const char *p, char **out)
{
    const char *next;
    bool spaced = false, after_dot = true;

    for (;; p = next) {
        next = skip(p);
        if (next != p)
            spaced = !after_dot;
        else if (ends_words(*p))
            return p;
        else if (*p == '.') {
            spaced = false;
            after_dot = true;
            *(*out)++ = *p;
            next = p + 1;
        } else {
            if (spaced)
                *(*out)++ = ' ';
            spaced = after_dot = false;
            if (*p == '"')
                next = quoted_string(p, out);
            else if ((next = bare_atom(p, out)) == NULL) {
                *(*out)++ = *p;
                next = p + 1;
            }
        }
    }
}

static const char *local_part(const char *text, char **out)
{
    char *start = *out;
    const char *p = skip(text), *end = dot_atom(p, out);

    if (end == NULL) {
        *out = start;
        if (*p == '"' && p[1] != '\0')
            end = skip(quoted_string(p, out));
        else if (one_of(*p, ".\\"))
            end = p;
        else
            end = atom(p, out);
        if (end == NULL)
            return NULL;
    }
    if (ends_words(*end))
        return end;
    *out = start;
    return obsolete_local_part(text, out);
}

static const char *domain_literal(const char *p, char **out)
{
    *(*out)++ = '[';
    p++;
    p += one_of(*p, " \t") ? strspn(p, SMTP_SPACE) : 0;
    for (; *p != '\0' && !one_of(*p, "[] \t"); p++) {
        const char *c = unescape(p);
        if ((c != p || *p != '\\') && !one_of(*c, SMTP_SPACE))
            *(*out)++ = *c;
        p = c;
    }
    p += one_of(*p, " \t") ? strspn(p, SMTP_SPACE) : 0;
    if (*p != ']')
        return NULL;
    *(*out)++ = ']';
    return skip(p + 1);
}

static const char *domain(const char *text, char **out)
{
    char *start = *out;
    const char *p = skip(text), *end;

    if (*p == '[')
        return domain_literal(p, out);
    end = dot_atom(p, out);
    if (end == NULL) {
        *out = start;
        end = atom(p, out);
    }
    if (end != NULL && *end == '@')
        return NULL;
    while (end != NULL && *end == '.') {
        *(*out)++ = '.';
        end = atom(end + 1, out);
    }
    return end;
}

/* "@host,@host:", which nobody wants to know any more. */
static const char *route(const char *p, char *scratch)
{
    while (one_of(*p, ", \t("))
        p = *p == ',' ? p + 1 : skip(p);
    if (*p != '@')
        return NULL;
    p = domain(p + 1, &scratch);
    while (p != NULL && *p == ',') {
        p = skip(p + 1);
        if (*p == '@')
            p = domain(p + 1, &scratch);
    }
    return p != NULL && *p == ':' ? p + 1 : NULL;
}

/* The local part is written between quotes if it has to be, or if it is empty
   and quote says so; the domain without white space. */
static const char *addr_spec(const char *p, char *address, bool quote)
{
    char text[1024], *end = text, *c;

    if (strlen(p) >= sizeof text)
        return NULL;
    p = local_part(p, &end);
    if (p == NULL)
        return NULL;
    *end = '\0';
    quote =
        text[0] == '\0' ? quote : strpbrk(text, "()<>@,:;\\\"[] \t") != NULL;
    if (quote)
        *address++ = '"';
    for (c = text; c < end; c++) {
        if (*c == '\\' || *c == '"')
            *address++ = '\\';
        *address++ = *c;
    }
    if (quote)
        *address++ = '"';
    if (*p == '@') {
        *address++ = '@';
        end = text;
        p = domain(p + 1, &end);
        if (p == NULL)
            return NULL;
        for (c = text; c < end; c++) {
            if (!one_of(*c, SMTP_SPACE))
                *address++ = *c;
        }
    }
    *address = '\0';
    return p;
}

const char *smtp_address(const char *text, char *address)
{
    const char *p = text + strspn(text, SMTP_SPACE), *end;

    if (*p != '<') {
        end = addr_spec(p, address, false);
        return end != NULL && *address != '\0' ? end : NULL;
    }
    if (p[1] == '>') {
        memcpy(address, "<>", sizeof "<>");
        return p + 2;
    }
    end = addr_spec(p + 1, address, true);
    if (end == NULL) {
        end = route(p + 1, address);
        if (end != NULL)
            end = addr_spec(end, address, true);
    }
    if (end == NULL)
        return NULL;
    return skip(*end == '>' ? end + 1 : end);
}
