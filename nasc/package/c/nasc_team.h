/* Threads that do one thing together. */
#ifndef NASC_TEAM_H
#define NASC_TEAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { NASC_MAX_THREADS = 64 };

struct nasc_team;

typedef void (*nasc_work)(void *context, struct nasc_team *team, int index);

struct nasc_member {
  struct nasc_team *team;
  int index;
  pthread_t thread;
};

struct nasc_team {
  int threads; /* the caller's included */
  nasc_work work;
  void *context;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned round; /* of work that was given; under the lock */
  int working;    /* under the lock */
  bool ending;    /* under the lock */
  atomic_int here; /* at the meeting */
  atomic_uint meetings;
  struct nasc_member members[NASC_MAX_THREADS];
};

/* Starts the threads beside the caller's. Returns whether the system gave them; where it did not,
 * nothing is left. */
bool nasc_team_start(struct nasc_team *team, int threads, nasc_work work, void *context);

/* Has every thread do the work once, this one too as index 0; returns when all are done. */
void nasc_team_run(struct nasc_team *team);

/* Waits, within the work, until every thread is here. */
void nasc_team_meet(struct nasc_team *team);

void nasc_team_end(struct nasc_team *team);

#endif
