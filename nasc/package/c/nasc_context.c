#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "nasc_model.h"
#include "nasc_network.h"
#include "nasc_team.h"

/* What one call is asked for; read by all threads. */
struct call {
  const int64_t *ids, *mask;
  int batch, length;
  float *out;
};

struct nasc_context {
  const nasc_model *model;
  int max_length;
  unsigned char *arenas; /* one for each thread */
  size_t arena_bytes;
  void *own; /* memory to free */
  atomic_bool busy;
  atomic_size_t next; /* text that no thread has taken */
  struct call call;
  struct nasc_team team;
};

static size_t rounded(size_t bytes) {
  return (bytes + NASC_ALIGNMENT - 1) / NASC_ALIGNMENT * NASC_ALIGNMENT;
}

/* The program of the shortest length that a text fits into; NULL: there is none. */
static const struct nasc_program *program_for(int length) {
  for (int32_t i = 0; length > 0 && i < nasc_network.program_count; i++) {
    if (nasc_network.programs[i].length >= length) {
      return nasc_network.programs + i;
    }
  }
  return NULL;
}

int nasc_max_length(void) {
  return nasc_network.programs[nasc_network.program_count - 1].length;
}

int nasc_tokens(void) {
  return nasc_network.tokens < INT_MAX ? (int)nasc_network.tokens : INT_MAX;
}

size_t nasc_output_floats(int length) {
  if (program_for(length) == NULL) {
    return 0;
  }
  size_t middle = nasc_network.by_token ? (size_t)length : 1;
  return (size_t)nasc_network.outer * middle * (size_t)nasc_network.inner;
}

/* Of the programs for texts up to a length; 0: there is none. */
static size_t arena_for(int max_length) {
  const struct nasc_program *last = program_for(max_length);
  size_t most = 0;
  for (const struct nasc_program *one = nasc_network.programs; last != NULL && one <= last; one++) {
    if (one->arena_bytes > most) {
      most = one->arena_bytes;
    }
  }
  return rounded(most);
}

size_t nasc_context_bytes(int threads, int max_length) {
  size_t arena = arena_for(max_length == 0 ? nasc_max_length() : max_length);
  if (threads < 1 || threads > NASC_MAX_THREADS || arena == 0) {
    return 0;
  }
  return NASC_ALIGNMENT + rounded(sizeof(nasc_context)) + (size_t)threads * arena;
}

/* The tokens of a text up to the last that is no padding; at least 1. */
static int used_length(const int64_t *mask, int length) {
  while (length > 1 && mask[length - 1] == 0) {
    length--;
  }
  return length;
}

static const struct nasc_program *program_of(const struct call *call, int text) {
  const int64_t *mask = call->mask + (size_t)text * (size_t)call->length;
  return program_for(nasc_network.by_token ? call->length : used_length(mask, call->length));
}

static void fill(int64_t *to, const int64_t *from, int count, int whole) {
  int copied = count < whole ? count : whole;
  memcpy(to, from, (size_t)copied * sizeof *to);
  memset(to + copied, 0, (size_t)(whole - copied) * sizeof *to);
}

static void put_inputs(const struct nasc_program *program, const struct call *call, int text,
                       unsigned char *arena) {
  size_t at = (size_t)text * (size_t)call->length;
  fill((int64_t *)(void *)(arena + program->ids), call->ids + at, call->length, program->length);
  fill((int64_t *)(void *)(arena + program->mask), call->mask + at, call->length, program->length);
}

static void get_output(const struct nasc_program *program, const struct call *call, int text,
                       const unsigned char *arena) {
  const float *from = (const float *)(const void *)(arena + program->output);
  float *to = call->out + (size_t)text * nasc_output_floats(call->length);
  size_t inner = (size_t)nasc_network.inner;
  size_t copied = inner * (nasc_network.by_token ? (size_t)call->length : 1);
  size_t whole = inner * (nasc_network.by_token ? (size_t)program->length : 1);
  for (int32_t i = 0; i < nasc_network.outer; i++) {
    memcpy(to + (size_t)i * copied, from + (size_t)i * whole, copied * sizeof *to);
  }
}

/* Runs one step: the parts of it that are this thread's. */
static void run_step(const struct nasc_program *program, const struct nasc_step *step,
                     unsigned char *arena, const unsigned char *weights, int index, int threads) {
  int32_t first = (int32_t)((int64_t)step->parts * index / threads);
  int32_t end = (int32_t)((int64_t)step->parts * (index + 1) / threads);
  if (first == end) {
    return;
  }
  void *arguments[NASC_MAX_ARGUMENTS];
  for (uint16_t i = 0; i < step->count; i++) {
    int64_t place = program->arguments[step->arguments + i];
    /* Kernels write to what lies in the arena alone. */
    arguments[i] = place >= 0 ? arena + place : (void *)(uintptr_t)(weights + ~place);
  }
  step->kernel(arguments, first, end);
}

/* Each thread takes whole texts. */
static void take_texts(nasc_context *context, int index) {
  const struct call *call = &context->call;
  unsigned char *arena = context->arenas + (size_t)index * context->arena_bytes;
  for (;;) {
    size_t taken = atomic_fetch_add_explicit(&context->next, 1, memory_order_relaxed);
    if (taken >= (size_t)call->batch) {
      return;
    }
    int text = (int)taken;
    const struct nasc_program *program = program_of(call, text);
    put_inputs(program, call, text, arena);
    for (uint32_t i = 0; i < program->step_count; i++) {
      run_step(program, program->steps + i, arena, context->model->weights, 0, 1);
    }
    get_output(program, call, text, arena);
  }
}

/* All threads share each text, and meet after every step. */
static void share_texts(nasc_context *context, struct nasc_team *team, int index) {
  const struct call *call = &context->call;
  unsigned char *arena = context->arenas;
  for (int text = 0; text < call->batch; text++) {
    const struct nasc_program *program = program_of(call, text);
    if (index == 0) {
      put_inputs(program, call, text, arena);
    }
    nasc_team_meet(team);
    for (uint32_t i = 0; i < program->step_count; i++) {
      run_step(program, program->steps + i, arena, context->model->weights, index, team->threads);
      nasc_team_meet(team);
    }
    if (index == 0) {
      get_output(program, call, text, arena);
    }
  }
}

static void work(void *argument, struct nasc_team *team, int index) {
  nasc_context *context = argument;
  if (context->call.batch >= team->threads) {
    take_texts(context, index);
  } else {
    share_texts(context, team, index);
  }
}

int nasc_context_make(const nasc_model *model, int threads, int max_length, void *memory,
                      size_t bytes, nasc_context **out) {
  int longest = max_length == 0 ? nasc_max_length() : max_length;
  if (program_for(longest) == NULL) {
    return NASC_BAD_LENGTH;
  }
  size_t needed = nasc_context_bytes(threads, max_length);
  if (model == NULL || out == NULL || needed == 0 || (memory != NULL && bytes < needed)) {
    return NASC_BAD_ARGUMENT;
  }
  void *own = memory == NULL ? malloc(needed) : NULL;
  unsigned char *start = memory == NULL ? own : memory;
  if (start == NULL) {
    return NASC_NO_MEMORY;
  }
  start += (NASC_ALIGNMENT - (uintptr_t)start % NASC_ALIGNMENT) % NASC_ALIGNMENT;
  nasc_context *made = (void *)start;
  made->model = model;
  made->max_length = longest;
  made->arenas = start + rounded(sizeof *made);
  made->arena_bytes = arena_for(longest);
  made->own = own;
  atomic_init(&made->busy, false);
  atomic_init(&made->next, 0);
  if (!nasc_team_start(&made->team, threads, work, made)) {
    free(own);
    return NASC_NO_THREADS;
  }
  *out = made;
  return NASC_OK;
}

static int check_texts(const int64_t *ids, const int64_t *mask, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (ids[i] < 0 || ids[i] >= nasc_network.tokens) {
      return NASC_BAD_TOKEN;
    }
    if (mask[i] != 0 && mask[i] != 1) {
      return NASC_BAD_MASK;
    }
  }
  return NASC_OK;
}

int nasc_context_encode(nasc_context *context, const int64_t *ids, const int64_t *mask, int batch,
                        int length, float *out) {
  if (context == NULL || ids == NULL || mask == NULL || out == NULL || batch < 1) {
    return NASC_BAD_ARGUMENT;
  }
  if (length < 1 || length > context->max_length) {
    return NASC_BAD_LENGTH;
  }
  if ((size_t)batch > SIZE_MAX / sizeof(int64_t) / (size_t)length) {
    return NASC_BAD_ARGUMENT;
  }
  int code = check_texts(ids, mask, (size_t)batch * (size_t)length);
  if (code != NASC_OK) {
    return code;
  }
  if (atomic_exchange_explicit(&context->busy, true, memory_order_acquire)) {
    return NASC_BUSY;
  }
  context->call = (struct call){ids, mask, batch, length, out};
  atomic_store_explicit(&context->next, 0, memory_order_relaxed);
  nasc_team_run(&context->team);
  atomic_store_explicit(&context->busy, false, memory_order_release);
  return NASC_OK;
}

void nasc_context_free(nasc_context *context) {
  if (context == NULL) {
    return;
  }
  nasc_team_end(&context->team);
  free(context->own);
}
