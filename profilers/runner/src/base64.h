/* Base64 of RFC 4648, with padding, nothing else between. */
#ifndef NASC_BASE64_H
#define NASC_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"
#include "text.h"

/* Whether a text can be the base64 of so many bytes, by its length and padding. */
bool base64_fits(struct text text, size_t size);

/* Decodes a text that fits into exactly `size` bytes; false if it has another character. */
bool base64_decode(struct text text, void *out, size_t size);

/* Appends the base64 of bytes. */
void base64_encode(struct buffer *buffer, const void *data, size_t size);

#endif
