/* The loaded models, by name. */
#ifndef NASC_MODELS_H
#define NASC_MODELS_H

#include <stdbool.h>

#include "session.h"
#include "tensors.h"
#include "text.h"

struct model {
  struct text name; /* its own copy */
  struct session session;
  struct feeds feeds; /* what every visit runs it on */
  struct model *next;
};

struct model *models_find(struct model *first, struct text name);

/* Keeps a session and feeds under a name, in the place of what had it; they are the model's own
 * then. False if memory is lacking, and they are still the caller's. */
bool models_put(struct model **first, struct text name, const struct session *session,
                const struct feeds *feeds);

/* Drops a model; does nothing where none has the name. */
void models_drop(struct model **first, struct text name);
void models_drop_all(struct model **first);

#endif
