#include "nasc_team.h"

/* Looks at a meeting before a thread sleeps: some tens of microseconds, as long as the shorter
 * kernels run. */
enum { LOOKS = 2000 };

static void pause_briefly(void) {
#if defined(__x86_64__)
  __asm__ volatile("pause");
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void *member_main(void *argument) {
  struct nasc_member *member = argument;
  struct nasc_team *team = member->team;
  unsigned done = 0;
  pthread_mutex_lock(&team->lock);
  for (;;) {
    while (team->round == done && !team->ending) {
      pthread_cond_wait(&team->changed, &team->lock);
    }
    if (team->ending) {
      break;
    }
    done = team->round;
    pthread_mutex_unlock(&team->lock);
    team->work(team->context, team, member->index);
    pthread_mutex_lock(&team->lock);
    team->working--;
    pthread_cond_broadcast(&team->changed);
  }
  pthread_mutex_unlock(&team->lock);
  return NULL;
}

bool nasc_team_start(struct nasc_team *team, int threads, nasc_work work, void *context) {
  team->threads = 1;
  team->work = work;
  team->context = context;
  team->round = 0;
  team->working = 0;
  team->ending = false;
  atomic_init(&team->here, 0);
  atomic_init(&team->meetings, 0);
  if (pthread_mutex_init(&team->lock, NULL) != 0) {
    return false;
  }
  if (pthread_cond_init(&team->changed, NULL) != 0) {
    pthread_mutex_destroy(&team->lock);
    return false;
  }
  for (; team->threads < threads; team->threads++) {
    struct nasc_member *member = team->members + team->threads;
    member->team = team;
    member->index = team->threads;
    if (pthread_create(&member->thread, NULL, member_main, member) != 0) {
      nasc_team_end(team);
      return false;
    }
  }
  return true;
}

void nasc_team_run(struct nasc_team *team) {
  if (team->threads > 1) {
    pthread_mutex_lock(&team->lock);
    team->working = team->threads - 1;
    team->round++;
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
  }
  team->work(team->context, team, 0);
  if (team->threads > 1) {
    pthread_mutex_lock(&team->lock);
    while (team->working > 0) {
      pthread_cond_wait(&team->changed, &team->lock);
    }
    pthread_mutex_unlock(&team->lock);
  }
}

void nasc_team_meet(struct nasc_team *team) {
  if (team->threads == 1) {
    return;
  }
  unsigned before = atomic_load_explicit(&team->meetings, memory_order_acquire);
  int here = atomic_fetch_add_explicit(&team->here, 1, memory_order_acq_rel) + 1;
  if (here == team->threads) {
    atomic_store_explicit(&team->here, 0, memory_order_relaxed);
    pthread_mutex_lock(&team->lock);
    atomic_store_explicit(&team->meetings, before + 1, memory_order_release);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    return;
  }
  for (int look = 0; look < LOOKS; look++) {
    if (atomic_load_explicit(&team->meetings, memory_order_acquire) != before) {
      return;
    }
    pause_briefly();
  }
  pthread_mutex_lock(&team->lock);
  while (atomic_load_explicit(&team->meetings, memory_order_acquire) == before) {
    pthread_cond_wait(&team->changed, &team->lock);
  }
  pthread_mutex_unlock(&team->lock);
}

void nasc_team_end(struct nasc_team *team) {
  pthread_mutex_lock(&team->lock);
  team->ending = true;
  pthread_cond_broadcast(&team->changed);
  pthread_mutex_unlock(&team->lock);
  for (int index = 1; index < team->threads; index++) {
    pthread_join(team->members[index].thread, NULL);
  }
  pthread_cond_destroy(&team->changed);
  pthread_mutex_destroy(&team->lock);
}
