/* The three models: words into tokens. */
#include <string.h>

#include "tokenizer_steps.h"

/* The longest piece that a text begins with, below a node of the vocabulary: its token, and its end
 * in *end; TOKENIZER_NONE if there is none. */
static uint32_t longest_piece(const struct tokenizer_trie *words, uint32_t node, struct text word,
                              size_t at, size_t *end) {
  uint32_t found = TOKENIZER_NONE;
  while (at < word.size) {
    node = tokenizer_child(words, node, word.data[at++]);
    if (node == 0) {
      break;
    }
    uint32_t token = tokenizer_u32(words->value, node);
    if (token != TOKENIZER_NONE) {
      found = token;
      *end = at;
    }
  }
  return found;
}

/* The longest piece first, then the longest that may follow; one unknown token for a word that
 * cannot be had so, or is too long. */
static int word_pieces(struct call *call, struct text word) {
  const struct nasc_tokenizer *to = call->tokenizer;
  size_t points = 0;
  for (size_t i = 0; i < word.size; i++) {
    points += (word.data[i] & 0xC0) != 0x80;
  }
  uint32_t found[TOKENIZER_MAX_WORD];
  size_t count = 0, at = 0;
  if (points > to->max_word) {
    return sink_put(call->sink, to->unknown);
  }
  while (at < word.size) {
    uint32_t token = TOKENIZER_NONE;
    if (count < TOKENIZER_MAX_WORD && (at == 0 || to->inner != TOKENIZER_NONE)) {
      token = longest_piece(&to->vocabulary, at == 0 ? 0 : to->inner, word, at, &at);
    }
    if (token == TOKENIZER_NONE) {
      return sink_put(call->sink, to->unknown);
    }
    found[count++] = token;
  }
  for (size_t i = 0; i < count; i++) {
    int done = sink_put(call->sink, found[i]);
    if (done != SINK_MORE) {
      return done;
    }
  }
  return SINK_MORE;
}

/* The best way to a place in a word. */
struct path {
  double score;
  uint32_t start; /* of the last piece on it */
  uint32_t token; /* of that piece */
};

static double score_of(const struct nasc_tokenizer *to, uint32_t token) {
  uint64_t bits = (uint64_t)tokenizer_u32(to->scores, 2 * (size_t)token + 1) << 32 |
                  tokenizer_u32(to->scores, 2 * (size_t)token);
  double score;
  memcpy(&score, &bits, sizeof score);
  return score;
}

static void offer(struct path *path, double score, size_t start, uint32_t token) {
  if (path->start == TOKENIZER_NONE || score > path->score) {
    *path = (struct path){score, (uint32_t)start, token};
  }
}

/* The token of a run of unknown pieces, which may have an entry of its own. */
static uint32_t token_of_run(const struct nasc_tokenizer *to, struct text run) {
  uint32_t node = 0;
  for (size_t i = 0; i < run.size; i++) {
    node = tokenizer_child(&to->vocabulary, node, run.data[i]);
    if (node == 0) {
      return to->unknown;
    }
  }
  uint32_t token = tokenizer_u32(to->vocabulary.value, node);
  return token == TOKENIZER_NONE ? to->unknown : token;
}

/* The way of the highest sum of scores (Viterbi), unknown characters that follow each other as one. */
static int best_pieces(struct call *call, struct text word) {
  const struct nasc_tokenizer *to = call->tokenizer;
  const struct tokenizer_trie *words = &to->vocabulary;
  size_t used = call->arena->used;
  struct path *paths = nasc_tokenizer_arena_take(call->arena, (word.size + 1) * sizeof *paths);
  if (!paths) {
    return NASC_TOKENIZER_SCRATCH;
  }
  for (size_t i = 0; i <= word.size; i++) {
    paths[i] = (struct path){0.0, TOKENIZER_NONE, to->unknown};
  }
  for (size_t at = 0; at < word.size;) {
    size_t single = at;
    text_next(word.data, word.size, &single);
    double here = paths[at].score;
    bool has_single = false;
    uint32_t node = 0;
    for (size_t end = at; end < word.size;) {
      node = tokenizer_child(words, node, word.data[end++]);
      if (node == 0) {
        break;
      }
      uint32_t token = tokenizer_u32(words->value, node);
      if (token != TOKENIZER_NONE) {
        offer(&paths[end], score_of(to, token) + here, at, token);
        has_single = has_single || end == single;
      }
    }
    if (!has_single) {
      offer(&paths[single], to->unknown_score + here, at, to->unknown);
    }
    at = single;
  }
  /* Backwards along the best way; the starts of its pieces are turned round into their ends. */
  size_t end = word.size, next = word.size;
  while (end > 0) {
    size_t start = paths[end].start;
    if (start >= end) { /* no piece ends here: only where the file breaks characters apart */
      call->arena->used = used;
      return NASC_TOKENIZER_DAMAGED;
    }
    paths[end].start = (uint32_t)next;
    next = end;
    end = start;
  }
  int done = SINK_MORE;
  for (size_t start = 0, at = next; start < word.size && done == SINK_MORE;) {
    uint32_t token = paths[at].token;
    if (token == to->unknown) {
      while (at < word.size && paths[paths[at].start].token == to->unknown) {
        at = paths[at].start;
      }
      token = token_of_run(to, (struct text){word.data + start, at - start});
    }
    done = sink_put(call->sink, token);
    start = at;
    at = paths[at].start;
  }
  call->arena->used = used;
  return done;
}

/* A symbol of a word while pairs of them are merged. */
struct symbol {
  uint32_t token;
  uint32_t previous, next; /* TOKENIZER_NONE: none */
  uint32_t rank;           /* of the merge with the next one; TOKENIZER_NONE: none */
  uint32_t merged;         /* what that gives */
  uint32_t place;          /* in the heap, for those that have a rank */
};

/* Symbols that can be merged with the next one, the lowest rank first, then the leftmost. */
struct heap {
  struct symbol *symbols;
  uint32_t *items;
  uint32_t count;
};

static bool before(const struct heap *heap, uint32_t a, uint32_t b) {
  uint32_t left = heap->symbols[a].rank, right = heap->symbols[b].rank;
  return left != right ? left < right : a < b;
}

static void place(struct heap *heap, uint32_t at, uint32_t symbol) {
  heap->items[at] = symbol;
  heap->symbols[symbol].place = at;
}

/* Moves what stands at `at` to where it belongs. */
static void settle(struct heap *heap, uint32_t at) {
  uint32_t symbol = heap->items[at];
  while (at > 0 && before(heap, symbol, heap->items[(at - 1) / 2])) {
    place(heap, at, heap->items[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  for (;;) {
    uint32_t child = 2 * at + 1;
    if (child >= heap->count) {
      break;
    }
    if (child + 1 < heap->count && before(heap, heap->items[child + 1], heap->items[child])) {
      child++;
    }
    if (!before(heap, heap->items[child], symbol)) {
      break;
    }
    place(heap, at, heap->items[child]);
    at = child;
  }
  place(heap, at, symbol);
}

static void leave(struct heap *heap, uint32_t symbol) {
  uint32_t at = heap->symbols[symbol].place, last = heap->items[--heap->count];
  if (last != symbol) {
    place(heap, at, last);
    settle(heap, at);
  }
}

/* Sets what a symbol and its next one merge to, and its place in the heap. */
static void rate(const struct nasc_tokenizer *to, struct heap *heap, uint32_t index) {
  struct symbol *symbol = &heap->symbols[index];
  uint32_t rank = TOKENIZER_NONE, merged = 0;
  if (symbol->next != TOKENIZER_NONE) {
    uint32_t left = symbol->token, right = heap->symbols[symbol->next].token;
    uint32_t slot = (left * 0x9E3779B1u ^ right * 0x85EBCA6Bu) >> 7 & to->merge_mask;
    for (;; slot = (slot + 1) & to->merge_mask) {
      const uint8_t *merge = to->merges + 16 * (size_t)slot;
      rank = tokenizer_u32(merge, 2);
      if (rank == TOKENIZER_NONE ||
          (tokenizer_u32(merge, 0) == left && tokenizer_u32(merge, 1) == right)) {
        merged = tokenizer_u32(merge, 3);
        break;
      }
    }
  }
  bool was = symbol->rank != TOKENIZER_NONE;
  symbol->rank = rank;
  symbol->merged = merged;
  if (rank == TOKENIZER_NONE) {
    if (was) {
      leave(heap, index);
    }
    return;
  }
  if (!was) {
    place(heap, heap->count++, index);
  }
  settle(heap, symbol->place);
}

/* The tokens of the bytes, then the merge of the lowest rank as long as there is one. */
static int merged_bytes(struct call *call, struct text word) {
  const struct nasc_tokenizer *to = call->tokenizer;
  size_t used = call->arena->used;
  struct heap heap = {nasc_tokenizer_arena_take(call->arena, word.size * sizeof(struct symbol)),
                      nasc_tokenizer_arena_take(call->arena, word.size * sizeof(uint32_t)), 0};
  if (!heap.symbols || !heap.items) {
    return NASC_TOKENIZER_SCRATCH;
  }
  uint32_t count = 0;
  bool was_unknown = false;
  for (size_t i = 0; i < word.size; i++) {
    uint32_t token = tokenizer_u32(to->alphabet, word.data[i]);
    bool is_unknown = token == TOKENIZER_NONE;
    if (is_unknown) {
      token = to->unknown;
    }
    if (token == TOKENIZER_NONE || (is_unknown && was_unknown && to->fuse_unknown)) {
      continue; /* left out, or one with the unknown byte before */
    }
    was_unknown = is_unknown;
    heap.symbols[count] = (struct symbol){token, count - 1, count + 1, TOKENIZER_NONE, 0, 0};
    count++;
  }
  if (count > 0) {
    heap.symbols[count - 1].next = TOKENIZER_NONE;
  }
  for (uint32_t i = 0; i < count; i++) {
    rate(to, &heap, i);
  }
  while (heap.count > 0) {
    uint32_t left = heap.items[0];
    struct symbol *symbol = &heap.symbols[left];
    uint32_t right = symbol->next;
    symbol->token = symbol->merged;
    symbol->next = heap.symbols[right].next;
    if (heap.symbols[right].rank != TOKENIZER_NONE) {
      leave(&heap, right);
    }
    if (symbol->next != TOKENIZER_NONE) {
      heap.symbols[symbol->next].previous = left;
    }
    rate(to, &heap, left);
    if (symbol->previous != TOKENIZER_NONE) {
      rate(to, &heap, symbol->previous);
    }
  }
  int done = SINK_MORE;
  for (uint32_t i = count > 0 ? 0 : TOKENIZER_NONE; i != TOKENIZER_NONE && done == SINK_MORE;
       i = heap.symbols[i].next) {
    done = sink_put(call->sink, heap.symbols[i].token);
  }
  call->arena->used = used;
  return done;
}

int nasc_tokenizer_put_word(struct call *call, struct text word) {
  if (word.size >= TOKENIZER_NONE || word.size > SIZE_MAX / 64) { /* places are of 32 bits */
    return NASC_TOKENIZER_SCRATCH;
  }
  switch (call->tokenizer->model) {
  case MODEL_WORDPIECE:
    return word_pieces(call, word);
  case MODEL_UNIGRAM:
    return best_pieces(call, word);
  default:
    return merged_bytes(call, word);
  }
}
