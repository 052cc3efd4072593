/* What normalisers do to a text, by tables that were asked of the tokenizers library. */
#include <string.h>

#include "tokenizer_steps.h"

/* Where a step writes to: what is free of the scratch. */
struct output {
  uint8_t *data;
  size_t capacity;
  size_t size;
};

static bool put(struct output *out, const uint8_t *bytes, size_t size) {
  if (out->capacity - out->size < size) {
    return false;
  }
  for (size_t i = 0; i < size; i++) { /* most are of one to three bytes */
    out->data[out->size + i] = bytes[i];
  }
  out->size += size;
  return true;
}

static bool put_all(struct output *out, struct text text) {
  if (out->capacity - out->size < text.size) {
    return false;
  }
  if (text.size > 0) {
    memcpy(out->data + out->size, text.data, text.size);
    out->size += text.size;
  }
  return true;
}

static bool map_points(const struct tokenizer_map *map, struct text text, struct output *out) {
  for (size_t at = 0; at < text.size;) {
    size_t start = at;
    uint32_t point = text_next(text.data, text.size, &at);
    size_t page = tokenizer_u16(map->index, point / TOKENIZER_PAGE);
    uint32_t entry =
        tokenizer_u32(map->entries, page * TOKENIZER_PAGE + point % TOKENIZER_PAGE);
    bool same = entry == 0;
    const uint8_t *bytes = same ? text.data + start : map->pool + ((entry & 0x7FFFFFFFu) >> 6);
    if (!put(out, bytes, same ? at - start : entry & 63)) {
      return false;
    }
  }
  return true;
}

/* Marks that follow each other into the order of their classes, those of one class as they were:
 * a counting sort, so that no text takes long. What is free behind the text serves as its room. */
static bool reorder(const struct tokenizer_pages *classes, struct text text, struct output *out) {
  if (!put_all(out, text)) {
    return false;
  }
  uint8_t *data = out->data, *room = out->data + out->size;
  size_t at = 0;
  while (at < text.size) {
    if (data[at] < 0x80) { /* no mark, and most texts have nothing else */
      at++;
      continue;
    }
    size_t start = at, end = at;
    uint8_t last = 0;
    bool sorted = true;
    while (at < text.size) {
      uint8_t class = tokenizer_page(classes, text_next(data, text.size, &at));
      if (class == 0) {
        break;
      }
      sorted = sorted && class >= last;
      last = class;
      end = at;
    }
    if (sorted) {
      continue;
    }
    size_t size = end - start, places[256] = {0};
    if (out->capacity - out->size < size) {
      return false;
    }
    memcpy(room, data + start, size);
    for (size_t from = 0, next = 0; from < size; from = next) {
      uint8_t class = tokenizer_page(classes, text_next(room, size, &next));
      places[class] += next - from;
    }
    size_t place = start;
    for (size_t class = 0; class < 256; class++) {
      size_t bytes = places[class];
      places[class] = place;
      place += bytes;
    }
    for (size_t from = 0, next = 0; from < size; from = next) {
      uint8_t class = tokenizer_page(classes, text_next(room, size, &next));
      memcpy(data + places[class], room + from, next - from);
      places[class] += next - from;
    }
  }
  return true;
}

/* The composition of two code points by Unicode's chapter 3.11 and 3.12 (Hangul); 0: there is none. */
static uint32_t composed(const struct nasc_tokenizer *to, uint32_t first, uint32_t second) {
  if (first - 0x1100 < 19 && second - 0x1161 < 21) {
    return 0xAC00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28;
  }
  if (first - 0xAC00 < 11172 && (first - 0xAC00) % 28 == 0 && second - 0x11A8 < 27) {
    return first + (second - 0x11A7);
  }
  size_t low = 0, high = to->composition_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    uint32_t a = tokenizer_u32(to->compositions, 3 * middle);
    uint32_t b = tokenizer_u32(to->compositions, 3 * middle + 1);
    if (a == first && b == second) {
      return tokenizer_u32(to->compositions, 3 * middle + 2);
    }
    if (a < first || (a == first && b < second)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return 0;
}

/* Composes a text in canonical order. The starter is held back until nothing more can join it; what
 * did not join it stands in `out` behind a gap of four bytes, where the starter goes then. */
static bool compose(const struct nasc_tokenizer *to, struct text text, struct output *out) {
  uint32_t starter = 0;
  bool held = false;
  uint8_t last = 0;      /* class of the mark before that did not join; 0: there is none */
  size_t gap = out->size; /* where the starter's four bytes are kept free */
  for (size_t at = 0; at < text.size;) {
    size_t from = at;
    uint32_t point = text_next(text.data, text.size, &at);
    uint8_t class = tokenizer_page(&to->classes, point);
    bool free = held && (last == 0 ? out->size == gap + 4 : last < class);
    uint32_t joined = free ? composed(to, starter, point) : 0;
    if (joined) {
      starter = joined;
      continue;
    }
    if (class == 0) {
      if (held) {
        size_t bytes = text_put(starter, out->data + gap);
        memmove(out->data + gap + bytes, out->data + gap + 4, out->size - gap - 4);
        out->size -= 4 - bytes;
      }
      gap = out->size;
      if (out->capacity - out->size < 4) {
        return false;
      }
      out->size += 4;
      starter = point;
      held = true;
      last = 0;
    } else {
      last = class;
      if (!put(out, text.data + from, at - from)) {
        return false;
      }
    }
  }
  if (held) {
    size_t bytes = text_put(starter, out->data + gap);
    memmove(out->data + gap + bytes, out->data + gap + 4, out->size - gap - 4);
    out->size -= 4 - bytes;
  }
  return true;
}

/* The end of the grapheme cluster at `at`: extended ones of Unicode's annex 29, GB3 to GB13. */
static size_t cluster_end(const struct tokenizer_pages *breaks, struct text text, size_t at) {
  uint8_t left = tokenizer_page(breaks, text_next(text.data, text.size, &at));
  bool pictograph = left & BREAK_PICTOGRAPH; /* then marks, perhaps a joiner */
  bool consonant = left & BREAK_CONSONANT;   /* then marks and linkers */
  bool linked = false;
  size_t regional = (left & BREAK_MASK) == BREAK_REGIONAL;
  while (at < text.size) {
    size_t next = at;
    uint8_t right = tokenizer_page(breaks, text_next(text.data, text.size, &next));
    uint8_t a = left & BREAK_MASK, b = right & BREAK_MASK;
    if (a == BREAK_CR || a == BREAK_LF || a == BREAK_CONTROL || b == BREAK_CR || b == BREAK_LF ||
        b == BREAK_CONTROL) {
      return a == BREAK_CR && b == BREAK_LF ? next : at;
    }
    bool joined =
        b == BREAK_EXTEND || b == BREAK_ZWJ || b == BREAK_SPACING || a == BREAK_PREPEND ||
        (a == BREAK_L && (b == BREAK_L || b == BREAK_V || b == BREAK_LV || b == BREAK_LVT)) ||
        ((a == BREAK_LV || a == BREAK_V) && (b == BREAK_V || b == BREAK_T)) ||
        ((a == BREAK_LVT || a == BREAK_T) && b == BREAK_T) ||
        (consonant && linked && (right & BREAK_CONSONANT)) ||
        (pictograph && a == BREAK_ZWJ && (right & BREAK_PICTOGRAPH)) ||
        (a == BREAK_REGIONAL && b == BREAK_REGIONAL && regional % 2 == 1);
    if (!joined) {
      return at;
    }
    if (right & BREAK_PICTOGRAPH) {
      pictograph = true;
    } else if (a == BREAK_ZWJ || (b != BREAK_EXTEND && b != BREAK_ZWJ)) {
      pictograph = false;
    }
    if (right & BREAK_CONSONANT) {
      consonant = true;
      linked = false;
    } else if (right & BREAK_LINKER) {
      linked = true;
    } else if (!(right & BREAK_CONJOINING)) {
      consonant = false;
    }
    regional = b == BREAK_REGIONAL ? regional + 1 : 0;
    left = right;
    at = next;
  }
  return at;
}

/* What SentencePiece's table makes of a text by its shortest entry that the text begins with, as
 * tokenizers looks it up; NULL: it has none. */
static const uint8_t *charsmap_entry(const struct nasc_tokenizer *to, const uint8_t *text,
                                     size_t size) {
  uint32_t node = 0;
  for (size_t i = 0; i < size; i++) {
    node = tokenizer_child(&to->charsmap, node, text[i]);
    if (node == 0) {
      return NULL;
    }
    uint32_t value = tokenizer_u32(to->charsmap.value, node);
    if (value != TOKENIZER_NONE) {
      return to->charsmap_pool + value;
    }
  }
  return NULL;
}

/* Clusters of less than six bytes are looked up whole, all else by code points: so does the
 * normaliser Precompiled of tokenizers. */
static bool precompiled(const struct nasc_tokenizer *to, struct text text, struct output *out) {
  for (size_t at = 0; at < text.size;) {
    size_t end;
    if (text.data[at] < 0x80 && text.data[at] != '\r' &&
        (at + 1 == text.size || text.data[at + 1] < 0x80)) {
      end = at + 1;
    } else {
      end = cluster_end(&to->breaks, text, at);
    }
    if (end - at < 6) {
      const uint8_t *entry = charsmap_entry(to, text.data + at, end - at);
      if (entry) {
        if (!put(out, entry + 1, entry[0])) {
          return false;
        }
        at = end;
        continue;
      }
    }
    while (at < end) {
      size_t next = at;
      text_next(text.data, text.size, &next);
      const uint8_t *entry = charsmap_entry(to, text.data + at, next - at);
      if (!put(out, entry ? entry + 1 : text.data + at, entry ? entry[0] : next - at)) {
        return false;
      }
      at = next;
    }
  }
  return true;
}

static bool space_at(const struct nasc_tokenizer *to, struct text text, size_t at) {
  size_t next = at;
  return tokenizer_page(&to->chars, text_next(text.data, text.size, &next)) & CHAR_SPACE;
}

static struct text strip(const struct nasc_tokenizer *to, struct text text, uint32_t sides) {
  while ((sides & 1) && text.size > 0 && space_at(to, text, 0)) {
    size_t next = 0;
    text_next(text.data, text.size, &next);
    text.data += next;
    text.size -= next;
  }
  while ((sides & 2) && text.size > 0 && space_at(to, text, text_before(text.data, text.size))) {
    text.size = text_before(text.data, text.size);
  }
  return text;
}

static bool join_spaces(struct text text, struct output *out) {
  for (size_t i = 0; i < text.size; i++) {
    bool again = i > 0 && text.data[i] == ' ' && text.data[i - 1] == ' ';
    if (!again && !put(out, text.data + i, 1)) {
      return false;
    }
  }
  return true;
}

static bool apply(const struct nasc_tokenizer *to, struct tokenizer_step step, struct text text,
                  struct output *out) {
  switch (step.kind) {
  case NORMALISE_MAP:
    return map_points(&to->map[step.argument], text, out);
  case NORMALISE_REORDER:
    return reorder(&to->classes, text, out);
  case NORMALISE_COMPOSE:
    return compose(to, text, out);
  case NORMALISE_PRECOMPILED:
    return precompiled(to, text, out);
  default:
    return join_spaces(text, out);
  }
}

int nasc_tokenizer_normalise(struct call *call, struct text text, struct text *result) {
  const struct nasc_tokenizer *to = call->tokenizer;
  uint8_t *start = call->arena->base + call->arena->used;
  size_t room = call->arena->size - call->arena->used;
  bool inside = false; /* whether the text so far lies in the arena */
  *result = text;
  for (size_t i = 0; i < to->normalisers; i++) {
    struct tokenizer_step step = to->normaliser[i];
    if (step.kind == NORMALISE_STRIP) {
      *result = strip(to, *result, step.argument);
      continue;
    }
    size_t taken = inside ? (size_t)(result->data - start) + result->size : 0;
    struct output out = {start + taken, room - taken, 0};
    if (!apply(to, step, *result, &out)) {
      return NASC_TOKENIZER_SCRATCH;
    }
    if (taken > 0) { /* so that no more than two of the texts lie there at a time */
      memmove(start, out.data, out.size);
    }
    *result = (struct text){start, out.size};
    inside = true;
  }
  if (inside) {
    call->arena->used += (size_t)(result->data - start) + result->size;
  }
  return SINK_MORE;
}
