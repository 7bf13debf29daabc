/*
 * What getaddrinfo(3) is asked, and its answers: shared by addresses as text
 * and by connecting by name. Level 0.
 */
#ifndef ASYNCORE__ADDRESS_H
#define ASYNCORE__ADDRESS_H

#include <asyncore.h>
#include <netdb.h>

/* A host and a port, in the strings that getaddrinfo wants. */
typedef struct asyncore__endpoint {
    char host[256];
    char port[32];
} asyncore__endpoint;

/* EINVAL: one is empty, too long, or a number that is no port. */
int asyncore__endpoint_set(asyncore__endpoint *e, const char *host,
                           const char *port);

/* Without asking anybody. EINVAL: they are not both numeric; ENOMEM. */
int asyncore__endpoint_address(const asyncore__endpoint *e,
                               asyncore_address *address);

/*
 * The addresses of streams to it, for freeaddrinfo, the preferred one first.
 * May block for long. -1: errno as asyncore_address_resolve tells.
 */
int asyncore__endpoint_look_up(const asyncore__endpoint *e,
                               struct addrinfo **found);

void asyncore__address_of(asyncore_address *address,
                          const struct addrinfo *info);

#endif
