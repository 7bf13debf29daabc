/* A user's program: one call through the loop of a map of its own. */
#include <asyncore.h>

#include <stdio.h>

static void called(void *arg)
{
    *(int *)arg = 1;
}

int main(void)
{
    int done = 0;
    asyncore_map *map = asyncore_map_new(NULL);

    if (map == NULL || asyncore_call_soon(map, called, &done) < 0 ||
        asyncore_loop(map, -1, -1) < 0 || !done)
        return 1;
    printf("%d.%d.%d on %s\n", ASYNCORE_VERSION_MAJOR, ASYNCORE_VERSION_MINOR,
           ASYNCORE_VERSION_PATCH, asyncore_map_backend(map));
    asyncore_map_free(map);
    return 0;
}
