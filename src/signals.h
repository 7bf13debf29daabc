/*
 * Signals: the part that the loop needs of them. Level 2, beside the map.
 */
#ifndef ASYNCORE__SIGNALS_H
#define ASYNCORE__SIGNALS_H

#include <asyncore.h>

/* Whether one has come and is not called yet. */
bool asyncore__signals_pending(asyncore_map *map);

/* After a wakeup: calls the handlers of the map whose signal has come. */
void asyncore__signals_run(asyncore_map *map);

/* In a child: what has come to its parent is not for it. */
void asyncore__signals_after_fork(asyncore_map *map);

/* None is set any more. */
void asyncore__signals_clear(asyncore_map *map);

#endif
