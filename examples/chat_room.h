/*
 * chat_room.h - the people, their rooms, and what they say and do there. How
 * they come and go, and how their bytes become lines, is chat_server.c's.
 */
#ifndef CHAT_ROOM_H
#define CHAT_ROOM_H

#include "chat_text.h"

#include <asynchat.h>

enum {
    NAME_SIZE = 20,   /* of people and rooms, in bytes */
    LINE_SIZE = 1024, /* of what one can say */
    BEHIND = 1 << 20, /* bytes that one may be behind the others */
    LINGER_MS = 1000  /* for last words to arrive */
};

struct client {
    asynchat chat;
    struct room *room; /* NULL: has no name yet, or has left */
    const char *end;   /* what the others hear of it */
    char name[NAME_SIZE + 1];
    struct telnet telnet;
};

/* The list of everybody, and of nobody else but a listener. Make it first. */
extern asyncore_map *chat_map;

/* The next client above *fd, or NULL: a walk that may close whom it meets. */
struct client *chat_next(int *fd);

/* A line to one. Runs handlers, as all below do. */
ASYNCORE_PRINTF(2, 3)
void chat_tell(struct client *c, const char *format, ...);

/* Does as a line says: a name at first, then a command or words for all. */
void chat_hear(struct client *c, char *line);

/* Out of the room. The others hear of it, unless how is NULL. */
void chat_leave(struct client *c, const char *how);

/* The same with last words to c, whose connection then ends. */
void chat_goodbye(struct client *c, const char *words, const char *how);

#endif
