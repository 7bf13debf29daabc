/*
 * framing.h - asynchat's input against a reference that could not be simpler.
 *
 * A program is any bytes at all. It says how a stream is cut, which
 * terminators are set by handlers and from outside, where reading pauses and
 * where the stream ends. It is run by an asynchat, whose transport is the
 * program, and by the reference, and both must have delivered the same.
 *
 * Knows the public headers only, and no test framework.
 */
#ifndef TESTS_SUPPORT_FRAMING_H
#define TESTS_SUPPORT_FRAMING_H

#include <asynchat.h>

/* NULL, or what differs: text that lives until the next call. The map should
   be one that has nothing else in it. */
const char *framing_check(asyncore_map *map, const unsigned char *program,
                          size_t size);

#endif
