/* Arrays of messages as tensors of ONNX Runtime, and back. */
#ifndef NASC_TENSORS_H
#define NASC_TENSORS_H

#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"
#include "failure.h"
#include "json_read.h"
#include "runtime.h"

enum { MAX_AXES = 16 };

/* Inputs of a model by name. */
struct feeds {
  size_t count;
  char **names;
  OrtValue **values;
};

/* Reads {NAME: ARRAY, ...}. */
bool feeds_read(const struct runtime *runtime, const struct json_value *inputs,
                struct feeds *feeds, struct failure *failure);
void feeds_free(const struct runtime *runtime, struct feeds *feeds);

/* Outputs hold at most so many bytes together, as profilers/worker.py has it. */
enum { MAX_OUTPUT_BYTES = 256 << 20 };

/* Writes [ARRAY, ...]. */
bool outputs_write(const struct runtime *runtime, OrtValue *const *values, size_t count,
                   struct buffer *out, struct failure *failure);

#endif
