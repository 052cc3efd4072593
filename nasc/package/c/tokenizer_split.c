/* Splits normalised text into words, as the pre-tokenizers do. */
#include <string.h>

#include "tokenizer_steps.h"

static uint8_t kind_at(const struct nasc_tokenizer *to, struct text text, size_t at, size_t *next) {
  *next = at;
  return tokenizer_page(&to->chars, text_next(text.data, text.size, next));
}

/* Hands over a word, unless it is empty, to the next splitter or to the model. */
static int hand_on(struct call *call, struct text text, size_t start, size_t end,
                   size_t splitter) {
  if (start == end) {
    return SINK_MORE;
  }
  struct text word = {text.data + start, end - start};
  return splitter < call->tokenizer->splitters ? nasc_tokenizer_split_words(call, word, splitter)
                                               : nasc_tokenizer_put_word(call, word);
}

static int at_spaces(struct call *call, struct text text, size_t splitter, bool punctuation) {
  size_t start = 0, next = 0;
  for (size_t at = 0; at < text.size; at = next) {
    uint8_t kind = kind_at(call->tokenizer, text, at, &next);
    if (!(kind & CHAR_SPACE) && !(punctuation && (kind & CHAR_PUNCTUATION))) {
      continue;
    }
    int done = hand_on(call, text, start, at, splitter);
    if (done == SINK_MORE && !(kind & CHAR_SPACE)) {
      done = hand_on(call, text, at, next, splitter);
    }
    if (done != SINK_MORE) {
      return done;
    }
    start = next;
  }
  return hand_on(call, text, start, text.size, splitter);
}

static bool begins(struct text text, size_t at, const uint8_t *with, size_t size) {
  return text.size - at >= size && memcmp(text.data + at, with, size) == 0;
}

/* Spaces become a mark; words begin at marks. */
static int at_marks(struct call *call, struct text text, uint32_t argument, size_t splitter) {
  uint8_t mark[4];
  size_t bytes = text_put(argument & METASPACE_POINT, mark), spaces = 0;
  if (text.size > SIZE_MAX / 8) { /* so that the room for the marks can be counted */
    return NASC_TOKENIZER_SCRATCH;
  }
  for (size_t i = 0; i < text.size; i++) {
    spaces += text.data[i] == ' ';
  }
  size_t used = call->arena->used;
  uint8_t *data = nasc_tokenizer_arena_take(call->arena, text.size + spaces * bytes + bytes);
  if (!data) {
    return NASC_TOKENIZER_SCRATCH;
  }
  size_t size = 0;
  if ((argument & METASPACE_PREPEND) && text.data[0] != ' ' && !begins(text, 0, mark, bytes)) {
    memcpy(data, mark, bytes);
    size = bytes;
  }
  for (size_t i = 0; i < text.size; i++) {
    if (text.data[i] == ' ') {
      memcpy(data + size, mark, bytes);
      size += bytes;
    } else {
      data[size++] = text.data[i];
    }
  }
  struct text marked = {data, size};
  size_t start = 0;
  int done = SINK_MORE;
  if (argument & METASPACE_SPLIT) {
    for (size_t at = 1; at < size && done == SINK_MORE; at++) {
      if (begins(marked, at, mark, bytes)) {
        done = hand_on(call, marked, start, at, splitter);
        start = at;
      }
    }
  }
  if (done == SINK_MORE) {
    done = hand_on(call, marked, start, size, splitter);
  }
  call->arena->used = used;
  return done;
}

/* The end of the run of code points of a kind that begins at `at`; of no kind for 0. */
static size_t run_end(const struct nasc_tokenizer *to, struct text text, size_t at, uint8_t kind) {
  enum { ALL = CHAR_PATTERN_SPACE | CHAR_LETTER | CHAR_NUMBER };
  while (at < text.size) {
    size_t next;
    uint8_t found = kind_at(to, text, at, &next) & ALL;
    if (kind ? !(found & kind) : found != 0) {
      break;
    }
    at = next;
  }
  return at;
}

/* The end of what GPT-2's pattern matches at `at`:
 * 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t match_end(const struct nasc_tokenizer *to, struct text text, size_t at) {
  static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  if (text.data[at] == '\'') {
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
      if (begins(text, at, (const uint8_t *)endings[i], strlen(endings[i]))) {
        return at + strlen(endings[i]);
      }
    }
  }
  size_t from = at + (text.data[at] == ' ' && at + 1 < text.size);
  static const uint8_t kinds[] = {CHAR_LETTER, CHAR_NUMBER, 0};
  for (size_t i = 0; i < sizeof kinds; i++) {
    size_t end = run_end(to, text, from, kinds[i]);
    if (end > from) {
      return end;
    }
  }
  size_t end = run_end(to, text, at, CHAR_PATTERN_SPACE);
  if (end == at) { /* not for tables that ask Unicode: every character is of some kind */
    kind_at(to, text, at, &end);
    return end;
  }
  size_t last = text_before(text.data, end);
  return end < text.size && last > at ? last : end;
}

static int by_bytes(struct call *call, struct text text, uint32_t argument, size_t splitter) {
  size_t used = call->arena->used;
  if ((argument & BYTE_LEVEL_PREFIX) && text.data[0] != ' ') {
    uint8_t *data = nasc_tokenizer_arena_take(call->arena, text.size + 1);
    if (!data) {
      return NASC_TOKENIZER_SCRATCH;
    }
    data[0] = ' ';
    memcpy(data + 1, text.data, text.size);
    text = (struct text){data, text.size + 1};
  }
  int done = SINK_MORE;
  if (!(argument & BYTE_LEVEL_PATTERN)) {
    done = hand_on(call, text, 0, text.size, splitter);
  } else {
    for (size_t at = 0, end; at < text.size && done == SINK_MORE; at = end) {
      end = match_end(call->tokenizer, text, at);
      done = hand_on(call, text, at, end, splitter);
    }
  }
  call->arena->used = used;
  return done;
}

int nasc_tokenizer_split_words(struct call *call, struct text text, size_t splitter) {
  if (splitter >= call->tokenizer->splitters) {
    return hand_on(call, text, 0, text.size, splitter);
  }
  struct tokenizer_step step = call->tokenizer->splitter[splitter];
  switch (step.kind) {
  case SPLIT_METASPACE:
    return at_marks(call, text, step.argument, splitter + 1);
  case SPLIT_BYTE_LEVEL:
    return by_bytes(call, text, step.argument, splitter + 1);
  default:
    return at_spaces(call, text, splitter + 1, step.kind == SPLIT_BERT);
  }
}
