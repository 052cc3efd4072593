/* UTF-8 as Python decodes it. */
#ifndef NASC_UTF8_H
#define NASC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UTF8_REPLACEMENT = 0xFFFD };

/* The code point at *position, which moves behind it. Where the bytes are no UTF-8, false: the
 * point is U+FFFD then and the position behind the longest part that could have begun one, as
 * errors="replace" has it. The position must be below the size. */
bool utf8_next(const char *data, size_t size, size_t *position, uint32_t *point);

/* Writes a code point that is no surrogate; returns its bytes, 1 to 4. */
size_t utf8_put(uint32_t point, char out[4]);

bool utf8_valid(const char *data, size_t size);

#endif
