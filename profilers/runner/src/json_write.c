#include "json_write.h"

#include <inttypes.h>
#include <string.h>

#include "utf8.h"

/* The comma before a value. What ends with a space is ": " or ", ": strings end with a quote. */
static void separate(struct buffer *out) {
  if (out->size > 0 && strchr("{[ ", out->data[out->size - 1]) == NULL) {
    buffer_string(out, ", ");
  }
}

void json_open(struct buffer *out, char bracket) {
  separate(out);
  buffer_append(out, &bracket, 1);
}

void json_close(struct buffer *out, char bracket) {
  buffer_append(out, &bracket, 1);
}

static void put_escaped(struct buffer *out, uint32_t point) {
  static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
  for (const char *pair = shorts; *pair != '\0'; pair += 2) {
    if (point == (uint32_t)*pair) {
      buffer_format(out, "\\%c", pair[1]);
      return;
    }
  }
  if (point >= 0x10000) {
    point -= 0x10000;
    buffer_format(out, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xD800 + (point >> 10),
                  0xDC00 + (point & 0x3FF));
  } else {
    buffer_format(out, "\\u%04" PRIx32, point);
  }
}

void json_text(struct buffer *out, struct text value) {
  separate(out);
  buffer_append(out, "\"", 1);
  size_t position = 0;
  while (position < value.size) {
    size_t begin = position;
    while (position < value.size && value.data[position] >= ' ' && value.data[position] <= '~' &&
           value.data[position] != '"' && value.data[position] != '\\') {
      position++;
    }
    buffer_append(out, value.data + begin, position - begin);
    if (position < value.size) {
      uint32_t point = 0;
      (void)utf8_next(value.data, value.size, &position, &point);
      put_escaped(out, point);
    }
  }
  buffer_append(out, "\"", 1);
}

void json_key_text(struct buffer *out, struct text name) {
  json_text(out, name);
  buffer_string(out, ": ");
}

void json_key(struct buffer *out, const char *name) {
  json_key_text(out, text_of(name));
}

void json_string(struct buffer *out, const char *value) {
  if (value == NULL) {
    json_null(out);
  } else {
    json_text(out, text_of(value));
  }
}

void json_integer(struct buffer *out, int64_t value) {
  separate(out);
  buffer_format(out, "%" PRId64, value);
}

void json_real(struct buffer *out, double value) {
  separate(out);
  buffer_format(out, "%.17g", value);
}

void json_seconds(struct buffer *out, int64_t nanoseconds) {
  separate(out);
  buffer_format(out, "%" PRId64 ".%09" PRId64, nanoseconds / 1000000000, nanoseconds % 1000000000);
}

void json_bool(struct buffer *out, bool value) {
  separate(out);
  buffer_string(out, value ? "true" : "false");
}

void json_null(struct buffer *out) {
  separate(out);
  buffer_string(out, "null");
}
