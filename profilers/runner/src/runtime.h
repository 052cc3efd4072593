/* ONNX Runtime, loaded from its shared library. */
#ifndef NASC_RUNTIME_H
#define NASC_RUNTIME_H

#include <stdbool.h>

#include "failure.h"
#include "ort_abi.h"

struct runtime {
  const OrtApi *api; /* NULL until it is loaded */
  OrtEnv *env;
  OrtAllocator *allocator; /* of the runtime's own, never released */
  const char *version;
};

/* Loads the library; does nothing if that was done. */
bool runtime_load(struct runtime *runtime, const char *library, struct failure *failure);

/* Whether a call went well. Else the failure holds what ONNX Runtime says, as its interface for
 * Python words it, and the status is released. */
bool runtime_ok(const struct runtime *runtime, OrtStatus *status, struct failure *failure);

/* Gives back what an entry allocated; NULL is allowed. */
void runtime_free(const struct runtime *runtime, void *memory);

#endif
