#include "text.h"

#include <stdlib.h>
#include <string.h>

struct text text_of(const char *string) {
  return (struct text){string, strlen(string)};
}

bool text_equal(struct text one, struct text other) {
  return one.size == other.size && (one.size == 0 || memcmp(one.data, other.data, one.size) == 0);
}

bool text_is(struct text text, const char *string) {
  return text_equal(text, text_of(string));
}

char *text_copy(struct text text) {
  char *copy = malloc(text.size + 1);
  if (copy == NULL) {
    return NULL;
  }
  if (text.size > 0) {
    memcpy(copy, text.data, text.size);
  }
  copy[text.size] = '\0';
  return copy;
}

bool text_is_plain(struct text text) {
  return text.size == 0 || memchr(text.data, '\0', text.size) == NULL;
}

bool text_is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

struct text text_strip(struct text text) {
  while (text.size > 0 && text_is_space(text.data[0])) {
    text.data++;
    text.size--;
  }
  while (text.size > 0 && text_is_space(text.data[text.size - 1])) {
    text.size--;
  }
  return text;
}
