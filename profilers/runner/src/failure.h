/* Why a request was not carried out. */
#ifndef NASC_FAILURE_H
#define NASC_FAILURE_H

#include <stdbool.h>

#include "text.h"

/* What is to blame: docs/worker-protocol.md. */
#define KIND_MODEL "model"
#define KIND_MEMORY "memory"
#define KIND_RUNTIME "runtime"
#define KIND_REQUEST "request"

struct failure {
  const char *kind;
  char message[2048];
  struct text name; /* of the model that is to blame, where there are several; else no data */
};

/* Writes a failure; returns false, for `return fail(...)`. */
bool fail(struct failure *failure, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Memory for the worker's own use was not given. */
bool fail_memory(struct failure *failure);

#endif
