/*
 * Addresses as text: asyncore_address_*, documented in asyncore.h. Knows the
 * notations and getaddrinfo(3); opens no socket.
 */
#include <arpa/inet.h>
#include <asyncore.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIX_PREFIX "unix:"

/* HOST:PORT taken apart: what getaddrinfo wants, as strings. */
typedef struct parts {
    char host[256];
    char port[32];
} parts;

static int fail(int error)
{
    errno = error;
    return -1;
}

static int copy_part(char *part, size_t room, const char *text, size_t size)
{
    if (size == 0 || size >= room)
        return fail(EINVAL);
    memcpy(part, text, size);
    part[size] = '\0';
    return 0;
}

static int split(parts *p, const char *text)
{
    const char *colon = strrchr(text, ':');
    const char *port = colon != NULL ? colon + 1 : text;
    const char *host = text;
    size_t size = colon != NULL ? (size_t)(colon - text) : 0;

    if (colon == NULL) {
        host = "127.0.0.1";
        size = strlen(host);
    } else if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
        if (memchr(host, ':', size) == NULL)
            return fail(EINVAL);
    } else if (memchr(host, ':', size) != NULL) {
        return fail(EINVAL); /* a V6 that lacks its brackets */
    }
    if (copy_part(p->host, sizeof p->host, host, size) < 0)
        return -1;
    return copy_part(p->port, sizeof p->port, port, strlen(port));
}

static int parse_unix(asyncore_address *address, const char *path)
{
    size_t size = strlen(path);

    if (size == 0)
        return fail(EINVAL);
    if (size >= sizeof address->un.sun_path)
        return fail(ENAMETOOLONG);
    address->un.sun_family = AF_UNIX;
    memcpy(address->un.sun_path, path, size + 1);
    address->size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
    return 0;
}

static bool is_number(const char *text)
{
    return text[strspn(text, "0123456789")] == '\0';
}

/* getaddrinfo takes "+80", " 80" and, on some systems, "70000". */
static bool is_port(const char *text)
{
    return is_number(text) && strlen(text) <= 5 && atoi(text) <= 65535;
}

/* getaddrinfo takes "1.2.3" and "0x7f.1" too. A V6 may have a zone, which
   inet_pton does not know. */
static bool is_numeric_host(const char *text)
{
    struct in_addr in;

    return strchr(text, ':') != NULL || inet_pton(AF_INET, text, &in) == 1;
}

static int lookup_error(int result)
{
    switch (result) {
    case EAI_AGAIN: return EAGAIN;
    case EAI_MEMORY: return ENOMEM;
    case EAI_SYSTEM: return errno;
    case EAI_NONAME:
    case EAI_SERVICE: return ENOENT;
    default: return EINVAL;
    }
}

static int look_up(asyncore_address *address, const parts *p, int flags)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;
    int result;

    hints.ai_flags = flags;
    result = getaddrinfo(p->host, p->port, &hints, &found);
    if (result != 0)
        return fail(lookup_error(result));
    memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
    address->size = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int read_address(asyncore_address *address, const char *text, bool names)
{
    parts p;

    memset(address, 0, sizeof *address);
    if (strncmp(text, UNIX_PREFIX, sizeof UNIX_PREFIX - 1) == 0)
        return parse_unix(address, text + sizeof UNIX_PREFIX - 1);
    if (split(&p, text) < 0)
        return -1;
    if (is_number(p.port) ? !is_port(p.port) : !names)
        return fail(EINVAL);
    if (names)
        return look_up(address, &p, 0);
    if (!is_numeric_host(p.host))
        return fail(EINVAL);
    if (look_up(address, &p, AI_NUMERICHOST | AI_NUMERICSERV) < 0)
        return fail(errno == ENOMEM ? ENOMEM : EINVAL);
    return 0;
}

int asyncore_address_parse(asyncore_address *address, const char *text)
{
    return read_address(address, text, false);
}

int asyncore_address_resolve(asyncore_address *address, const char *text)
{
    if (read_address(address, text, false) == 0)
        return 0;
    if (errno != EINVAL)
        return -1;
    return read_address(address, text, true);
}

static void format_in6(const struct sockaddr_in6 *in6, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN], zone[IF_NAMESIZE + 1] = "";

    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    if (in6->sin6_scope_id != 0) {
        zone[0] = '%';
        if (if_indextoname(in6->sin6_scope_id, zone + 1) == NULL)
            snprintf(zone + 1, sizeof zone - 1, "%u",
                     (unsigned)in6->sin6_scope_id);
    }
    snprintf(text, size, "[%s%s]:%u", host, zone,
             (unsigned)ntohs(in6->sin6_port));
}

/* A path need not end in NUL, and a socket that was never bound has none; one
   of Linux's abstract names begins with NUL, shown as '@'. */
static void format_un(const asyncore_address *address, char *text, size_t size)
{
    const char *path = address->un.sun_path;
    size_t before = offsetof(struct sockaddr_un, sun_path);
    size_t room = address->size > before ? address->size - before : 0;

    if (room > sizeof address->un.sun_path)
        room = sizeof address->un.sun_path;
    if (room > 0 && path[0] == '\0')
        snprintf(text, size, UNIX_PREFIX "@%.*s", (int)(room - 1), path + 1);
    else
        snprintf(text, size, UNIX_PREFIX "%.*s", (int)room, path);
}

char *asyncore_address_format(const asyncore_address *address, char *text,
                              size_t size)
{
    char host[INET_ADDRSTRLEN];

    switch (address->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &address->in.sin_addr, host, sizeof host);
        snprintf(text, size, "%s:%u", host,
                 (unsigned)ntohs(address->in.sin_port));
        break;
    case AF_INET6: format_in6(&address->in6, text, size); break;
    case AF_UNIX: format_un(address, text, size); break;
    default:
        snprintf(text, size, "family %d", (int)address->any.sa_family);
        break;
    }
    return text;
}
