/* The short way: one model, and a context for each of the calls that may run at once. */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "nasc.h"

#ifdef NASC_LINKED_WEIGHTS
extern const unsigned char nasc_linked_weights[];
extern const unsigned char nasc_linked_weights_end[];
#endif

enum { MAX_CALLERS = 64 };

static struct {
  pthread_mutex_t lock;
  pthread_cond_t freed;
  nasc_model *model; /* NULL: not ready */
  int callers;
  nasc_context *contexts[MAX_CALLERS];
  int free_count;
  nasc_context *free[MAX_CALLERS];
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .freed = PTHREAD_COND_INITIALIZER};

static int open_model(const char *weights) {
  if (weights != NULL) {
    return nasc_model_open(weights, &shared.model);
  }
#ifdef NASC_LINKED_WEIGHTS
  size_t bytes = (size_t)(nasc_linked_weights_end - nasc_linked_weights);
  return nasc_model_open_memory(nasc_linked_weights, bytes, &shared.model);
#else
  return NASC_NO_FILE;
#endif
}

static void drop(void) {
  while (shared.callers > 0) {
    nasc_context_free(shared.contexts[--shared.callers]);
  }
  nasc_model_close(shared.model);
  shared.model = NULL;
  shared.free_count = 0;
}

static int init(const char *weights, int threads, int callers) {
  if (shared.model != NULL) {
    return NASC_INIT_TWICE;
  }
  int code = open_model(weights);
  while (code == NASC_OK && shared.callers < callers) {
    nasc_context **made = shared.contexts + shared.callers;
    code = nasc_context_make(shared.model, threads, 0, NULL, 0, made);
    if (code == NASC_OK) {
      shared.callers++;
      shared.free[shared.free_count++] = *made;
    }
  }
  if (code != NASC_OK) {
    drop();
  }
  return code;
}

int nasc_init(const char *weights, int threads, int callers) {
  if (callers < 1 || callers > MAX_CALLERS || nasc_context_bytes(threads, 0) == 0) {
    return NASC_BAD_ARGUMENT;
  }
  pthread_mutex_lock(&shared.lock);
  int code = init(weights, threads, callers);
  pthread_mutex_unlock(&shared.lock);
  return code;
}

int nasc_encode(const int64_t *ids, const int64_t *mask, int batch, int length, float *out) {
  pthread_mutex_lock(&shared.lock);
  while (shared.model != NULL && shared.free_count == 0) {
    pthread_cond_wait(&shared.freed, &shared.lock);
  }
  if (shared.model == NULL) {
    pthread_mutex_unlock(&shared.lock);
    return NASC_NOT_READY;
  }
  nasc_context *context = shared.free[--shared.free_count];
  pthread_mutex_unlock(&shared.lock);
  int code = nasc_context_encode(context, ids, mask, batch, length, out);
  pthread_mutex_lock(&shared.lock);
  shared.free[shared.free_count++] = context;
  pthread_cond_signal(&shared.freed);
  pthread_mutex_unlock(&shared.lock);
  return code;
}

void nasc_quit(void) {
  pthread_mutex_lock(&shared.lock);
  drop();
  pthread_mutex_unlock(&shared.lock);
}
