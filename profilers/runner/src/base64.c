#include "base64.h"

#include <stdint.h>

static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { NO_LETTER = 64 };

static void letter_values(unsigned char values[256]) {
  for (size_t i = 0; i < 256; i++) {
    values[i] = NO_LETTER;
  }
  for (unsigned char i = 0; i < 64; i++) {
    values[(unsigned char)LETTERS[i]] = i;
  }
}

bool base64_fits(struct text text, size_t size) {
  size_t padding = (3 - size % 3) % 3;
  if (size > SIZE_MAX / 2 || text.size % 4 != 0 || text.size / 4 != size / 3 + (padding > 0)) {
    return false;
  }
  for (size_t i = 0; i < padding; i++) {
    if (text.data[text.size - 1 - i] != '=') {
      return false;
    }
  }
  return true;
}

bool base64_decode(struct text text, void *out, size_t size) {
  unsigned char values[256];
  unsigned char *bytes = out;
  size_t written = 0;
  letter_values(values);
  for (size_t i = 0; i < text.size; i += 4) {
    uint32_t group = 0;
    size_t wanted = size - written < 3 ? size - written : 3;
    for (size_t k = 0; k < 4; k++) {
      unsigned char value = 0;
      if (k <= wanted) { /* so many bytes take one letter more; the rest is padding */
        value = values[(unsigned char)text.data[i + k]];
        if (value == NO_LETTER) {
          return false;
        }
      }
      group = group << 6 | value;
    }
    for (size_t k = 0; k < wanted; k++) {
      bytes[written++] = (unsigned char)(group >> (16 - 8 * k));
    }
  }
  return true;
}

void base64_encode(struct buffer *buffer, const void *data, size_t size) {
  const unsigned char *bytes = data;
  char *out = size > SIZE_MAX / 8 ? NULL : buffer_reserve(buffer, (size + 2) / 3 * 4);
  if (out == NULL) {
    buffer->failed = true;
    return;
  }
  for (size_t i = 0; i < size; i += 3) {
    size_t given = size - i < 3 ? size - i : 3;
    uint32_t group = 0;
    for (size_t k = 0; k < 3; k++) {
      group = group << 8 | (k < given ? bytes[i + k] : 0u);
    }
    for (size_t k = 0; k < 4; k++) {
      *out++ = k <= given ? LETTERS[group >> (18 - 6 * k) & 63] : '=';
    }
    buffer->size += 4;
  }
}
