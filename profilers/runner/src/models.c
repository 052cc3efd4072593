#include "models.h"

#include <stdlib.h>

struct model *models_find(struct model *first, struct text name) {
  while (first != NULL && !text_equal(first->name, name)) {
    first = first->next;
  }
  return first;
}

bool models_put(struct model **first, struct text name, const struct session *session,
                const struct feeds *feeds) {
  struct model *model = malloc(sizeof *model);
  char *copy = text_copy(name);
  if (model == NULL || copy == NULL) {
    free(model);
    free(copy);
    return false;
  }
  models_drop(first, name);
  *model = (struct model){.name = {copy, name.size},
                          .session = *session,
                          .feeds = *feeds,
                          .next = *first};
  *first = model;
  return true;
}

static void drop_first(struct model **link) {
  struct model *model = *link;
  *link = model->next;
  feeds_free(model->session.runtime, &model->feeds);
  session_close(&model->session);
  free((char *)(size_t)model->name.data); /* made by `models_put` */
  free(model);
}

void models_drop(struct model **first, struct text name) {
  for (struct model **link = first; *link != NULL; link = &(*link)->next) {
    if (text_equal((*link)->name, name)) {
      drop_first(link);
      return;
    }
  }
}

void models_drop_all(struct model **first) {
  while (*first != NULL) {
    drop_first(first);
  }
}
