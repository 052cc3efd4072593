/* What the system holds this process to, and when it ends it. */
#ifndef NASC_LIMITS_H
#define NASC_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The system ends this process by SIGALRM after so many seconds; 0 takes that back. */
void limit_time(double seconds);

/* Undoes inherited settings that would void `limit_time`. */
void allow_alarms(void);

/* No core dumps, and no more memory than so many bytes; 0 takes a share of the machine's. */
void limit_memory(int64_t bytes);

/* This process ends when the one that started it does; that one may have ended already. */
void die_with_parent(pid_t parent);

/* This process ends when the other end of stdin is closed, in the middle of a run, too. */
void die_with_stdin(void);

#endif
