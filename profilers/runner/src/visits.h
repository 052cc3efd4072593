/* Timed runs of loaded models. */
#ifndef NASC_VISITS_H
#define NASC_VISITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "failure.h"
#include "models.h"
#include "sensors.h"

/* How runs are timed. `own_clock` says whether a run's own time is that of its thread. */
struct timing {
  double run_s;
  bool own_clock;
  const struct sensors *sensors;
};

/* A model to be run `warmup` times without and `runs` times with a record. */
struct step {
  struct model *model;
  size_t warmup;
  size_t runs;
};

/* What was recorded of a step. */
struct visit {
  int64_t start_ns;
  int64_t end_ns;
  int64_t *wall_ns;
  int64_t *own_ns;
  int64_t *preempted;
  struct reading reading;
};

/* Runs the steps without a pause and writes [VISIT, ...]. */
bool visit_steps(const struct timing *timing, const struct step *steps, size_t count,
                 struct buffer *out, struct failure *failure);

#endif
