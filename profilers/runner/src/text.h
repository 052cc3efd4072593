/* Bytes with a length: names and paths of requests, which may hold anything. */
#ifndef NASC_TEXT_H
#define NASC_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
  const char *data;
  size_t size;
};

/* Two arguments for "%.*s": as much of a text as a message shows. */
#define SHOWN(text) (int)((text).size < 200 ? (text).size : 200), (text).data

struct text text_of(const char *string);
bool text_equal(struct text one, struct text other);
bool text_is(struct text text, const char *string);

/* A copy that ends with NUL, to be freed; NULL if there is no memory. */
char *text_copy(struct text text);

/* Whether a text can be a C string: it holds no NUL. */
bool text_is_plain(struct text text);

/* Without what Python's str.strip() removes of ASCII at both ends. */
struct text text_strip(struct text text);
bool text_is_space(char c);

#endif
