/*
 * clock.h - a clock that a test moves.
 *
 * The program must be linked with --wrap for clock_gettime and for what the
 * backends wait with (clock in tests/CMakeLists.txt). Until clock_freeze
 * everything is as without it. From then on time stands still but for waits:
 * one in which nothing is ready takes the time that it was given, at once.
 */
#ifndef TESTS_SUPPORT_CLOCK_H
#define TESTS_SUPPORT_CLOCK_H

#include <stdint.h>

#define CLOCK_MS INT64_C(1000000)

/* In nanoseconds, from an odd moment on. */
void clock_freeze(void);
void clock_release(void);
int64_t clock_now(void);
void clock_advance(int64_t nanoseconds);

/* So much longer does each wait take that nothing ends but time. */
void clock_set_lateness(int64_t nanoseconds);

/* Since clock_freeze. */
int clock_reads(void);
int clock_waits(void);

#endif
