/*
 * redis_keys.h - the keys of redis_lite and their values: a hash table whose
 * entries may expire. It knows nothing of sockets, and of the protocol only
 * what a reply to GET looks like. One table for the program.
 */
#ifndef REDIS_KEYS_H
#define REDIS_KEYS_H

#include <asyncore.h>

struct text {
    const char *data;
    size_t size;
};

/* As Redis reads numbers: no '+', no space, no zero in front. */
bool text_to_number(struct text t, int64_t *number);

struct entry; /* lives until its key is put, deleted or has expired */

/* An empty table, whose entries expire in the loop of the map. -1 and errno. */
int keys_init(asyncore_map *map);

/* No table any more. */
void keys_free(void);

/* Milliseconds of the clock that entries expire by. */
int64_t keys_now(void);

/* The key's entry, or NULL. */
struct entry *keys_find(struct text key);

/* Sets the key's value, and when it expires, 0: never. -1 and ENOMEM. */
int keys_put(struct text key, struct text value, int64_t expires);

/* Whether the key was there. */
bool keys_delete(struct text key);

void keys_clear(void);
size_t keys_count(void);

struct text entry_value(const struct entry *e);
struct text entry_reply(const struct entry *e); /* "$5\r\nhello\r\n" */
int64_t entry_expires(const struct entry *e);
void entry_set_expires(struct entry *e, int64_t expires);

#endif
