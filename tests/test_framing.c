/*
 * test_framing.c - random streams, cut at random, under random switching of
 * terminators: asynchat delivers what a naive reference does.
 *
 * ASYNCORE_SEED picks the programs and ASYNCORE_ROUNDS how many.
 */
#include "support/framing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t random_state;

static unsigned draw(unsigned below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % below;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);

    return value != NULL ? strtoull(value, NULL, 10) : otherwise;
}

static void random_programs(void **state)
{
    uint64_t seed = setting("ASYNCORE_SEED", 1);
    uint64_t rounds = setting("ASYNCORE_ROUNDS", 3000 / ONE_IN);
    asyncore_map *map = asyncore_map_new(NULL);

    (void)state;
    assert_non_null(map);
    print_message("ASYNCORE_SEED=%llu\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < rounds; i++) {
        unsigned char program[300];
        const char *difference;
        unsigned size;

        random_state = (seed + i) * UINT64_C(6364136223846793005) + 1;
        size = draw(sizeof program);
        for (unsigned j = 0; j < size; j++)
            program[j] = (unsigned char)draw(256);
        difference = framing_check(map, program, size);
        if (difference != NULL)
            fail_msg("ASYNCORE_SEED=%llu ASYNCORE_ROUNDS=1: %s",
                     (unsigned long long)(seed + i), difference);
    }
    asyncore_map_free(map);
}

/* Delimiters that overlap with themselves: every stream of a and b of that
   length, cut at every place. */
static void periodic(void **state)
{
    enum { LENGTH = 9 };
    asyncore_map *map = asyncore_map_new(NULL);

    (void)state;
    assert_non_null(map);
    for (unsigned i = 0; i < 3 * 2 * (1u << LENGTH) * (LENGTH - 1);
         i += ONE_IN) {
        unsigned cut = i % (LENGTH - 1) + 1, rest = i / (LENGTH - 1);
        unsigned style = rest % 2, which = rest / 2 % 3 + 2, stream = rest / 6;
        unsigned char program[10 + LENGTH] = {
            (unsigned char)style,
            0,
            7 * 8,
            0, /* one action: nothing */
            4,
            (unsigned char)which,
            0,
            (unsigned char)cut,
        };
        unsigned at = 8;
        const char *difference;

        for (unsigned j = 0; j < LENGTH; j++) {
            if (j == cut) {
                program[at++] = 0;
                program[at++] = (unsigned char)(LENGTH - cut);
            }
            program[at++] = stream >> j & 1;
        }
        difference = framing_check(map, program, at);
        if (difference != NULL)
            fail_msg("stream %u, cut %u, delimiter %u: %s", stream, cut, which,
                     difference);
    }
    asyncore_map_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs),
        cmocka_unit_test(periodic),
    };

    return cmocka_run_group_tests_name("framing", tests, NULL, NULL);
}
