/* Bounded lines from a file that is no terminal. */
#ifndef NASC_LINES_H
#define NASC_LINES_H

#include <stdbool.h>
#include <stddef.h>

/* A request's line may be so long: values of inputs in base64. */
enum { MAX_LINE_BYTES = 1 << 30 };

struct lines {
  int file;
  char *data;
  size_t capacity;
  size_t begin;  /* of what was not handed out yet */
  size_t end;
  size_t looked; /* up to here there is no end of a line */
};

enum line_status { LINE_READ, LINE_TOO_LONG, LINE_NO_MEMORY, LINES_END };

/* The next line, a NUL in the place of its end; it may be changed and stands until the next call.
 * A line that is too long, or that there is no memory for, is skipped. What follows the last end
 * of a line is no line. */
enum line_status lines_next(struct lines *lines, char **line, size_t *size);

void lines_free(struct lines *lines);

#endif
