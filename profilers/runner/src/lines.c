#include "lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_BYTES = 1 << 16 };

/* Moves what is left to the front, and gives back what a long line took. */
static void compact(struct lines *lines) {
  size_t left = lines->end - lines->begin;
  if (left > 0 && lines->begin > 0) {
    memmove(lines->data, lines->data + lines->begin, left);
  }
  lines->looked -= lines->begin;
  lines->begin = 0;
  lines->end = left;
  if (lines->capacity > FIRST_BYTES && left < FIRST_BYTES) {
    char *smaller = realloc(lines->data, FIRST_BYTES);
    if (smaller != NULL) {
      lines->data = smaller;
      lines->capacity = FIRST_BYTES;
    }
  }
}

/* Makes room behind what is there. */
static enum line_status make_room(struct lines *lines) {
  if (lines->end < lines->capacity) {
    return LINE_READ;
  }
  if (lines->capacity > MAX_LINE_BYTES) {
    return LINE_TOO_LONG;
  }
  size_t capacity = lines->capacity == 0 ? FIRST_BYTES : lines->capacity * 2;
  if (capacity > MAX_LINE_BYTES) {
    capacity = (size_t)MAX_LINE_BYTES + 1; /* with the line's end */
  }
  char *data = realloc(lines->data, capacity);
  if (data == NULL) {
    return LINE_NO_MEMORY;
  }
  lines->data = data;
  lines->capacity = capacity;
  return LINE_READ;
}

/* Reads what there is into the room; false at the end of the file. */
static bool fill(struct lines *lines) {
  for (;;) {
    ssize_t got = read(lines->file, lines->data + lines->end, lines->capacity - lines->end);
    if (got > 0) {
      lines->end += (size_t)got;
      return true;
    }
    if (got == 0 || errno != EINTR) {
      return false;
    }
  }
}

static char *find_end(struct lines *lines) {
  size_t count = lines->end - lines->looked;
  char *end = count == 0 ? NULL : memchr(lines->data + lines->looked, '\n', count);
  lines->looked = lines->end;
  return end;
}

/* Goes on behind the end of a line that is not kept. */
static enum line_status skip(struct lines *lines, enum line_status why) {
  char *end = NULL;
  if (lines->capacity == 0) {
    return LINES_END; /* not even the first buffer: nothing can be read */
  }
  while (end == NULL) {
    lines->begin = lines->end = lines->looked = 0;
    if (!fill(lines)) {
      return LINES_END;
    }
    end = find_end(lines);
  }
  lines->begin = lines->looked = (size_t)(end - lines->data) + 1;
  return why;
}

enum line_status lines_next(struct lines *lines, char **line, size_t *size) {
  compact(lines);
  for (;;) {
    char *end = find_end(lines);
    if (end != NULL) {
      *end = '\0';
      *line = lines->data + lines->begin;
      *size = (size_t)(end - *line);
      lines->begin = lines->looked = (size_t)(end - lines->data) + 1;
      return LINE_READ;
    }
    enum line_status room = make_room(lines);
    if (room != LINE_READ) {
      return skip(lines, room);
    }
    if (!fill(lines)) {
      return LINES_END;
    }
  }
}

void lines_free(struct lines *lines) {
  free(lines->data);
  *lines = (struct lines){.file = lines->file};
}
