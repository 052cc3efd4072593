/* The steps of a call: normalise, split into words, words into tokens. */
#ifndef NASC_TOKENIZER_STEPS_H
#define NASC_TOKENIZER_STEPS_H

#include "tokenizer.h"
#include "tokenizer_text.h"

struct text {
  const uint8_t *data;
  size_t size;
};

/* One call of nasc_tokenizer_encode, on one of its texts. */
struct call {
  const struct nasc_tokenizer *tokenizer;
  struct arena *arena;
  struct sink *sink;
};

/* Each returns SINK_MORE, SINK_ENOUGH or an error of nasc_tokenizer_error. */

/* Normalises a text that is not empty. The result lies in the arena, or is the text itself. */
int nasc_tokenizer_normalise(struct call *call, struct text text, struct text *result);

/* Splits a normalised text into words, from a splitter on, and puts the tokens of each. */
int nasc_tokenizer_split_words(struct call *call, struct text text, size_t splitter);

/* Puts the tokens of a word that is not empty. */
int nasc_tokenizer_put_word(struct call *call, struct text word);

#endif
