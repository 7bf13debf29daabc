/*
 * People, rooms and commands: see chat_room.h. What is said to a room is one
 * copy, however many there lag behind; who lags too far is dropped.
 *
 * Telling somebody may end in a close, his or, by the limit, another's. That
 * closed client is out of the map at once, but nobody is told before its
 * handle_free runs, from the loop: a walk is never run into by another.
 */
#include "chat_room.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TEXT_SIZE = LINE_SIZE + 80 }; /* with a name and words around it */

#define BAD_NAME "* A name has 1 to %d letters (a to z), digits, - or _."

struct room {
    struct room *next;
    size_t people;
    char name[NAME_SIZE + 1];
};

asyncore_map *chat_map;
static struct room lobby = { .name = "lobby" }; /* the first of the rooms */

/* ---- Saying things ----------------------------------------------------- */

struct client *chat_next(int *fd)
{
    asyncore_dispatcher *d = asyncore_map_next(chat_map, *fd);

    if (d != NULL && d->accepting)
        d = asyncore_map_next(chat_map, d->fd);
    if (d != NULL)
        *fd = d->fd;
    return (struct client *)d;
}

static void drop_if_behind(struct client *c)
{
    if (asyncore_queued(&c->chat.dispatcher) > BEHIND) {
        c->end = "was too far behind, and is dropped";
        asyncore_close(&c->chat.dispatcher);
    }
}

ASYNCORE_PRINTF(2, 0)
static size_t format_line(char *text, const char *format, va_list arguments)
{
    int size = vsnprintf(text, TEXT_SIZE - 2, format, arguments);
    size_t n = size < 0 ? 0 : strlen(text);

    text[n++] = '\r';
    text[n++] = '\n';
    return n;
}

void chat_tell(struct client *c, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list arguments;
    size_t size;

    va_start(arguments, format);
    size = format_line(text, format, arguments);
    va_end(arguments);
    asynchat_push(&c->chat, text, size);
}

/* To all in the room but one, or NULL. */
ASYNCORE_PRINTF(3, 4)
static void tell_room(const struct room *room, const struct client *but,
                      const char *format, ...)
{
    char text[TEXT_SIZE];
    asynchat_shared *line;
    struct client *c;
    va_list arguments;
    size_t size;

    va_start(arguments, format);
    size = format_line(text, format, arguments);
    va_end(arguments);
    line = asynchat_shared_new(text, size);
    for (int fd = -1; line != NULL && (c = chat_next(&fd)) != NULL;) {
        if (c->room == room && c != but) {
            asynchat_push_shared(&c->chat, line);
            drop_if_behind(c);
        }
    }
    asynchat_shared_free(line);
}

/* ---- People and rooms -------------------------------------------------- */

static bool is_name(const char *text)
{
    size_t size = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz0123456789-_");

    return size > 0 && size <= NAME_SIZE && text[size] == '\0';
}

static void name_it(char *to, const char *name)
{
    memcpy(to, name, strlen(name) + 1);
}

static struct client *find_client(const char *name)
{
    struct client *c;

    for (int fd = -1; (c = chat_next(&fd)) != NULL;) {
        if (c->room != NULL && strcasecmp(c->name, name) == 0)
            return c;
    }
    return NULL;
}

/* An empty one is made where there is none of that name. */
static struct room *find_room(const char *name)
{
    struct room *room = &lobby;

    while (room != NULL && strcasecmp(room->name, name) != 0)
        room = room->next;
    if (room == NULL && (room = calloc(1, sizeof *room)) != NULL) {
        name_it(room->name, name);
        room->next = lobby.next;
        lobby.next = room;
    }
    return room;
}

static void enter(struct client *c, struct room *room)
{
    c->room = room;
    room->people++;
    tell_room(room, c, "* %s has come in", c->name);
    if (room->people == 1)
        chat_tell(c, "* You are in %s. Nobody else is here yet.", room->name);
    else
        chat_tell(c, "* You are in %s, with %zu other%s.", room->name,
                  room->people - 1, room->people == 2 ? "" : "s");
}

void chat_leave(struct client *c, const char *how)
{
    struct room *room = c->room;

    if (room == NULL)
        return;
    c->room = NULL;
    room->people--;
    if (how != NULL)
        tell_room(room, NULL, "* %s %s", c->name, how);
    if (room->people > 0 || room == &lobby)
        return;
    for (struct room *r = &lobby; r != NULL; r = r->next) {
        if (r->next == room)
            r->next = room->next;
    }
    free(room);
}

void chat_goodbye(struct client *c, const char *words, const char *how)
{
    chat_leave(c, how);
    chat_tell(c, "* %s", words);
    if (asynchat_close_when_done(&c->chat, LINGER_MS) < 0)
        asyncore_close(&c->chat.dispatcher);
}

static bool may_be_called(struct client *c, const char *name)
{
    const struct client *other = find_client(name);

    if (!is_name(name))
        chat_tell(c, BAD_NAME, NAME_SIZE);
    else if (other != NULL && other != c)
        chat_tell(c, "* Somebody here is called %s already.", other->name);
    else
        return true;
    return false;
}

/* ---- Commands ---------------------------------------------------------- */

static void do_nick(struct client *c, char *name)
{
    if (may_be_called(c, name)) {
        tell_room(c->room, NULL, "* %s is now called %s", c->name, name);
        name_it(c->name, name);
    }
}

static void do_join(struct client *c, char *name)
{
    char how[sizeof "has gone to " + NAME_SIZE];
    struct room *room;

    if (!is_name(name)) {
        chat_tell(c, BAD_NAME, NAME_SIZE);
        return;
    }
    room = find_room(name);
    if (room == NULL) {
        chat_tell(c, "* There is no place for another room now.");
    } else if (room == c->room) {
        chat_tell(c, "* You are in %s already.", room->name);
    } else {
        snprintf(how, sizeof how, "has gone to %s", room->name);
        chat_leave(c, how);
        enter(c, room);
    }
}

static void do_who(struct client *c, char *unused)
{
    enum { WIDTH = 60 };
    char line[WIDTH + NAME_SIZE + 2] = "*";
    const struct client *other;
    size_t size = 1;

    (void)unused;
    for (int fd = -1; (other = chat_next(&fd)) != NULL;) {
        if (other->room != c->room)
            continue;
        if (size > WIDTH) {
            chat_tell(c, "%s", line);
            size = 1;
        }
        size += (size_t)snprintf(line + size, sizeof line - size, " %s",
                                 other->name);
    }
    chat_tell(c, "%s", line);
}

static void do_rooms(struct client *c, char *unused)
{
    (void)unused;
    for (const struct room *room = &lobby; room != NULL; room = room->next)
        chat_tell(c, "* %s: %zu", room->name, room->people);
}

static void do_msg(struct client *c, char *argument)
{
    size_t size = strcspn(argument, " ");
    const char *text = argument + size + strspn(argument + size, " ");
    struct client *other;

    if (text[0] == '\0') {
        chat_tell(c, "* /msg NAME TEXT: to whom, and what?");
        return;
    }
    argument[size] = '\0';
    other = find_client(argument);
    if (other == NULL) {
        chat_tell(c, "* There is nobody of that name.");
    } else {
        chat_tell(other, "%s, to you only: %s", c->name, text);
        drop_if_behind(other);
    }
}

static void do_quit(struct client *c, char *unused)
{
    (void)unused;
    chat_goodbye(c, "Goodbye!", "has left");
}

static void do_help(struct client *c, char *unused);

static const struct command {
    const char *name, *argument, *help;
    void (*run)(struct client *c, char *argument);
} commands[] = {
    { "nick", "NAME", "take another name", do_nick },
    { "join", "ROOM", "go there; it is made if need be", do_join },
    { "who", "", "tell who is in this room", do_who },
    { "rooms", "", "tell what rooms there are, and of how many", do_rooms },
    { "msg", "NAME TEXT", "tell only one, in whatever room", do_msg },
    { "quit", "", "leave", do_quit },
    { "help", "", "tell all this", do_help },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void do_help(struct client *c, char *unused)
{
    (void)unused;
    chat_tell(c, "* What you type goes to all in your room. Besides:");
    for (int i = 0; i < COMMANDS; i++)
        chat_tell(c, "* /%-5s %-10s %s", commands[i].name, commands[i].argument,
                  commands[i].help);
}

static void command(struct client *c, char *text)
{
    size_t size = strcspn(text, " ");
    char *argument = text + size + strspn(text + size, " ");

    text[size] = '\0';
    for (int i = 0; i < COMMANDS; i++) {
        if (strcasecmp(commands[i].name, text) == 0) {
            commands[i].run(c, argument);
            return;
        }
    }
    chat_tell(c, "* There is no such command; /help lists them.");
}

static void introduce(struct client *c, const char *name)
{
    if (strcasecmp(name, "/quit") == 0) {
        do_quit(c, NULL);
    } else if (may_be_called(c, name)) {
        name_it(c->name, name);
        chat_tell(c, "* Hello, %s! Type to talk; /help tells the rest.", name);
        enter(c, &lobby);
    }
}

void chat_hear(struct client *c, char *line)
{
    if (c->room == NULL)
        introduce(c, line);
    else if (line[0] == '/')
        command(c, line + 1);
    else if (line[0] != '\0')
        tell_room(c->room, c, "%s: %s", c->name, line);
}
