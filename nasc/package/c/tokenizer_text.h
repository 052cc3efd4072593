/* UTF-8, and what a call writes to. */
#ifndef NASC_TOKENIZER_TEXT_H
#define NASC_TOKENIZER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The code point at *position, which moves behind it; U+FFFD and one byte where there is none. The
 * position must be below the size. */
static inline uint32_t text_next(const uint8_t *text, size_t size, size_t *position) {
  size_t at = *position, left = size - at;
  uint8_t lead = text[at];
  if (lead < 0x80) {
    *position = at + 1;
    return lead;
  }
  size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  if (lead < 0xC2 || lead > 0xF4 || left <= more) {
    *position = at + 1;
    return 0xFFFD;
  }
  uint32_t point = lead & (0x3Fu >> more);
  for (size_t i = 1; i <= more; i++) {
    if ((text[at + i] & 0xC0) != 0x80) {
      *position = at + 1;
      return 0xFFFD;
    }
    point = point << 6 | (text[at + i] & 0x3Fu);
  }
  *position = at + more + 1;
  return point <= 0x10FFFF ? point : 0xFFFD;
}

/* Where the code point before `position` begins; the position must be above 0. */
static inline size_t text_before(const uint8_t *text, size_t position) {
  size_t start = position - 1;
  while (start > 0 && position - start < 4 && (text[start] & 0xC0) == 0x80) {
    start--;
  }
  return start;
}

/* Writes a code point that is no surrogate; returns its bytes, 1 to 4. */
static inline size_t text_put(uint32_t point, uint8_t *out) {
  if (point < 0x80) {
    out[0] = (uint8_t)point;
    return 1;
  }
  if (point < 0x800) {
    out[0] = (uint8_t)(0xC0 | point >> 6);
    out[1] = (uint8_t)(0x80 | (point & 0x3F));
    return 2;
  }
  if (point < 0x10000) {
    out[0] = (uint8_t)(0xE0 | point >> 12);
    out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
    out[2] = (uint8_t)(0x80 | (point & 0x3F));
    return 3;
  }
  out[0] = (uint8_t)(0xF0 | point >> 18);
  out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3F));
  out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
  out[3] = (uint8_t)(0x80 | (point & 0x3F));
  return 4;
}

/* Whether bytes are UTF-8 of Unicode's table 3-7: nothing overlong, no surrogates, nothing beyond
 * U+10FFFF. */
bool nasc_tokenizer_text_valid(const uint8_t *text, size_t size);

/* The caller's scratch, taken in order and given back in reverse. */
struct arena {
  uint8_t *base;
  size_t size;
  size_t used;
};

/* So many bytes, at a multiple of eight; NULL if they are not there. */
void *nasc_tokenizer_arena_take(struct arena *arena, size_t bytes);

/* Where tokens go: the first `room` of them, or the last, in a ring. */
struct sink {
  int64_t *ids;
  size_t room;
  uint64_t count;  /* tokens that came */
  uint64_t enough; /* as many make the rest of the text of no interest */
  bool last;
};

enum { SINK_MORE = 0, SINK_ENOUGH = 1 };

static inline int sink_put(struct sink *sink, uint32_t token) {
  if (sink->count < sink->room) {
    sink->ids[sink->count] = token;
  } else if (sink->last && sink->room > 0) {
    sink->ids[sink->count % sink->room] = token;
  }
  sink->count++;
  return sink->count >= sink->enough ? SINK_ENOUGH : SINK_MORE;
}

#endif
