#include "tokenizer_text.h"

bool nasc_tokenizer_text_valid(const uint8_t *text, size_t size) {
  size_t i = 0;
  while (i < size) {
    uint8_t lead = text[i++];
    if (lead < 0x80) {
      continue;
    }
    size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (lead < 0xC2 || lead > 0xF4 || size - i < more) {
      return false;
    }
    uint8_t least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (; more > 0; more--, i++) {
      if (text[i] < least || text[i] > most) {
        return false;
      }
      least = 0x80;
      most = 0xBF;
    }
  }
  return true;
}

void *nasc_tokenizer_arena_take(struct arena *arena, size_t bytes) {
  size_t start = (arena->used + 7) & ~(size_t)7;
  if (start < arena->used || start > arena->size || arena->size - start < bytes) {
    return NULL;
  }
  arena->used = start + bytes;
  return arena->base + start;
}
