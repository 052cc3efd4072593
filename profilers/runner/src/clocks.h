/* Clocks in nanoseconds. */
#ifndef NASC_CLOCKS_H
#define NASC_CLOCKS_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ns(clockid_t clock) {
  struct timespec now = {0, 0};
  (void)clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Monotonic. */
static inline int64_t wall_ns(void) {
  return clock_ns(CLOCK_MONOTONIC);
}

/* CPU time of this thread. */
static inline int64_t thread_ns(void) {
  return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

#endif
