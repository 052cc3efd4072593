#include "buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_BYTES = 1 << 16, FIRST_BYTES = 4096 };

char *buffer_reserve(struct buffer *buffer, size_t more) {
  if (buffer->failed || more > SIZE_MAX / 4 || buffer->size > SIZE_MAX / 4) {
    buffer->failed = true;
    return NULL;
  }
  size_t needed = buffer->size + more;
  if (needed > buffer->capacity || buffer->data == NULL) {
    size_t capacity = buffer->capacity * 2 > FIRST_BYTES ? buffer->capacity * 2 : FIRST_BYTES;
    capacity = capacity > needed ? capacity : needed;
    char *data = realloc(buffer->data, capacity);
    if (data == NULL) {
      buffer->failed = true;
      return NULL;
    }
    buffer->data = data;
    buffer->capacity = capacity;
  }
  return buffer->data + buffer->size;
}

void buffer_append(struct buffer *buffer, const char *data, size_t size) {
  char *space = buffer_reserve(buffer, size);
  if (space != NULL && size > 0) {
    memcpy(space, data, size);
    buffer->size += size;
  }
}

void buffer_string(struct buffer *buffer, const char *string) {
  buffer_append(buffer, string, strlen(string));
}

void buffer_format(struct buffer *buffer, const char *format, ...) {
  char text[128];
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (size >= 0) {
    buffer_append(buffer, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
  }
}

void buffer_reset(struct buffer *buffer) {
  if (buffer->capacity > KEPT_BYTES) {
    buffer_free(buffer);
  }
  buffer->size = 0;
  buffer->failed = false;
}

void buffer_free(struct buffer *buffer) {
  free(buffer->data);
  *buffer = (struct buffer){0};
}
