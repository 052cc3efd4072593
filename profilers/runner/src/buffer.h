/* Bytes that grow. */
#ifndef NASC_BUFFER_H
#define NASC_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* `failed` says that memory was not given: what was appended since is missing. */
struct buffer {
  char *data;
  size_t size;
  size_t capacity;
  bool failed;
};

/* Space for so many more bytes behind the last, or NULL; the caller adds them to `size`. */
char *buffer_reserve(struct buffer *buffer, size_t more);

void buffer_append(struct buffer *buffer, const char *data, size_t size);
void buffer_string(struct buffer *buffer, const char *string);

/* Appends what fits into 127 bytes: numbers and short words. */
void buffer_format(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Empty again; what is more than a few kilobytes goes back to the system. */
void buffer_reset(struct buffer *buffer);
void buffer_free(struct buffer *buffer);

#endif
