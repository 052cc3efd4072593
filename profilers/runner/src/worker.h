/* The requests of docs/worker-protocol.md. */
#ifndef NASC_WORKER_H
#define NASC_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"
#include "models.h"
#include "runtime.h"
#include "sensors.h"
#include "settings.h"

struct worker {
  const char *library;
  struct runtime runtime;
  struct options options;
  struct limits limits;
  struct sensors sensors;
  struct model *models;
};

/* Carries out the request of a line, which is changed, and writes its answer with a line's end.
 * Behind the line must be a NUL. Returns whether the worker is to leave. */
bool worker_answer(struct worker *worker, char *line, size_t size, struct buffer *answer);

/* Writes the answer to a line that could not be read. */
void worker_refuse(const char *kind, const char *message, struct buffer *answer);

void worker_free(struct worker *worker);

#endif
