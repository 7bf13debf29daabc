/*
 * test_backoff.c - asyncore_backoff: how long, and how much by chance.
 */
#include <asyncore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void expect(asyncore_backoff *b, int64_t whole)
{
    int64_t delay = asyncore_backoff_next(b);

    if (delay < whole / 2 || delay > whole)
        fail_msg("%lld, not from %lld to %lld", (long long)delay,
                 (long long)whole / 2, (long long)whole);
}

static void doubles_up_to_the_most(void **state)
{
    asyncore_backoff b = { .first_ms = 500, .most_ms = 60000 };
    int64_t whole;

    (void)state;
    for (int i = 0; i < 2; i++) {
        for (whole = 500; whole < 60000; whole *= 2)
            expect(&b, whole);
        for (int j = 0; j < 100; j++)
            expect(&b, 60000);
        asyncore_backoff_reset(&b);
    }
}

static void odd_bounds(void **state)
{
    asyncore_backoff zero = { 0 }, same = { .first_ms = 7, .most_ms = 7 };
    asyncore_backoff wrong = { .first_ms = 100, .most_ms = -5 };
    asyncore_backoff huge = { .first_ms = INT64_MAX / 2 + 2,
                              .most_ms = INT64_MAX };

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_in_range(asyncore_backoff_next(&zero), 0, 1);
        assert_in_range(asyncore_backoff_next(&same), 3, 7);
        assert_in_range(asyncore_backoff_next(&wrong), 50, 100);
        assert_true(asyncore_backoff_next(&huge) > INT64_MAX / 5);
    }
}

/* All parts of the range, and not those of another in step. */
static void by_chance(void **state)
{
    asyncore_backoff a = { .first_ms = 1000, .most_ms = 1000 }, b = a;
    int parts[10] = { 0 }, equal = 0;

    (void)state;
    for (int i = 0; i < 10000; i++) {
        int64_t delay = asyncore_backoff_next(&a);
        equal += delay == asyncore_backoff_next(&b);
        parts[delay == 1000 ? 9 : (delay - 500) / 50]++;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(parts[i], 700, 1300);
    assert_true(equal < 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_up_to_the_most),
        cmocka_unit_test(odd_bounds),
        cmocka_unit_test(by_chance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
