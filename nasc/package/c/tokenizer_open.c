/* Opens a tokenizer's file: header, checksum, and every offset and count in it. */
#include <string.h>

#include "tokenizer.h"
#include "tokenizer_text.h"

enum { HEADER = 24, VERSION = 1, CONFIG_WORDS = 46 };

enum section {
  CONFIG,
  MAPS, /* TOKENIZER_MAX_MAPS of them */
  CLASSES = MAPS + TOKENIZER_MAX_MAPS,
  CHARS,
  BREAKS,
  COMPOSITIONS,
  CHARSMAP,
  CHARSMAP_POOL,
  VOCABULARY,
  SCORES,
  ALPHABET,
  MERGES,
  ADDED_RAW,
  ADDED_NORMAL,
  ADDED,
  SINGLE,
  PAIRED,
  SECTIONS
};

struct part {
  const uint8_t *data;
  size_t size;
};

static uint32_t crc32_of(const uint8_t *data, size_t size) {
  uint32_t table[256];
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; bit++) {
      value = value & 1 ? 0xEDB88320u ^ value >> 1 : value >> 1;
    }
    table[i] = value;
  }
  uint32_t sum = 0xFFFFFFFFu;
  for (size_t i = 0; i < size; i++) {
    sum = table[(sum ^ data[i]) & 0xFF] ^ sum >> 8;
  }
  return ~sum;
}

/* The index of a table by pages, and how many pages of values it names at most. */
static bool read_index(struct part part, uint32_t pages) {
  if (part.size < 2 * (size_t)TOKENIZER_PAGES) {
    return false;
  }
  for (size_t i = 0; i < TOKENIZER_PAGES; i++) {
    if (tokenizer_u16(part.data, i) >= pages) {
      return false;
    }
  }
  return true;
}

static bool read_pages(struct part part, struct tokenizer_pages *pages) {
  if (part.size == 0) {
    return true;
  }
  size_t head = 4 + 2 * (size_t)TOKENIZER_PAGES;
  if (part.size < head) {
    return false;
  }
  uint32_t count = tokenizer_u32(part.data, 0);
  if (count > TOKENIZER_PAGES || part.size != head + (size_t)count * TOKENIZER_PAGE) {
    return false;
  }
  pages->index = part.data + 4;
  pages->values = part.data + head;
  return read_index((struct part){part.data + 4, part.size - 4}, count);
}

static bool read_map(struct part part, struct tokenizer_map *map) {
  size_t head = 8 + 2 * (size_t)TOKENIZER_PAGES;
  if (part.size < head) {
    return false;
  }
  uint32_t count = tokenizer_u32(part.data, 0), pool = tokenizer_u32(part.data, 1);
  size_t entries = (size_t)count * TOKENIZER_PAGE;
  if (count > TOKENIZER_PAGES || part.size < head + 4 * entries ||
      part.size - head - 4 * entries != pool) {
    return false;
  }
  map->index = part.data + 8;
  map->entries = part.data + head;
  map->pool = part.data + head + 4 * entries;
  for (size_t i = 0; i < entries; i++) {
    uint32_t entry = tokenizer_u32(map->entries, i);
    uint32_t offset = (entry & 0x7FFFFFFFu) >> 6, bytes = entry & 63;
    if (entry != 0 && (!(entry >> 31) || offset > pool || pool - offset < bytes ||
                       !nasc_tokenizer_text_valid(map->pool + offset, bytes))) {
      return false;
    }
  }
  return read_index((struct part){part.data + 8, part.size - 8}, count);
}

/* A tree whose nodes come by depth, so that a way down it ends. */
static bool read_trie(struct part part, struct tokenizer_trie *trie) {
  memset(trie, 0, sizeof *trie);
  if (part.size == 0) {
    return true;
  }
  if (part.size < 4) {
    return false;
  }
  size_t nodes = tokenizer_u32(part.data, 0);
  if (nodes == 0 || nodes > part.size || part.size != 8 + 9 * nodes) {
    return false;
  }
  trie->nodes = (uint32_t)nodes;
  trie->first = part.data + 4;
  trie->value = trie->first + 4 * (nodes + 1);
  trie->label = trie->value + 4 * nodes;
  size_t before = 1;
  for (size_t i = 0; i <= nodes; i++) {
    size_t first = tokenizer_u32(trie->first, i);
    if (first < before || first > nodes || (i < nodes && first <= i) ||
        (i == nodes && first != nodes)) {
      return false;
    }
    if (i > 0) {
      for (size_t child = before + 1; child < first; child++) {
        if (trie->label[child] <= trie->label[child - 1]) {
          return false;
        }
      }
    } else if (first != 1) {
      return false;
    }
    before = first;
  }
  uint32_t end = tokenizer_u32(trie->first, 1);
  for (uint32_t child = 1; child < end; child++) {
    trie->roots[trie->label[child]] = child;
  }
  return true;
}

static bool values_below(const struct tokenizer_trie *trie, uint64_t limit) {
  for (size_t i = 0; i < trie->nodes; i++) {
    uint32_t value = tokenizer_u32(trie->value, i);
    if (value != TOKENIZER_NONE && value >= limit) {
      return false;
    }
  }
  return true;
}

static bool read_charsmap(struct part tree, struct part pool, struct nasc_tokenizer *to) {
  if (!read_trie(tree, &to->charsmap) || !values_below(&to->charsmap, pool.size)) {
    return false;
  }
  to->charsmap_pool = pool.data;
  for (size_t i = 0; i < to->charsmap.nodes; i++) {
    uint32_t at = tokenizer_u32(to->charsmap.value, i);
    if (at != TOKENIZER_NONE && (pool.size - at - 1 < pool.data[at] ||
                                 !nasc_tokenizer_text_valid(pool.data + at + 1, pool.data[at]))) {
      return false;
    }
  }
  return true;
}

static bool read_template(struct part part, struct tokenizer_template *template, bool paired) {
  if (part.size == 0 || part.size % 12 || part.size / 12 > TOKENIZER_MAX_PIECES) {
    return false;
  }
  template->count = (uint32_t)(part.size / 12);
  template->pieces = part.data;
  template->tokens = 0;
  uint32_t seen[3] = {0, 0, 0};
  for (size_t i = 0; i < template->count; i++) {
    uint32_t kind = tokenizer_u32(part.data, 3 * i);
    if (kind > PIECE_PAIR) {
      return false;
    }
    seen[kind]++;
  }
  template->tokens = seen[PIECE_TOKEN];
  return seen[PIECE_TEXT] == 1 && seen[PIECE_PAIR] == (paired ? 1u : 0u);
}

static bool read_merges(struct part part, struct nasc_tokenizer *to) {
  size_t slots = part.size / 16, free = 0;
  if (slots == 0 || part.size % 16 || (slots & (slots - 1)) || slots > UINT32_MAX / 2) {
    return false;
  }
  for (size_t i = 0; i < slots; i++) {
    free += tokenizer_u32(part.data, 4 * i + 2) == TOKENIZER_NONE;
  }
  to->merges = part.data;
  to->merge_mask = (uint32_t)(slots - 1);
  return free > 0; /* so that every search ends */
}

static bool read_steps(const uint8_t *words, uint32_t *count, struct tokenizer_step *steps) {
  *count = tokenizer_u32(words, 0);
  if (*count > TOKENIZER_MAX_STAGES) {
    return false;
  }
  for (size_t i = 0; i < *count; i++) {
    steps[i].kind = tokenizer_u32(words, 1 + 2 * i);
    steps[i].argument = tokenizer_u32(words, 2 + 2 * i);
  }
  return true;
}

static bool read_config(struct part part, struct nasc_tokenizer *to) {
  if (part.size != 4 * CONFIG_WORDS) {
    return false;
  }
  const uint8_t *words = part.data;
  uint32_t model = tokenizer_u32(words, 0);
  to->max_length = tokenizer_u32(words, 1);
  to->strategy = tokenizer_u32(words, 2);
  to->cut_left = tokenizer_u32(words, 3) != 0;
  to->unknown = tokenizer_u32(words, 4);
  to->max_word = tokenizer_u32(words, 5);
  to->inner = tokenizer_u32(words, 6);
  to->growth = tokenizer_u32(words, 7);
  to->fuse_unknown = tokenizer_u32(words, 8) != 0;
  uint64_t bits = (uint64_t)tokenizer_u32(words, 44) << 32 | tokenizer_u32(words, 43);
  memcpy(&to->unknown_score, &bits, sizeof bits);
  if (model < MODEL_WORDPIECE || model > MODEL_BPE || to->strategy > CUT_ONLY_SECOND ||
      to->growth < 1 || to->growth > TOKENIZER_MAX_GROWTH || to->max_word > TOKENIZER_MAX_WORD) {
    return false;
  }
  to->model = (enum tokenizer_model)model;
  return read_steps(words + 4 * 9, &to->normalisers, to->normaliser) &&
         read_steps(words + 4 * 26, &to->splitters, to->splitter);
}

/* Whether each step has what it needs. */
static bool steps_are_sound(const struct nasc_tokenizer *to) {
  for (size_t i = 0; i < to->normalisers; i++) {
    struct tokenizer_step step = to->normaliser[i];
    if (step.kind < NORMALISE_MAP || step.kind > NORMALISE_SPACES ||
        (step.kind == NORMALISE_MAP &&
         (step.argument >= TOKENIZER_MAX_MAPS || !to->map[step.argument].entries)) ||
        (step.kind == NORMALISE_REORDER && !to->classes.values) ||
        (step.kind == NORMALISE_COMPOSE && (!to->classes.values || !to->compositions)) ||
        (step.kind == NORMALISE_PRECOMPILED && (!to->breaks.values || !to->charsmap.nodes))) {
      return false;
    }
  }
  for (size_t i = 0; i < to->splitters; i++) {
    struct tokenizer_step step = to->splitter[i];
    if (step.kind < SPLIT_BERT || step.kind > SPLIT_BYTE_LEVEL ||
        (step.kind == SPLIT_METASPACE && (step.argument & METASPACE_POINT) > 0x10FFFF)) {
      return false;
    }
  }
  return to->splitters == 0 || to->chars.values;
}

static bool model_is_sound(const struct nasc_tokenizer *to, const struct part *parts) {
  const struct tokenizer_trie *words = &to->vocabulary;
  switch (to->model) {
  case MODEL_WORDPIECE:
    return words->nodes > 0 && (to->inner == TOKENIZER_NONE || to->inner < words->nodes);
  case MODEL_UNIGRAM:
    return words->nodes > 0 && parts[SCORES].size % 8 == 0 &&
           values_below(words, parts[SCORES].size / 8);
  case MODEL_BPE:
    return parts[ALPHABET].size == 1024 && to->merges;
  }
  return false;
}

static bool read_all(const struct part *parts, struct nasc_tokenizer *to) {
  if (!read_config(parts[CONFIG], to) || !read_pages(parts[CLASSES], &to->classes) ||
      !read_pages(parts[CHARS], &to->chars) || !read_pages(parts[BREAKS], &to->breaks) ||
      !read_charsmap(parts[CHARSMAP], parts[CHARSMAP_POOL], to) ||
      !read_trie(parts[VOCABULARY], &to->vocabulary) ||
      !read_trie(parts[ADDED_RAW], &to->added_raw) ||
      !read_trie(parts[ADDED_NORMAL], &to->added_normal) ||
      !values_below(&to->added_raw, parts[ADDED].size / 8) ||
      !values_below(&to->added_normal, parts[ADDED].size / 8) ||
      !read_template(parts[SINGLE], &to->single, false) ||
      !read_template(parts[PAIRED], &to->paired, true)) {
    return false;
  }
  for (size_t i = 0; i < TOKENIZER_MAX_MAPS; i++) {
    if (parts[MAPS + i].size && !read_map(parts[MAPS + i], &to->map[i])) {
      return false;
    }
  }
  if (parts[COMPOSITIONS].size % 12) {
    return false;
  }
  to->compositions = parts[COMPOSITIONS].size ? parts[COMPOSITIONS].data : NULL;
  to->composition_count = (uint32_t)(parts[COMPOSITIONS].size / 12);
  for (size_t i = 0; i < to->composition_count; i++) {
    if (tokenizer_u32(to->compositions, 3 * i + 2) > 0x10FFFF) {
      return false;
    }
  }
  if (parts[MERGES].size && !read_merges(parts[MERGES], to)) {
    return false;
  }
  to->scores = parts[SCORES].data;
  to->alphabet = parts[ALPHABET].data;
  to->added = parts[ADDED].data;
  return steps_are_sound(to) && model_is_sound(to, parts);
}

int nasc_tokenizer_open(struct nasc_tokenizer *tokenizer, const void *data, size_t size) {
  if (!tokenizer || !data) {
    return NASC_TOKENIZER_ARGUMENT;
  }
  memset(tokenizer, 0, sizeof *tokenizer);
  const uint8_t *bytes = data;
  size_t head = HEADER + 8 * (size_t)SECTIONS;
  if (size < HEADER || memcmp(bytes, "NASCTOK", 8) != 0) {
    return NASC_TOKENIZER_DAMAGED;
  }
  if (tokenizer_u32(bytes, 2) != VERSION) {
    return NASC_TOKENIZER_VERSION;
  }
  if (size < head || tokenizer_u32(bytes, 3) != size || tokenizer_u32(bytes, 5) != SECTIONS ||
      tokenizer_u32(bytes, 4) != crc32_of(bytes + 20, size - 20)) {
    return NASC_TOKENIZER_DAMAGED;
  }
  struct part parts[SECTIONS];
  size_t end = head;
  for (size_t i = 0; i < SECTIONS; i++) {
    size_t offset = tokenizer_u32(bytes + HEADER, 2 * i);
    size_t length = tokenizer_u32(bytes + HEADER, 2 * i + 1);
    if (offset != end || length > size - end) {
      return NASC_TOKENIZER_DAMAGED;
    }
    parts[i] = (struct part){bytes + offset, length};
    end += length;
  }
  struct nasc_tokenizer opened;
  memset(&opened, 0, sizeof opened);
  if (end != size || !read_all(parts, &opened)) {
    return NASC_TOKENIZER_DAMAGED;
  }
  *tokenizer = opened;
  return 0;
}

const char *nasc_tokenizer_problem(int64_t error) {
  switch (error) {
  case NASC_TOKENIZER_DAMAGED:
    return "the tokenizer's file is damaged";
  case NASC_TOKENIZER_VERSION:
    return "the tokenizer's file is of another version";
  case NASC_TOKENIZER_ARGUMENT:
    return "a pointer is NULL, or a length is beyond its limit";
  case NASC_TOKENIZER_NOT_UTF8:
    return "the text is no UTF-8";
  case NASC_TOKENIZER_SCRATCH:
    return "the scratch memory is too small";
  case NASC_TOKENIZER_CAPACITY:
    return "there are more tokens than the arrays hold";
  case NASC_TOKENIZER_NO_ROOM:
    return "the maximum length leaves no room for the text";
  case NASC_TOKENIZER_NO_PAIR:
    return "the second text is to be cut, and there is none";
  default:
    return error < 0 ? "an unknown error" : "no error";
  }
}
