/*
 * test_outqueue.c - the queue of bytes, against the simplest one there is.
 */
#include "outqueue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What the library gets and gives back. */
static size_t got, given_back;
static size_t fail_at; /* the allocation that fails; 0: none */

void *__real_malloc(size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void __wrap_free(void *memory);

void *__wrap_malloc(size_t size)
{
    if (fail_at != 0 && --fail_at == 0)
        return NULL;
    got++;
    return __real_malloc(size);
}

void __wrap_free(void *memory)
{
    given_back += memory != NULL;
    __real_free(memory);
}

/* The reference: all that was appended, and how much of it is gone. */
enum { ALL = 1 << 21 };
static char all[ALL];
static size_t begin, end;

/* No byte is like the one a chunk's length before it. */
static char byte_at(size_t i)
{
    return (char)(i * 7 + i / 251 + i / 4093);
}

static int start(void **state)
{
    (void)state;
    begin = end = 0;
    got = given_back = 0;
    fail_at = 0;
    return 0;
}

static int append(asyncore__outqueue **queue, size_t size)
{
    assert_true(end + size <= ALL);
    for (size_t i = end; i < end + size; i++)
        all[i] = byte_at(i);
    if (asyncore__outqueue_append(queue, all + end, size) < 0)
        return -1;
    end += size;
    return 0;
}

static void consume(asyncore__outqueue **queue, size_t size)
{
    asyncore__outqueue_consume(queue, size);
    begin += size < end - begin ? size : end - begin;
}

/* The queue's pieces, put together, are what the reference holds. */
static void compare(const asyncore__outqueue *queue)
{
    static struct iovec pieces[8192];
    size_t n = asyncore__outqueue_peek(queue, pieces, 8192);
    size_t at = begin;

    assert_int_equal(asyncore__outqueue_size(queue), end - begin);
    for (size_t i = 0; i < n; i++) {
        assert_true(pieces[i].iov_len > 0);
        assert_true(at + pieces[i].iov_len <= end);
        assert_memory_equal(pieces[i].iov_base, all + at, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    assert_int_equal(at, end);
    assert_int_equal(queue == NULL, begin == end);
}

static void empty(void **state)
{
    asyncore__outqueue *queue = NULL;
    struct iovec piece;

    (void)state;
    assert_int_equal(asyncore__outqueue_append(&queue, "x", 0), 0);
    assert_int_equal(asyncore__outqueue_append(&queue, NULL, 0), 0);
    assert_null(queue);
    assert_int_equal(asyncore__outqueue_size(queue), 0);
    assert_int_equal(asyncore__outqueue_peek(queue, &piece, 1), 0);
    asyncore__outqueue_consume(&queue, 0);
    asyncore__outqueue_consume(&queue, 5);
    asyncore__outqueue_clear(&queue);
    assert_null(queue);
    assert_int_equal(got, 0);
}

static void sizes_around_the_edges(void **state)
{
    asyncore__outqueue *queue = NULL;

    (void)state;
    for (size_t size = 3950; size < 4150; size++) {
        start(NULL);
        append(&queue, size);
        compare(queue);
        append(&queue, 1);
        append(&queue, 4096);
        compare(queue);
        consume(&queue, size - 1);
        compare(queue);
        consume(&queue, 1);
        compare(queue);
        append(&queue, 3);
        compare(queue);
        consume(&queue, 4099);
        compare(queue);
        consume(&queue, 1);
        compare(queue);
        assert_null(queue);
        assert_int_equal(got, given_back);
    }
}

static void consuming_nothing_or_too_much(void **state)
{
    asyncore__outqueue *queue = NULL;

    (void)state;
    append(&queue, 10000);
    consume(&queue, 0);
    compare(queue);
    append(&queue, 0);
    compare(queue);
    consume(&queue, SIZE_MAX);
    compare(queue);
    assert_null(queue);
    assert_int_equal(got, given_back);
}

static void few_pieces_at_a_time(void **state)
{
    asyncore__outqueue *queue = NULL;
    struct iovec pieces[3];
    size_t at;

    (void)state;
    for (int i = 0; i < 20; i++)
        append(&queue, 5000);
    assert_int_equal(asyncore__outqueue_peek(queue, pieces, 0), 0);
    assert_int_equal(asyncore__outqueue_peek(queue, pieces, 1), 1);
    for (at = 0; queue != NULL; at = begin) {
        size_t n = asyncore__outqueue_peek(queue, pieces, 3), size = 0;

        assert_in_range(n, 1, 3);
        for (size_t i = 0; i < n; i++) {
            assert_memory_equal(pieces[i].iov_base, all + at + size,
                                pieces[i].iov_len);
            size += pieces[i].iov_len;
        }
        consume(&queue, size - size / 3);
        compare(queue);
    }
    assert_int_equal(at, 100000);
}

static void clearing(void **state)
{
    asyncore__outqueue *queue = NULL;

    (void)state;
    append(&queue, 100000);
    append(&queue, 10);
    asyncore__outqueue_clear(&queue);
    assert_null(queue);
    assert_int_equal(got, given_back);
}

static void random_sizes(void **state)
{
    static const size_t most[] = { 1, 10, 300, 5000, 20000 };
    asyncore__outqueue *queue = NULL;

    (void)state;
    srand(7);
    for (int round = 0; round < 20; round++) {
        start(NULL);
        while (end < ALL - 20000 && got < 3000) {
            size_t limit = most[rand() % 5];
            size_t size = (size_t)rand() % limit;

            if (rand() % 2 == 0)
                assert_int_equal(append(&queue, size), 0);
            else
                consume(&queue, size);
            if (rand() % 16 == 0)
                compare(queue);
        }
        consume(&queue, end - begin);
        compare(queue);
        assert_int_equal(got, given_back);
    }
}

/* Small pieces share memory: a byte costs neither an allocation nor a move. */
static void small_pieces_cost_little(void **state)
{
    asyncore__outqueue *queue = NULL;

    (void)state;
    for (int i = 0; i < 1000000; i++)
        append(&queue, 1);
    assert_in_range(got, 1000000 / 4096, 1000000 / 3000);
    compare(queue);
    for (int i = 0; i < 1000000; i++)
        consume(&queue, 1);
    assert_null(queue);
    assert_int_equal(got, given_back);
}

/* A large piece is copied once, into one allocation. */
static void large_pieces_cost_little(void **state)
{
    asyncore__outqueue *queue = NULL;

    (void)state;
    append(&queue, 1000000);
    append(&queue, 1000000);
    assert_in_range(got, 2, 4);
    compare(queue);
    consume(&queue, 1500000);
    compare(queue);
    assert_true(given_back >= 1);
    consume(&queue, 500000);
    assert_null(queue);
    assert_int_equal(got, given_back);
}

/* What a queue has sent it does not hold, however long it is in use. */
static void steady_use_holds_little(void **state)
{
    asyncore__outqueue *queue = NULL;

    (void)state;
    append(&queue, 100);
    for (int i = 0; i < 20000; i++) {
        append(&queue, 100);
        consume(&queue, 100);
        assert_true(got - given_back <= 3);
    }
    compare(queue);
    consume(&queue, 100);
    assert_null(queue);
    assert_int_equal(got, given_back);
}

static void out_of_memory(void **state)
{
    asyncore__outqueue *queue = NULL;

    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        fail_at = n;
        assert_int_equal(append(&queue, 10), -1);
        assert_null(queue);
        compare(queue);
        assert_int_equal(got, given_back);
    }
    append(&queue, 10);
    fail_at = 1;
    assert_int_equal(append(&queue, 10000), -1);
    compare(queue);
    append(&queue, 20);
    append(&queue, 10000);
    compare(queue);
    consume(&queue, 10030);
    assert_null(queue);
    assert_int_equal(got, given_back);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup(test, start)
    const struct CMUnitTest tests[] = {
        CASE(empty),
        CASE(sizes_around_the_edges),
        CASE(consuming_nothing_or_too_much),
        CASE(few_pieces_at_a_time),
        CASE(clearing),
        CASE(random_sizes),
        CASE(small_pieces_cost_little),
        CASE(large_pieces_cost_little),
        CASE(steady_use_holds_little),
        CASE(out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
