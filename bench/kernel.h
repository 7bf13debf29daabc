/*
 * kernel.h - the kernel, stood in for: sockets are numbers, of which there may
 * be a million, and a socket is readable when the benchmark says so.
 *
 * The linker puts these functions in the place of the C library's for all
 * that is linked statically (--wrap). Descriptors below KERNEL_FIRST are
 * real, but epoll knows only the others. It is level triggered.
 */
#ifndef BENCH_KERNEL_H
#define BENCH_KERNEL_H

#include <stddef.h>

enum { KERNEL_FIRST = 100 };

/* Calls of the kernel so far, reads and writes apart from the rest, and calls
   of malloc, calloc and realloc. */
extern long kernel_reads, kernel_writes, kernel_others, kernel_allocations;

/* Sockets KERNEL_FIRST to KERNEL_FIRST + count - 1, whose peers send that
   message. */
void kernel_open(int count, const char *message, size_t size);

/* Those that may be ready from now on: what is written to epoll_wait's array
   is found by going through these. */
void kernel_busy(const int *sockets, int count);

/* A message has come on each of the busy ones. */
void kernel_deliver(void);

#endif
