/*
 * The choice among the backends that this platform has. All of them are
 * compiled; which one is used is said at run time.
 */
#include "poller.h"

#include <stddef.h>
#include <string.h>

static const asyncore__poller_class *const classes[] = {
#ifdef ASYNCORE_HAVE_EPOLL
    &asyncore__poller_epoll,
#endif
    &asyncore__poller_poll,
    &asyncore__poller_select,
};

const char *const asyncore__poller_names[] = {
#ifdef ASYNCORE_HAVE_EPOLL
    "epoll",
#endif
    "poll",
    "select",
    NULL,
};

const asyncore__poller_class *asyncore__poller_find(const char *name)
{
    size_t i;

    if (name == NULL)
        return classes[0];
    for (i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (strcmp(classes[i]->name, name) == 0)
            return classes[i];
    return NULL;
}
