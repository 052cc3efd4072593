/* A model that is loaded and can be run. */
#ifndef NASC_SESSION_H
#define NASC_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"
#include "failure.h"
#include "runtime.h"
#include "settings.h"
#include "tensors.h"

struct session {
  const struct runtime *runtime;
  OrtSession *handle;
  size_t input_count;
  size_t output_count;
  char **input_names;
  char **output_names;
  OrtValue **outputs; /* of the last run */
};

/* Whatever happens, `session_close` may be called after it. */
bool session_open(const struct runtime *runtime, const struct options *options, struct text path,
                  struct session *session, struct failure *failure);
void session_close(struct session *session);

/* Runs once; the outputs are there until the next run or `session_drop_outputs`. */
bool session_run(struct session *session, const struct feeds *feeds, struct failure *failure);
void session_drop_outputs(struct session *session);

/* Whether the feeds are what the model has, by name. */
bool session_check_feeds(const struct session *session, const struct feeds *feeds,
                         struct failure *failure);

/* Write {NAME: [DTYPE, AXES], ...}, and {KEY: TEXT, ...}. */
bool session_write_inputs(const struct session *session, struct buffer *out,
                          struct failure *failure);
bool session_write_outputs(const struct session *session, struct buffer *out,
                           struct failure *failure);
bool session_write_metadata(const struct session *session, struct buffer *out,
                            struct failure *failure);

#endif
