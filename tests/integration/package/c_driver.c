/* Uses a C library of two lengths, 24 tokens at most, from several threads at once, and wrongly.
 * Prints the line of every check that fails. Linked with --wrap=malloc. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nasc.h"

enum { TEXTS = 12, THREADS = 4, ROUNDS = 5, MOST = 3, FLOATS = 32 };

static atomic_int allocations, failures;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);

void *__wrap_malloc(size_t bytes) {
  atomic_fetch_add(&allocations, 1);
  return __real_malloc(bytes);
}

#define CHECK(condition)                                 \
  do {                                                   \
    if (!(condition)) {                                  \
      atomic_fetch_add(&failures, 1);                    \
      fprintf(stderr, "%d: %s\n", __LINE__, #condition); \
    }                                                    \
  } while (0)

struct text {
  int batch, length;
  int64_t ids[MOST * 24], mask[MOST * 24];
  float vector[MOST * FLOATS];
};

static struct text texts[TEXTS];

static void make_texts(void) {
  uint32_t state = 1;
  for (int t = 0; t < TEXTS; t++) {
    struct text *text = texts + t;
    text->batch = t % MOST + 1;
    text->length = 2 * t + 2;
    for (int i = 0; i < text->batch * text->length; i++) {
      state = state * 1664525u + 1013904223u;
      text->ids[i] = (int64_t)(state >> 8) % nasc_tokens();
      text->mask[i] = i % text->length <= text->length / text->batch;
    }
  }
}

static bool is_same(const struct text *text, const float *found) {
  size_t count = (size_t)text->batch * nasc_output_floats(text->length);
  return memcmp(text->vector, found, count * sizeof *found) == 0;
}

static void *with_context(void *context) {
  float out[MOST * FLOATS];
  for (int i = 0; i < ROUNDS * TEXTS; i++) {
    const struct text *text = texts + i % TEXTS;
    CHECK(nasc_context_encode(context, text->ids, text->mask, text->batch, text->length, out) ==
          NASC_OK);
    CHECK(is_same(text, out));
  }
  return NULL;
}

static void *by_default(void *unused) {
  float out[MOST * FLOATS];
  for (int i = 0; i < ROUNDS * TEXTS; i++) {
    const struct text *text = texts + i % TEXTS;
    CHECK(nasc_encode(text->ids, text->mask, text->batch, text->length, out) == NASC_OK);
    CHECK(is_same(text, out));
  }
  return unused;
}

static void *at_the_same_time(void *context) {
  float out[MOST * FLOATS];
  for (int i = 0; i < ROUNDS * TEXTS; i++) {
    const struct text *text = texts + i % TEXTS;
    int code = nasc_context_encode(context, text->ids, text->mask, text->batch, text->length, out);
    CHECK(code == NASC_BUSY || (code == NASC_OK && is_same(text, out)));
  }
  return NULL;
}

static void together(void *(*what)(void *), void *const *arguments) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_create(threads + i, NULL, what, arguments[i]) == 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
}

static void check_contexts(nasc_model *model) {
  nasc_context *contexts[THREADS] = {NULL};
  size_t bytes = nasc_context_bytes(2, 0);
  unsigned char *memory = __real_malloc(bytes + 1);
  CHECK(bytes > 0 && memory != NULL);
  for (int i = 0; i < THREADS; i++) {
    bool own = i == 0;
    CHECK(nasc_context_make(model, own ? 2 : i, 0, own ? memory + 1 : NULL, own ? bytes : 0,
                            contexts + i) == NASC_OK);
  }
  for (int t = 0; t < TEXTS; t++) {
    struct text *text = texts + t;
    CHECK(nasc_context_encode(contexts[1], text->ids, text->mask, text->batch, text->length,
                              text->vector) == NASC_OK);
  }
  int before = atomic_load(&allocations);
  for (int i = 0; i < THREADS; i++) {
    with_context(contexts[i]);
  }
  CHECK(atomic_load(&allocations) == before);
  void *each[THREADS];
  void *same[THREADS];
  for (int i = 0; i < THREADS; i++) {
    each[i] = contexts[i];
    same[i] = contexts[0];
  }
  together(with_context, each);
  together(at_the_same_time, same);
  for (int i = 0; i < THREADS; i++) {
    nasc_context_free(contexts[i]);
  }
  free(memory);
}

static void check_default(const char *weights) {
  static void *nothing[THREADS];
  float out[FLOATS];
  CHECK(nasc_encode(texts->ids, texts->mask, 1, 1, out) == NASC_NOT_READY);
  for (int round = 0; round < 2; round++) {
    CHECK(nasc_init(weights, 2, 2) == NASC_OK);
    CHECK(nasc_init(weights, 1, 1) == NASC_INIT_TWICE);
    together(by_default, nothing);
    nasc_quit();
  }
  nasc_quit();
  CHECK(nasc_encode(texts->ids, texts->mask, 1, 1, out) == NASC_NOT_READY);
}

static void check_wrong(nasc_model *model, const char *weights) {
  const struct text *text = texts;
  float out[FLOATS] = {7};
  nasc_context *context = NULL;
  nasc_model *other = NULL;
  int64_t bad = 2;
  CHECK(nasc_init(NULL, 1, 1) == NASC_NO_FILE);
  CHECK(nasc_init(weights, 0, 1) == NASC_BAD_ARGUMENT);
  CHECK(nasc_init(weights, 65, 1) == NASC_BAD_ARGUMENT);
  CHECK(nasc_init(weights, 1, 0) == NASC_BAD_ARGUMENT);
  CHECK(nasc_init(weights, 1, 65) == NASC_BAD_ARGUMENT);
  CHECK(nasc_model_open(NULL, &other) == NASC_BAD_ARGUMENT);
  CHECK(nasc_model_open(weights, NULL) == NASC_BAD_ARGUMENT);
  CHECK(nasc_model_open_memory((const char *)text + 1, 64, &other) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_make(NULL, 1, 0, NULL, 0, &context) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_make(model, 1, 0, NULL, 0, NULL) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_make(model, 0, 0, NULL, 0, &context) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_make(model, 1, 0, out, sizeof out, &context) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_make(model, 1, 25, NULL, 0, &context) == NASC_BAD_LENGTH);
  CHECK(nasc_context_make(model, 1, -1, NULL, 0, &context) == NASC_BAD_LENGTH);
  CHECK(nasc_context_bytes(1, 25) == 0 && nasc_context_bytes(65, 0) == 0);
  CHECK(nasc_context_bytes(1, 5) < nasc_context_bytes(1, 24));
  CHECK(other == NULL && context == NULL);
  CHECK(nasc_context_make(model, 1, 10, NULL, 0, &context) == NASC_OK);
  CHECK(nasc_context_encode(NULL, text->ids, text->mask, 1, 1, out) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_encode(context, NULL, text->mask, 1, 1, out) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_encode(context, text->ids, NULL, 1, 1, out) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_encode(context, text->ids, text->mask, 1, 1, NULL) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_encode(context, text->ids, text->mask, 0, 1, out) == NASC_BAD_ARGUMENT);
  CHECK(nasc_context_encode(context, text->ids, text->mask, 1, 0, out) == NASC_BAD_LENGTH);
  CHECK(nasc_context_encode(context, text->ids, text->mask, 1, 11, out) == NASC_BAD_LENGTH);
  CHECK(nasc_context_encode(context, text->ids, text->mask, 1, -1, out) == NASC_BAD_LENGTH);
  CHECK(nasc_context_encode(context, text->ids, &bad, 1, 1, out) == NASC_BAD_MASK);
  for (int i = 0; i < 4; i++) {
    const int64_t none[] = {-1, nasc_tokens(), INT64_MIN, INT64_MAX};
    CHECK(nasc_context_encode(context, none + i, text->mask, 1, 1, out) == NASC_BAD_TOKEN);
  }
  CHECK(out[0] == 7);
  CHECK(nasc_output_floats(0) == 0 && nasc_output_floats(-1) == 0 && nasc_output_floats(25) == 0);
  nasc_context_free(context);
  nasc_context_free(NULL);
  nasc_model_close(NULL);
}

int main(int count, char **arguments) {
  nasc_model *model = NULL;
  if (count != 2 || nasc_model_open(arguments[1], &model) != NASC_OK) {
    return 2;
  }
  make_texts();
  check_contexts(model);
  check_wrong(model, arguments[1]);
  nasc_model_close(model);
  check_default(arguments[1]);
  return atomic_load(&failures) > 0;
}
