#include "json_read.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

enum { BLOCK_VALUES = 256 };

struct json_block {
  struct json_block *next;
  size_t used;
  struct json_value values[BLOCK_VALUES];
};

struct parser {
  struct json_document *document;
  char *text;
  size_t size;
  size_t position;
  const char *problem;
  bool no_memory;
};

static bool wrong(struct parser *parser, const char *problem) {
  parser->problem = problem;
  return false;
}

static struct json_value *new_value(struct parser *parser) {
  struct json_document *document = parser->document;
  if (document->count == JSON_MAX_VALUES) {
    wrong(parser, "has too many values");
    return NULL;
  }
  if (document->blocks == NULL || document->blocks->used == BLOCK_VALUES) {
    struct json_block *block = malloc(sizeof *block);
    if (block == NULL) {
      parser->no_memory = true;
      wrong(parser, "needs more memory than there is");
      return NULL;
    }
    block->next = document->blocks;
    block->used = 0;
    document->blocks = block;
  }
  document->count++;
  struct json_value *value = &document->blocks->values[document->blocks->used++];
  *value = (struct json_value){0};
  return value;
}

/* The next byte; the NUL behind the text where there is none. */
static char peek(const struct parser *parser) {
  return parser->text[parser->position];
}

static bool at_end(const struct parser *parser) {
  return parser->position >= parser->size;
}

static void skip_space(struct parser *parser) {
  while (!at_end(parser) && strchr(" \t\r\n", peek(parser)) != NULL && peek(parser) != '\0') {
    parser->position++;
  }
}

static bool take(struct parser *parser, char c) {
  if (at_end(parser) || peek(parser) != c) {
    return false;
  }
  parser->position++;
  return true;
}

static bool take_word(struct parser *parser, const char *word) {
  size_t size = strlen(word);
  if (parser->size - parser->position < size ||
      memcmp(parser->text + parser->position, word, size) != 0) {
    return wrong(parser, "has a word that is none of JSON");
  }
  parser->position += size;
  return true;
}

/* Four hexadecimal digits. */
static bool take_unit(struct parser *parser, uint32_t *unit) {
  *unit = 0;
  for (int i = 0; i < 4; i++) {
    char c = at_end(parser) ? '\0' : peek(parser);
    uint32_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = (uint32_t)(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = (uint32_t)(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = (uint32_t)(c - 'A') + 10;
    } else {
      return wrong(parser, "has an unfinished escape in a string");
    }
    *unit = *unit << 4 | digit;
    parser->position++;
  }
  return true;
}

/* What follows "\u": one unit, or two that are a pair. */
static bool take_point(struct parser *parser, uint32_t *point) {
  uint32_t low = 0;
  if (!take_unit(parser, point)) {
    return false;
  }
  if (*point < 0xD800 || *point > 0xDFFF) {
    return true;
  }
  if (*point > 0xDBFF || !take(parser, '\\') || !take(parser, 'u')) {
    return wrong(parser, "has half a surrogate pair in a string");
  }
  if (!take_unit(parser, &low)) {
    return false;
  }
  if (low < 0xDC00 || low > 0xDFFF) {
    return wrong(parser, "has half a surrogate pair in a string");
  }
  *point = 0x10000 + ((*point - 0xD800) << 10) + (low - 0xDC00);
  return true;
}

/* An escape behind its backslash, written at `out`, never longer than it was. */
static bool take_escape(struct parser *parser, char **out) {
  static const char pairs[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
  if (take(parser, 'u')) {
    uint32_t point = 0;
    if (!take_point(parser, &point)) {
      return false;
    }
    *out += utf8_put(point, *out);
    return true;
  }
  for (const char *pair = pairs; *pair != '\0'; pair += 2) {
    if (take(parser, pair[0])) {
      *(*out)++ = pair[1];
      return true;
    }
  }
  return wrong(parser, "has an unknown escape in a string");
}

/* A string, unescaped in place. */
static bool take_string(struct parser *parser, struct text *string) {
  if (!take(parser, '"')) {
    return wrong(parser, "lacks a string");
  }
  char *begin = parser->text + parser->position;
  char *out = begin;
  while (!at_end(parser)) {
    char c = peek(parser);
    parser->position++;
    if (c == '"') {
      *string = (struct text){begin, (size_t)(out - begin)};
      return true;
    }
    if (c == '\\') {
      if (!take_escape(parser, &out)) {
        return false;
      }
    } else if ((unsigned char)c < 0x20) {
      return wrong(parser, "has a control character in a string");
    } else {
      *out++ = c;
    }
  }
  return wrong(parser, "has a string without an end");
}

static size_t take_digits(struct parser *parser) {
  size_t begin = parser->position;
  while (!at_end(parser) && peek(parser) >= '0' && peek(parser) <= '9') {
    parser->position++;
  }
  return parser->position - begin;
}

static bool take_number(struct parser *parser, struct json_value *value) {
  const char *begin = parser->text + parser->position;
  bool whole = true;
  take(parser, '-');
  if (!take(parser, '0') && take_digits(parser) == 0) {
    return wrong(parser, "lacks a value");
  }
  if (take(parser, '.')) {
    whole = false;
    if (take_digits(parser) == 0) {
      return wrong(parser, "has an unfinished number");
    }
  }
  if (take(parser, 'e') || take(parser, 'E')) {
    whole = false;
    if (!take(parser, '+')) {
      take(parser, '-');
    }
    if (take_digits(parser) == 0) {
      return wrong(parser, "has an unfinished number");
    }
  }
  value->number = strtod(begin, NULL); /* what follows cannot go on with it */
  if (!isfinite(value->number)) {
    return wrong(parser, "has a number that is too large");
  }
  value->type = JSON_REAL;
  if (whole) {
    errno = 0;
    long long integer = strtoll(begin, NULL, 10);
    if (errno == 0) {
      value->type = JSON_INTEGER;
      value->integer = integer;
    }
  }
  return true;
}

static struct json_value *take_value(struct parser *parser, int depth);

static bool take_member_name(struct parser *parser, struct text *name) {
  skip_space(parser);
  if (!take_string(parser, name)) {
    return false;
  }
  skip_space(parser);
  return take(parser, ':') || wrong(parser, "lacks a colon");
}

/* The values of a list or object behind its bracket. */
static bool take_items(struct parser *parser, struct json_value *parent, int depth) {
  bool object = parent->type == JSON_OBJECT;
  char end = object ? '}' : ']';
  const struct json_value **link = &parent->first;
  skip_space(parser);
  if (take(parser, end)) {
    return true;
  }
  if (depth == JSON_MAX_DEPTH) {
    return wrong(parser, "is nested too deeply");
  }
  for (;;) {
    struct text name = {NULL, 0};
    if (object && !take_member_name(parser, &name)) {
      return false;
    }
    struct json_value *value = take_value(parser, depth + 1);
    if (value == NULL) {
      return false;
    }
    value->key = name;
    *link = value;
    link = &value->next;
    parent->count++;
    skip_space(parser);
    if (take(parser, end)) {
      return true;
    }
    if (!take(parser, ',')) {
      return wrong(parser, "lacks a comma or the end of a list or object");
    }
  }
}

static bool take_content(struct parser *parser, struct json_value *value, int depth) {
  switch (peek(parser)) {
    case '{':
    case '[':
      value->type = peek(parser) == '{' ? JSON_OBJECT : JSON_ARRAY;
      parser->position++;
      return take_items(parser, value, depth);
    case '"':
      value->type = JSON_STRING;
      return take_string(parser, &value->string);
    case 't':
      value->type = JSON_TRUE;
      return take_word(parser, "true");
    case 'f':
      value->type = JSON_FALSE;
      return take_word(parser, "false");
    case 'n':
      value->type = JSON_NULL;
      return take_word(parser, "null");
    default:
      return take_number(parser, value);
  }
}

static struct json_value *take_value(struct parser *parser, int depth) {
  skip_space(parser);
  struct json_value *value = new_value(parser);
  return value != NULL && take_content(parser, value, depth) ? value : NULL;
}

enum json_status json_parse(struct json_document *document, char *text, size_t size,
                            const char **problem, size_t *where) {
  struct parser parser = {.document = document, .text = text, .size = size};
  *document = (struct json_document){0};
  if (!utf8_valid(text, size)) {
    *problem = "is not UTF-8";
    *where = 0;
    return JSON_WRONG;
  }
  document->root = take_value(&parser, 0);
  skip_space(&parser);
  if (document->root != NULL && !at_end(&parser)) {
    wrong(&parser, "goes on behind its end");
  }
  if (parser.problem == NULL) {
    return JSON_OK;
  }
  json_free(document);
  *problem = parser.problem;
  *where = parser.position;
  return parser.no_memory ? JSON_NO_MEMORY : JSON_WRONG;
}

void json_free(struct json_document *document) {
  while (document->blocks != NULL) {
    struct json_block *next = document->blocks->next;
    free(document->blocks);
    document->blocks = next;
  }
  *document = (struct json_document){0};
}

const struct json_value *json_member(const struct json_value *object, const char *name) {
  const struct json_value *found = NULL;
  if (object == NULL || object->type != JSON_OBJECT) {
    return NULL;
  }
  for (const struct json_value *one = object->first; one != NULL; one = one->next) {
    if (text_is(one->key, name)) {
      found = one;
    }
  }
  return found;
}
