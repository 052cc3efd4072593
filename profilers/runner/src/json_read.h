/* JSON as RFC 8259 has it, with limits: depth, count of values, finite numbers, whole code points. */
#ifndef NASC_JSON_READ_H
#define NASC_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

enum { JSON_MAX_DEPTH = 64, JSON_MAX_VALUES = 1 << 20 };

enum json_type {
  JSON_NULL,
  JSON_FALSE,
  JSON_TRUE,
  JSON_INTEGER, /* fits int64_t */
  JSON_REAL,    /* every other number */
  JSON_STRING,
  JSON_ARRAY,
  JSON_OBJECT
};

struct json_value {
  enum json_type type;
  struct text key;    /* of a member of an object */
  struct text string; /* of JSON_STRING */
  int64_t integer;    /* of JSON_INTEGER */
  double number;      /* of both kinds of numbers */
  size_t count;       /* values in an array or object */
  const struct json_value *first;
  const struct json_value *next;
};

struct json_document {
  const struct json_value *root;
  struct json_block *blocks;
  size_t count;
};

enum json_status { JSON_OK, JSON_WRONG, JSON_NO_MEMORY };

/* Parses a text in place: strings point into it, so it must outlive the document. Behind its last
 * byte must be a NUL. Else than on JSON_OK, `problem` says what is wrong and `where` at which byte,
 * and nothing is to be freed. */
enum json_status json_parse(struct json_document *document, char *text, size_t size,
                            const char **problem, size_t *where);
void json_free(struct json_document *document);

/* A member of an object, the last of that name; NULL if there is none, or no object. */
const struct json_value *json_member(const struct json_value *object, const char *name);

#endif
