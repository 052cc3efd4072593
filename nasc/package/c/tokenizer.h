/* Texts into the tokens of Hugging Face's tokenizers, in portable C11.
 *
 *   struct nasc_tokenizer tokenizer;
 *   nasc_tokenizer_open(&tokenizer, data, size);           the bytes of tokenizer.bin, kept by you
 *   void *scratch = malloc(nasc_tokenizer_scratch(&tokenizer, bytes, 0));
 *   int64_t ids[512], types[512];
 *   int64_t length = nasc_tokenizer_encode(&tokenizer, text, bytes, NULL, 0, 0, ids, types, 512,
 *                                          scratch, scratch_size);
 *
 * Nothing is allocated, no locale is read, nothing is written but what the caller gives: one opened
 * tokenizer serves any number of threads, each with a scratch of its own. docs/tokenizers.md has the
 * contract and the format of the file. */
#ifndef NASC_TOKENIZER_H
#define NASC_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "tokenizer_data.h"

#ifdef __cplusplus
extern "C" {
#endif

enum nasc_tokenizer_error {
  NASC_TOKENIZER_DAMAGED = -1,  /* the file is cut, altered or contradicts itself */
  NASC_TOKENIZER_VERSION = -2,  /* the file is of another version of this format */
  NASC_TOKENIZER_ARGUMENT = -3, /* a pointer is NULL, or a length beyond its limit */
  NASC_TOKENIZER_NOT_UTF8 = -4, /* the text is no UTF-8; surrogates are none */
  NASC_TOKENIZER_SCRATCH = -5,  /* the scratch is smaller than nasc_tokenizer_scratch says */
  NASC_TOKENIZER_CAPACITY = -6, /* more tokens than the arrays hold */
  NASC_TOKENIZER_NO_ROOM = -7,  /* max_length is below what the special tokens alone take, or the
                                   one text that may be cut is too short to be cut so far */
  NASC_TOKENIZER_NO_PAIR = -8   /* the second text is to be cut, and there is none */
};

enum { NASC_TOKENIZER_MAX_BYTES = 1 << 28 }; /* of a text */

/* Reads and checks a whole file. `data` must stay as it is while the tokenizer is used; it may lie
 * at any address. Returns 0 or an error. */
int nasc_tokenizer_open(struct nasc_tokenizer *tokenizer, const void *data, size_t size);

/* Bytes of scratch that suffice for texts of so many bytes; SIZE_MAX if that is beyond size_t. */
size_t nasc_tokenizer_scratch(const struct nasc_tokenizer *tokenizer, size_t bytes,
                              size_t pair_bytes);

/* Writes the tokens of a text, or of a pair of texts, with the special tokens around them.
 *
 * pair        NULL for a text alone.
 * max_length  Tokens that the result is cut to, special tokens counted; 0 takes the file's own
 *             (of which 0 cuts nothing).
 * ids, types  Arrays of `capacity`; types may be NULL for a text alone. What lies behind the result
 *             may be overwritten. No padding is written: the mask is 1 over the result.
 *
 * Returns the number of tokens, or an error. */
int64_t nasc_tokenizer_encode(const struct nasc_tokenizer *tokenizer, const char *text,
                              size_t bytes, const char *pair, size_t pair_bytes, size_t max_length,
                              int64_t *ids, int64_t *types, size_t capacity, void *scratch,
                              size_t scratch_bytes);

/* What an error means, in a few English words. */
const char *nasc_tokenizer_problem(int64_t error);

#ifdef __cplusplus
}
#endif

#endif
