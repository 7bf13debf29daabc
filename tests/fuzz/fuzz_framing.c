/*
 * fuzz_framing.c - libFuzzer's entry into support/framing.h: any bytes are a
 * program, and asynchat must deliver what the reference does.
 */
#include "support/framing.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static asyncore_map *map;
    const char *difference;

    if (map == NULL)
        map = asyncore_map_new("poll");
    if (map == NULL)
        abort();
    difference = framing_check(map, data, size);
    if (difference != NULL) {
        fprintf(stderr, "%s\n", difference);
        abort();
    }
    return 0;
}
