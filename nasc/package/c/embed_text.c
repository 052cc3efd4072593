/* Embeds texts: a line of stdin for each, UTF-8; a line of numbers comes out for each. A
 * demonstration of nasc.h and tokenizer.h.
 *
 *   embed_text WEIGHTS TOKENIZER [THREADS] < texts
 *
 * WEIGHTS: the weights file; - stands for those linked in. TOKENIZER: tokenizer.bin. A text that is
 * longer than the tokenizer's own limit is cut to it. */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nasc.h"
#include "tokenizer.h"

enum { MAX_LINE = 1 << 24, MAX_TOKENIZER = 1 << 28, MAX_THREADS = 64, BLOCK = 4096 };

/* Bytes that grow. */
struct bytes {
  char *data;
  size_t size, room;
};

struct embedder {
  struct nasc_tokenizer tokenizer;
  struct bytes table; /* tokenizer.bin */
  struct bytes line;
  void *scratch;
  size_t scratch_bytes;
  int64_t *ids, *mask;
  size_t length; /* of the longest text, in tokens */
  float *out;
};

static int fail(int line, const char *why) {
  fprintf(stderr, "line %d: %s\n", line, why);
  return 1;
}

static bool reserve(struct bytes *bytes, size_t room) {
  if (room <= bytes->room) {
    return true;
  }
  size_t wanted = room > 2 * bytes->room ? room : 2 * bytes->room;
  char *grown = realloc(bytes->data, wanted);
  if (grown != NULL) {
    bytes->data = grown;
    bytes->room = wanted;
  }
  return grown != NULL;
}

/* Reads a whole file. */
static bool read_file(const char *path, struct bytes *bytes) {
  FILE *file = fopen(path, "rb");
  bool good = file != NULL;
  while (good) {
    good = bytes->size < MAX_TOKENIZER && reserve(bytes, bytes->size + BLOCK);
    size_t count = good ? fread(bytes->data + bytes->size, 1, BLOCK, file) : 0;
    bytes->size += count;
    if (count == 0) {
      break;
    }
  }
  good = good && ferror(file) == 0;
  if (file != NULL) {
    fclose(file);
  }
  return good;
}

/* Reads one line, its break left off. 1: a line; 0: the end; -1: too long, or no memory. */
static int read_line(struct bytes *line) {
  line->size = 0;
  int next = getchar();
  if (next == EOF) {
    return 0;
  }
  for (; next != EOF && next != '\n'; next = getchar()) {
    if (line->size >= MAX_LINE || !reserve(line, line->size + 1)) {
      return -1;
    }
    line->data[line->size++] = (char)next;
  }
  return 1;
}

/* Scratch memory of the tokenizer for a line. */
static bool make_scratch(struct embedder *embedder) {
  size_t wanted = nasc_tokenizer_scratch(&embedder->tokenizer, embedder->line.size, 0);
  if (wanted <= embedder->scratch_bytes) {
    return true;
  }
  free(embedder->scratch);
  embedder->scratch = wanted == SIZE_MAX ? NULL : malloc(wanted);
  embedder->scratch_bytes = embedder->scratch == NULL ? 0 : wanted;
  return embedder->scratch != NULL;
}

static int embed_line(struct embedder *embedder, int line) {
  if (!make_scratch(embedder)) {
    return fail(line, "no memory");
  }
  const char *text = embedder->line.size > 0 ? embedder->line.data : "";
  int64_t length = nasc_tokenizer_encode(
      &embedder->tokenizer, text, embedder->line.size, NULL, 0, 0, embedder->ids, NULL,
      embedder->length, embedder->scratch, embedder->scratch_bytes);
  if (length < 0) {
    return fail(line, nasc_tokenizer_problem(length));
  }
  int code = nasc_encode(embedder->ids, embedder->mask, 1, (int)length, embedder->out);
  if (code != NASC_OK) {
    return fail(line, nasc_error_text(code));
  }
  size_t count = nasc_output_floats((int)length);
  for (size_t i = 0; i < count; i++) {
    printf(i + 1 < count ? "%.9g " : "%.9g\n", (double)embedder->out[i]);
  }
  return 0;
}

static int embed_lines(struct embedder *embedder) {
  for (int line = 1;; line++) {
    int found = read_line(&embedder->line);
    if (found == 0) {
      return fflush(stdout) == 0 ? 0 : fail(line, "cannot write");
    }
    if (found < 0) {
      return fail(line, "a line is too long");
    }
    int status = embed_line(embedder, line);
    if (status != 0) {
      return status;
    }
  }
}

static bool is_threads(const char *word, int *out) {
  char *end;
  errno = 0;
  long found = strtol(word, &end, 10);
  *out = (int)found;
  return isdigit((unsigned char)*word) && errno == 0 && *end == '\0' && found >= 1 &&
         found <= MAX_THREADS;
}

static bool make_buffers(struct embedder *embedder) {
  int longest = nasc_max_length();
  embedder->length = (size_t)longest;
  embedder->ids = calloc(embedder->length, sizeof *embedder->ids);
  embedder->mask = calloc(embedder->length, sizeof *embedder->mask);
  embedder->out = calloc(nasc_output_floats(longest), sizeof *embedder->out);
  if (embedder->ids == NULL || embedder->mask == NULL || embedder->out == NULL) {
    return false;
  }
  for (size_t i = 0; i < embedder->length; i++) {
    embedder->mask[i] = 1;
  }
  return true;
}

static int run(struct embedder *embedder, const char *weights, const char *tokenizer, int threads) {
  if (!read_file(tokenizer, &embedder->table)) {
    fprintf(stderr, "%s: cannot be read\n", tokenizer);
    return 1;
  }
  int problem =
      nasc_tokenizer_open(&embedder->tokenizer, embedder->table.data, embedder->table.size);
  if (problem != 0) {
    fprintf(stderr, "%s: %s\n", tokenizer, nasc_tokenizer_problem(problem));
    return 1;
  }
  int code = nasc_init(strcmp(weights, "-") == 0 ? NULL : weights, threads, 1);
  if (code != NASC_OK) {
    fprintf(stderr, "%s: %s\n", weights, nasc_error_text(code));
    return 1;
  }
  int status = 1;
  if (make_buffers(embedder)) {
    status = embed_lines(embedder);
  } else {
    fputs("no memory\n", stderr);
  }
  nasc_quit();
  return status;
}

int main(int count, char **arguments) {
  int threads = 1;
  if (count < 3 || count > 4 || (count == 4 && !is_threads(arguments[3], &threads))) {
    fputs("usage: embed_text WEIGHTS TOKENIZER [THREADS] < texts\n", stderr);
    return 2;
  }
  struct embedder embedder = {.length = 0};
  int status = run(&embedder, arguments[1], arguments[2], threads);
  free(embedder.table.data);
  free(embedder.line.data);
  free(embedder.scratch);
  free(embedder.ids);
  free(embedder.mask);
  free(embedder.out);
  return status;
}
