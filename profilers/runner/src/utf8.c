#include "utf8.h"

bool utf8_next(const char *data, size_t size, size_t *position, uint32_t *point) {
  const unsigned char *bytes = (const unsigned char *)data;
  unsigned char lead = bytes[(*position)++];
  if (lead < 0x80) {
    *point = lead;
    return true;
  }
  *point = UTF8_REPLACEMENT;
  unsigned more = lead >= 0xC2 && lead <= 0xDF ? 1 : (lead & 0xF0) == 0xE0 ? 2 : 3;
  if (lead < 0xC2 || lead > 0xF4) {
    return false;
  }
  /* The second byte's range keeps out overlong forms, surrogates and what is beyond U+10FFFF. */
  unsigned char least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  uint32_t value = lead & (0x3Fu >> more);
  for (unsigned i = 0; i < more; i++) {
    if (*position >= size || bytes[*position] < least || bytes[*position] > most) {
      return false;
    }
    value = value << 6 | (bytes[(*position)++] & 0x3Fu);
    least = 0x80;
    most = 0xBF;
  }
  *point = value;
  return true;
}

size_t utf8_put(uint32_t point, char out[4]) {
  if (point < 0x80) {
    out[0] = (char)point;
    return 1;
  }
  size_t more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  static const uint32_t leads[] = {0, 0xC0, 0xE0, 0xF0};
  for (size_t i = more; i > 0; i--) {
    out[i] = (char)(0x80 | (point & 0x3F));
    point >>= 6;
  }
  out[0] = (char)(leads[more] | point);
  return more + 1;
}

bool utf8_valid(const char *data, size_t size) {
  size_t position = 0;
  uint32_t point = 0;
  while (position < size) {
    if (!utf8_next(data, size, &position, &point)) {
      return false;
    }
  }
  return true;
}
