/*
 * Addresses as text: asyncore_address_*, documented in asyncore.h. Knows the
 * notations and getaddrinfo(3); opens no socket.
 */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UNIX_PREFIX "unix:"

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

static int set_endpoint(asyncore__endpoint *e, const char *host, size_t size,
                        const char *port)
{
    if (copy_part(e->host, sizeof e->host, host, size) < 0 ||
        copy_part(e->port, sizeof e->port, port, strlen(port)) < 0)
        return -1;
    return is_number(port) && !is_port(port) ? fail(EINVAL) : 0;
}

int asyncore__endpoint_set(asyncore__endpoint *e, const char *host,
                           const char *port)
{
    return set_endpoint(e, host, strlen(host), port);
}

static int split(asyncore__endpoint *e, const char *text)
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
    return set_endpoint(e, host, size, port);
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

static int lookup_error(int result)
{
    switch (result) {
    case EAI_AGAIN: return EAGAIN;
    case EAI_MEMORY: return ENOMEM;
    case EAI_SYSTEM: return errno != 0 ? errno : EIO;
    case EAI_FAIL: return EIO;
#ifdef EAI_NODATA
    case EAI_NODATA:
#endif
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY:
#endif
    case EAI_NONAME:
    case EAI_SERVICE: return ENOENT;
    default: return EINVAL;
    }
}

/* Not AI_ADDRCONFIG: it takes the loopback for no address, and hides what
   "localhost" has where the network has the other family only. An address that
   cannot be reached comes last anyway (RFC 6724), or fails at once. */
static int ask(const asyncore__endpoint *e, int flags, struct addrinfo **found)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM };
    int result;

    hints.ai_flags = flags;
    result = getaddrinfo(e->host, e->port, &hints, found);
    return result == 0 ? 0 : fail(lookup_error(result));
}

/* RFC 6761, section 6.4: there is none, and nobody is to be asked. */
static bool is_invalid(const char *host)
{
    static const char name[] = "invalid";
    size_t size = strlen(host);

    if (size > 0 && host[size - 1] == '.')
        size--;
    if (size < strlen(name))
        return false;
    host += size - strlen(name);
    return strncasecmp(host, name, strlen(name)) == 0 &&
           (size == strlen(name) || host[-1] == '.');
}

int asyncore__endpoint_look_up(const asyncore__endpoint *e,
                               struct addrinfo **found)
{
    return is_invalid(e->host) ? fail(ENOENT) : ask(e, 0, found);
}

void asyncore__address_of(asyncore_address *address,
                          const struct addrinfo *info)
{
    memset(address, 0, sizeof *address);
    memcpy(&address->storage, info->ai_addr, info->ai_addrlen);
    address->size = info->ai_addrlen;
}

static void take_first(asyncore_address *address, struct addrinfo *found)
{
    asyncore__address_of(address, found);
    freeaddrinfo(found);
}

int asyncore__endpoint_address(const asyncore__endpoint *e,
                               asyncore_address *address)
{
    struct addrinfo *found;

    if (!is_port(e->port) || !is_numeric_host(e->host))
        return fail(EINVAL);
    if (ask(e, AI_NUMERICHOST | AI_NUMERICSERV, &found) < 0)
        return fail(errno == ENOMEM ? ENOMEM : EINVAL);
    take_first(address, found);
    return 0;
}

static int read_address(asyncore_address *address, const char *text, bool names)
{
    asyncore__endpoint e;
    struct addrinfo *found;

    memset(address, 0, sizeof *address);
    if (strncmp(text, UNIX_PREFIX, sizeof UNIX_PREFIX - 1) == 0)
        return parse_unix(address, text + sizeof UNIX_PREFIX - 1);
    if (split(&e, text) < 0)
        return -1;
    if (!names)
        return asyncore__endpoint_address(&e, address);
    if (asyncore__endpoint_look_up(&e, &found) < 0)
        return -1;
    take_first(address, found);
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
