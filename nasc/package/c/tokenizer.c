/* A call from end to end: added tokens, the steps between them, truncation, the template. */
#include "tokenizer.h"

#include <string.h>

#include "tokenizer_steps.h"

static uint8_t kind_of(const struct nasc_tokenizer *to, struct text text, size_t at) {
  return tokenizer_page(&to->chars, text_next(text.data, text.size, &at));
}

/* The added token that begins at `at`, the longest; its index, and its end in *end. */
static uint32_t added_at(const struct tokenizer_trie *trie, struct text text, size_t at,
                         size_t *end) {
  uint32_t node = 0, found = TOKENIZER_NONE;
  while (at < text.size) {
    node = tokenizer_child(trie, node, text.data[at++]);
    if (node == 0) {
      break;
    }
    uint32_t value = tokenizer_u32(trie->value, node);
    if (value != TOKENIZER_NONE) {
      found = value;
      *end = at;
    }
  }
  return found;
}

/* Puts the added tokens of a text, and does `rest` with each part between them. */
static int with_added(struct call *call, const struct tokenizer_trie *trie, struct text text,
                      int (*rest)(struct call *, struct text)) {
  const struct nasc_tokenizer *to = call->tokenizer;
  size_t done = 0; /* of the text */
  for (size_t at = 0; at < text.size && trie->nodes > 1;) {
    size_t start = at, end = at;
    uint32_t index = trie->roots[text.data[at]] ? added_at(trie, text, at, &end) : TOKENIZER_NONE;
    if (index == TOKENIZER_NONE) {
      at++;
      continue;
    }
    at = end;
    uint32_t bits = tokenizer_u32(to->added, 2 * (size_t)index + 1);
    if ((bits & ADDED_SINGLE_WORD) &&
        ((start > 0 && (kind_of(to, text, text_before(text.data, start)) & CHAR_WORD)) ||
         (end < text.size && (kind_of(to, text, end) & CHAR_WORD)))) {
      continue;
    }
    if (bits & ADDED_LEFT) {
      while (start > done) {
        size_t before = text_before(text.data, start);
        if (!(kind_of(to, text, before) & CHAR_SPACE)) {
          break;
        }
        start = before;
      }
      start = start < done ? done : start;
    }
    if (bits & ADDED_RIGHT) {
      while (end < text.size && (kind_of(to, text, end) & CHAR_SPACE)) {
        text_next(text.data, text.size, &end);
      }
    }
    int status = SINK_MORE;
    if (done < start) {
      status = rest(call, (struct text){text.data + done, start - done});
    }
    if (status == SINK_MORE) {
      status = sink_put(call->sink, tokenizer_u32(to->added, 2 * (size_t)index));
    }
    if (status != SINK_MORE) {
      return status;
    }
    done = end;
  }
  if (done < text.size) {
    return rest(call, (struct text){text.data + done, text.size - done});
  }
  return SINK_MORE;
}

static int put_normal(struct call *call, struct text text) {
  return nasc_tokenizer_split_words(call, text, 0);
}

static int put_raw(struct call *call, struct text text) {
  size_t used = call->arena->used;
  struct text normal;
  int status = nasc_tokenizer_normalise(call, text, &normal);
  if (status == SINK_MORE) {
    status = with_added(call, &call->tokenizer->added_normal, normal, put_normal);
  }
  call->arena->used = used;
  return status;
}

static int put_text(const struct nasc_tokenizer *to, struct text text, struct arena *arena,
                    struct sink *sink) {
  if (!nasc_tokenizer_text_valid(text.data, text.size)) {
    return NASC_TOKENIZER_NOT_UTF8;
  }
  struct call call = {to, arena, sink};
  int status = with_added(&call, &to->added_raw, text, put_raw);
  return status < 0 ? status : 0;
}

static void reverse(int64_t *ids, size_t size) {
  for (size_t i = 0; i < size / 2; i++) {
    int64_t id = ids[i];
    ids[i] = ids[size - 1 - i];
    ids[size - 1 - i] = id;
  }
}

/* Brings the `keep` tokens that are kept to the front of the sink's array. */
static void gather(const struct sink *sink, size_t keep) {
  if (!sink->last || keep == 0) {
    return;
  }
  if (sink->count <= sink->room) {
    memmove(sink->ids, sink->ids + (sink->count - keep), keep * sizeof *sink->ids);
    return;
  }
  size_t first = (size_t)((sink->count - keep) % sink->room);
  reverse(sink->ids, first);
  reverse(sink->ids + first, sink->room - first);
  reverse(sink->ids, sink->room);
}

/* How much of two texts of sizes[0] and sizes[1] tokens is kept, as tokenizers' truncate_encodings
 * has it. */
static int cut(const struct nasc_tokenizer *to, bool paired, size_t room, uint64_t sizes[2]) {
  uint64_t total = sizes[0] + sizes[1];
  if (total <= room) {
    return 0;
  }
  if (room == 0) {
    sizes[0] = sizes[1] = 0;
    return 0;
  }
  if (to->strategy == CUT_LONGEST_FIRST) {
    if (!paired) {
      sizes[0] = room;
      return 0;
    }
    bool swapped = sizes[0] > sizes[1];
    uint64_t less = sizes[swapped], more;
    more = less > room ? less : (less > room - less ? less : room - less);
    if (less + more > room) {
      less = room / 2;
      more = less + room % 2;
    }
    sizes[swapped] = less;
    sizes[!swapped] = more;
    return 0;
  }
  bool second = to->strategy == CUT_ONLY_SECOND;
  if (second && !paired) {
    return NASC_TOKENIZER_NO_PAIR;
  }
  if (sizes[second] <= total - room) {
    return NASC_TOKENIZER_NO_ROOM;
  }
  sizes[second] -= total - room;
  return 0;
}

/* Writes the template's tokens and types around the texts, which stand at the front of ids and, the
 * second one, of types. */
static void assemble(const struct tokenizer_template *template, const uint64_t sizes[2],
                     int64_t *ids, int64_t *types) {
  size_t places[2] = {0, 0}, at = 0;
  for (size_t i = 0; i < template->count; i++) {
    uint32_t kind = tokenizer_u32(template->pieces, 3 * i);
    if (kind == PIECE_TOKEN) {
      at++;
    } else {
      places[kind == PIECE_PAIR] = at;
      at += (size_t)sizes[kind == PIECE_PAIR];
    }
  }
  memmove(ids + places[0], ids, (size_t)sizes[0] * sizeof *ids);
  if (sizes[1] > 0) {
    memcpy(ids + places[1], types, (size_t)sizes[1] * sizeof *ids);
  }
  at = 0;
  for (size_t i = 0; i < template->count; i++) {
    uint32_t kind = tokenizer_u32(template->pieces, 3 * i);
    uint32_t type = tokenizer_u32(template->pieces, 3 * i + 2);
    size_t size = kind == PIECE_TOKEN ? 1 : (size_t)sizes[kind == PIECE_PAIR];
    if (kind == PIECE_TOKEN) {
      ids[at] = tokenizer_u32(template->pieces, 3 * i + 1);
    }
    for (size_t end = at + size; at < end; at++) {
      if (types) {
        types[at] = type;
      }
    }
  }
}

int64_t nasc_tokenizer_encode(const struct nasc_tokenizer *tokenizer, const char *text,
                              size_t bytes, const char *pair, size_t pair_bytes, size_t max_length,
                              int64_t *ids, int64_t *types, size_t capacity, void *scratch,
                              size_t scratch_bytes) {
  if (!tokenizer || !tokenizer->single.count || (!text && bytes) || !ids || (pair && !types) ||
      (!scratch && scratch_bytes) || bytes > NASC_TOKENIZER_MAX_BYTES ||
      (pair && pair_bytes > NASC_TOKENIZER_MAX_BYTES)) {
    return NASC_TOKENIZER_ARGUMENT;
  }
  const struct tokenizer_template *template = pair ? &tokenizer->paired : &tokenizer->single;
  size_t longest = max_length ? max_length : tokenizer->max_length;
  if (longest && longest < template->tokens) {
    return NASC_TOKENIZER_NO_ROOM;
  }
  size_t room = longest ? longest - template->tokens : SIZE_MAX; /* for the texts */
  bool last = longest && tokenizer->cut_left;

  /* The first `capacity` tokens of a text are kept, or the last. How many a text has matters where
   * they are cut from the left, or where another text takes what this one leaves. */
  struct sink sinks[2] = {{ids, capacity, 0, UINT64_MAX, last}, {types, capacity, 0, UINT64_MAX, last}};
  size_t enough = room < capacity ? room : capacity;
  if (!longest || (!pair && !last)) {
    sinks[0].enough = sinks[1].enough = (uint64_t)enough + 1;
  }
  size_t start = (size_t)(-(uintptr_t)scratch & 7);
  struct arena arena = {scratch, scratch_bytes, start < scratch_bytes ? start : scratch_bytes};
  int status =
      put_text(tokenizer, (struct text){(const uint8_t *)text, bytes}, &arena, &sinks[0]);
  if (status == 0 && pair) {
    status =
        put_text(tokenizer, (struct text){(const uint8_t *)pair, pair_bytes}, &arena, &sinks[1]);
  }
  uint64_t sizes[2] = {sinks[0].count, sinks[1].count};
  if (status == 0 && longest) {
    status = cut(tokenizer, pair != NULL, room, sizes);
  }
  if (status < 0) {
    return status;
  }
  if (sizes[0] > capacity || sizes[1] > capacity ||
      sizes[0] + sizes[1] + template->tokens > capacity) {
    return NASC_TOKENIZER_CAPACITY;
  }
  gather(&sinks[0], (size_t)sizes[0]);
  if (pair) {
    gather(&sinks[1], (size_t)sizes[1]);
  }
  assemble(template, sizes, ids, types);
  return (int64_t)(sizes[0] + sizes[1] + template->tokens);
}

static uint64_t scratch_of(const struct nasc_tokenizer *to, uint64_t bytes) {
  uint64_t need = 16;
  if (to->normalisers > 0) {
    bytes *= to->growth;
    need += 2 * bytes + 16;
  }
  bool no_spaces = false;
  for (size_t i = 0; i < to->splitters; i++) {
    struct tokenizer_step step = to->splitter[i];
    if (step.kind == SPLIT_METASPACE) {
      bytes = no_spaces ? bytes + 4 : 5 * bytes + 4;
      need += bytes + 8;
    } else if (step.kind == SPLIT_BYTE_LEVEL) {
      bytes += 1;
      need += bytes + 8;
    } else {
      no_spaces = true;
    }
  }
  if (to->model == MODEL_UNIGRAM) {
    need += 16 * (bytes + 1) + 8;
  } else if (to->model == MODEL_BPE) {
    need += 28 * bytes + 16;
  }
  return need;
}

size_t nasc_tokenizer_scratch(const struct nasc_tokenizer *tokenizer, size_t bytes,
                              size_t pair_bytes) {
  size_t most = bytes > pair_bytes ? bytes : pair_bytes;
  if (!tokenizer || most > NASC_TOKENIZER_MAX_BYTES) {
    return SIZE_MAX;
  }
  uint64_t need = scratch_of(tokenizer, most);
  return need > SIZE_MAX ? SIZE_MAX : (size_t)need;
}
