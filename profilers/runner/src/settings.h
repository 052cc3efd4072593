/* What `start` says: how the runtime is set up, and what a model may take. */
#ifndef NASC_SETTINGS_H
#define NASC_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"
#include "json_read.h"

/* profilers.RuntimeOptions has the fields' meanings. */
struct options {
  int threads;
  bool arena;
  bool spinning;
  int optimization; /* a GraphOptimizationLevel */
  int *cores;       /* NULL leaves the choice to the system */
  size_t core_count;
};

/* profilers.WorkerLimits has the fields' meanings; 0 bytes is its None. */
struct limits {
  double run_s;
  double load_s;
  int64_t memory_bytes;
};

extern const struct limits DEFAULT_LIMITS;

bool options_read(const struct json_value *value, struct options *options,
                  struct failure *failure);
void options_free(struct options *options);
bool limits_read(const struct json_value *value, struct limits *limits, struct failure *failure);

#endif
