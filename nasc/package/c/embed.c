/* Embeds texts that come as token ids: a line of stdin for each, numbers with spaces between; a line
 * of numbers comes out for each. A demonstration of nasc.h.
 *
 *   embed WEIGHTS [THREADS] < ids      WEIGHTS: a file; - stands for those linked in */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nasc.h"

enum { MAX_DIGITS = 20 };

struct text {
  int64_t *ids, *mask;
  int length, room;
};

static int fail(int line, const char *why) {
  fprintf(stderr, "line %d: %s\n", line, why);
  return 1;
}

/* Reads one word of a line. Returns its length, 0 at the end of the line, -1 at that of the input,
 * and MAX_DIGITS of a longer one. */
static int read_word(char word[MAX_DIGITS + 1]) {
  int next = getchar();
  int length = 0;
  while (next == ' ' || next == '\t' || next == '\r') {
    next = getchar();
  }
  if (next == EOF) {
    return -1;
  }
  if (next == '\n') {
    return 0;
  }
  while (next != EOF && !isspace(next) && length < MAX_DIGITS) {
    word[length++] = (char)next;
    next = getchar();
  }
  if (next != EOF) {
    ungetc(next, stdin);
  }
  word[length] = '\0';
  return length;
}

static bool is_number(const char *word, int64_t *out) {
  char *end;
  errno = 0;
  intmax_t found = strtoimax(word, &end, 10);
  *out = (int64_t)found;
  return errno == 0 && *end == '\0' && strlen(word) < MAX_DIGITS;
}

/* Reads one line. 1: a text; 0: the end; -1: something else than numbers; -2: too many. */
static int read_text(struct text *text) {
  char word[MAX_DIGITS + 1];
  text->length = 0;
  for (;;) {
    int found = read_word(word);
    if (found < 0) {
      return text->length > 0;
    }
    if (found == 0) {
      return 1;
    }
    if (text->length == text->room) {
      return -2;
    }
    if (!is_number(word, text->ids + text->length)) {
      return -1;
    }
    text->mask[text->length++] = 1;
  }
}

static void print_vector(const float *values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    printf(i + 1 < count ? "%.9g " : "%.9g\n", (double)values[i]);
  }
}

static int embed_lines(struct text *text, float *out) {
  for (int line = 1;; line++) {
    int found = read_text(text);
    if (found == 0) {
      return fflush(stdout) == 0 ? 0 : fail(line, "cannot write");
    }
    if (found < 0) {
      return fail(line, found == -1 ? "not a number" : nasc_error_text(NASC_BAD_LENGTH));
    }
    int code = nasc_encode(text->ids, text->mask, 1, text->length, out);
    if (code != NASC_OK) {
      return fail(line, nasc_error_text(code));
    }
    print_vector(out, nasc_output_floats(text->length));
  }
}

int main(int count, char **arguments) {
  int64_t threads = 1;
  if (count < 2 || count > 3 || (count == 3 && !is_number(arguments[2], &threads)) ||
      threads < 1 || threads > 64) {
    fputs("usage: embed WEIGHTS [THREADS] < ids\n", stderr);
    return 2;
  }
  const char *weights = strcmp(arguments[1], "-") == 0 ? NULL : arguments[1];
  int code = nasc_init(weights, (int)threads, 1);
  if (code != NASC_OK) {
    fprintf(stderr, "%s: %s\n", arguments[1], nasc_error_text(code));
    return 1;
  }
  struct text text = {.room = nasc_max_length()};
  size_t room = (size_t)text.room;
  text.ids = calloc(room, sizeof *text.ids);
  text.mask = calloc(room, sizeof *text.mask);
  float *out = calloc(nasc_output_floats(text.room), sizeof *out);
  int status = 1;
  if (text.ids != NULL && text.mask != NULL && out != NULL) {
    status = embed_lines(&text, out);
  } else {
    fputs("no memory\n", stderr);
  }
  free(text.ids);
  free(text.mask);
  free(out);
  nasc_quit();
  return status;
}
