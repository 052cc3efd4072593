/* JSON, as Python's json.dumps() writes it: ASCII, with ", " and ": " between. */
#ifndef NASC_JSON_WRITE_H
#define NASC_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "text.h"

/* Opens a list '[' or an object '{', or closes it. */
void json_open(struct buffer *out, char bracket);
void json_close(struct buffer *out, char bracket);

/* A member's name; its value must follow. */
void json_key(struct buffer *out, const char *name);
void json_key_text(struct buffer *out, struct text name);

/* Values. Bytes that are no UTF-8 become U+FFFD. */
void json_text(struct buffer *out, struct text value);
void json_string(struct buffer *out, const char *value); /* NULL is null */
void json_integer(struct buffer *out, int64_t value);
void json_real(struct buffer *out, double value); /* finite */
void json_seconds(struct buffer *out, int64_t nanoseconds); /* not negative */
void json_bool(struct buffer *out, bool value);
void json_null(struct buffer *out);

#endif
