/* The tables of a tokenizer's file, read in place. nasc/package/tokenizer_binary.py writes it.
 *
 * All numbers are little endian and may lie at any address. nasc_tokenizer_open has checked every
 * offset and count, so that what is here is read without checks of its own. */
#ifndef NASC_TOKENIZER_DATA_H
#define NASC_TOKENIZER_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_NONE UINT32_MAX /* no such token */

enum {
  TOKENIZER_MAX_STAGES = 8,       /* of normalisers, and of pre-tokenizers */
  TOKENIZER_MAX_MAPS = 4,         /* tables of what becomes of a code point */
  TOKENIZER_MAX_PIECES = 64,      /* of a template */
  TOKENIZER_MAX_WORD = 1000,      /* characters of a word that WordPiece looks at */
  TOKENIZER_MAX_GROWTH = 64,      /* bytes that a byte of text may become */
  TOKENIZER_PAGE = 128,           /* code points of a page of a table */
  TOKENIZER_PAGES = 0x110000 / 128
};

enum tokenizer_model { MODEL_WORDPIECE = 1, MODEL_UNIGRAM = 2, MODEL_BPE = 3 };

enum tokenizer_normaliser {
  NORMALISE_MAP = 1,         /* argument: the map; each code point becomes a text */
  NORMALISE_REORDER = 2,     /* marks into canonical order, by their classes */
  NORMALISE_COMPOSE = 3,     /* canonical composition */
  NORMALISE_PRECOMPILED = 4, /* SentencePiece's table, as tokenizers applies it */
  NORMALISE_STRIP = 5,       /* argument: 1 left, 2 right, 3 both */
  NORMALISE_SPACES = 6       /* two or more spaces become one */
};

enum tokenizer_splitter {
  SPLIT_BERT = 1,       /* at white space, which goes, and around punctuation */
  SPLIT_WHITESPACE = 2, /* at white space, which goes */
  SPLIT_METASPACE = 3,  /* argument: the code point that stands for a space, and flags above it */
  SPLIT_BYTE_LEVEL = 4  /* argument: 1 a space is put before, 2 split by GPT-2's pattern */
};

enum { METASPACE_POINT = 0x1FFFFF, METASPACE_PREPEND = 1 << 24, METASPACE_SPLIT = 1 << 25 };
enum { BYTE_LEVEL_PREFIX = 1, BYTE_LEVEL_PATTERN = 2 };

/* What a code point is: bits of the table of characters. */
enum {
  CHAR_SPACE = 1,       /* white space, of Rust's char::is_whitespace */
  CHAR_PUNCTUATION = 2, /* of BertPreTokenizer */
  CHAR_WORD = 4,        /* \w of the regular expressions that find added tokens */
  CHAR_PATTERN_SPACE = 8,
  CHAR_LETTER = 16,
  CHAR_NUMBER = 32 /* \s, \p{L}, \p{N} of ByteLevel's pattern */
};

/* Grapheme_Cluster_Break of Unicode's annex 29 in the low bits, and two more properties. */
enum {
  BREAK_OTHER,
  BREAK_CR,
  BREAK_LF,
  BREAK_CONTROL,
  BREAK_EXTEND,
  BREAK_ZWJ,
  BREAK_REGIONAL,
  BREAK_PREPEND,
  BREAK_SPACING,
  BREAK_L,
  BREAK_V,
  BREAK_T,
  BREAK_LV,
  BREAK_LVT,
  BREAK_MASK = 15,
  BREAK_PICTOGRAPH = 16,
  BREAK_CONSONANT = 32, /* Indic_Conjunct_Break */
  BREAK_LINKER = 64,
  BREAK_CONJOINING = 128 /* Indic_Conjunct_Break=Extend */
};

/* Bits of an added token. */
enum { ADDED_SINGLE_WORD = 1, ADDED_LEFT = 2, ADDED_RIGHT = 4 };

enum tokenizer_piece { PIECE_TOKEN = 0, PIECE_TEXT = 1, PIECE_PAIR = 2 };
enum tokenizer_strategy { CUT_LONGEST_FIRST = 0, CUT_ONLY_FIRST = 1, CUT_ONLY_SECOND = 2 };

/* A byte for every code point. */
struct tokenizer_pages {
  const uint8_t *index;  /* uint16 for each page of code points: which page of values */
  const uint8_t *values; /* NULL: the table is not there, every value is 0 */
};

/* A text for every code point. */
struct tokenizer_map {
  const uint8_t *index;
  const uint8_t *entries; /* uint32: 0 is the code point itself, else 1 << 31 | offset << 6 | bytes */
  const uint8_t *pool;
};

/* A tree of bytes; nodes in the order of their depth, so that children follow each other. */
struct tokenizer_trie {
  const uint8_t *first; /* uint32[nodes + 1]: first child of a node; it has first[i + 1] - first[i] */
  const uint8_t *value; /* uint32[nodes]: what ends at a node, or TOKENIZER_NONE */
  const uint8_t *label; /* byte[nodes]: on the way to a node; siblings in order */
  uint32_t nodes;
  uint32_t roots[256]; /* child of the root by byte; 0: there is none */
};

struct tokenizer_template {
  uint32_t count;
  uint32_t tokens; /* pieces that are tokens */
  const uint8_t *pieces; /* uint32[3] each: kind, token, type */
};

struct tokenizer_step {
  uint32_t kind;
  uint32_t argument;
};

struct nasc_tokenizer {
  enum tokenizer_model model;
  uint32_t max_length; /* 0: no text is cut */
  uint32_t strategy;
  bool cut_left;
  uint32_t unknown; /* token of what the vocabulary lacks; TOKENIZER_NONE: such bytes are left out */
  uint32_t max_word;
  uint32_t inner;  /* node of the vocabulary below which pieces within a word stand */
  uint32_t growth; /* bytes that a byte of text becomes at most while it is normalised */
  bool fuse_unknown;
  double unknown_score;

  uint32_t normalisers, splitters;
  struct tokenizer_step normaliser[TOKENIZER_MAX_STAGES], splitter[TOKENIZER_MAX_STAGES];
  struct tokenizer_map map[TOKENIZER_MAX_MAPS];
  struct tokenizer_pages classes, chars, breaks;
  const uint8_t *compositions; /* uint32[3] each, sorted: first, second, composed */
  uint32_t composition_count;
  struct tokenizer_trie charsmap;
  const uint8_t *charsmap_pool; /* one byte of length, then the text, at the values of the trie */

  struct tokenizer_trie vocabulary;
  const uint8_t *scores;   /* float64 by token, of Unigram */
  const uint8_t *alphabet; /* uint32[256]: token of a byte, of BPE */
  const uint8_t *merges;   /* uint32[4] each, a hash table: left, right, rank, token */
  uint32_t merge_mask;

  struct tokenizer_trie added_raw, added_normal;
  const uint8_t *added; /* uint32[2] each: token, bits */
  struct tokenizer_template single, paired;
};

static inline uint32_t tokenizer_u16(const uint8_t *at, size_t i) {
  return (uint32_t)at[2 * i] | (uint32_t)at[2 * i + 1] << 8;
}

static inline uint32_t tokenizer_u32(const uint8_t *at, size_t i) {
  const uint8_t *b = at + 4 * i;
  return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint8_t tokenizer_page(const struct tokenizer_pages *pages, uint32_t point) {
  if (!pages->values) {
    return 0;
  }
  uint32_t page = tokenizer_u16(pages->index, point / TOKENIZER_PAGE);
  return pages->values[page * TOKENIZER_PAGE + point % TOKENIZER_PAGE];
}

/* The node below `node` by a byte; 0 if there is none. */
static inline uint32_t tokenizer_child(const struct tokenizer_trie *trie, uint32_t node,
                                       uint8_t byte) {
  if (node == 0) {
    return trie->roots[byte];
  }
  uint32_t low = tokenizer_u32(trie->first, node);
  uint32_t high = tokenizer_u32(trie->first, (size_t)node + 1);
  while (high - low > 8) {
    uint32_t middle = low + (high - low) / 2;
    if (trie->label[middle] <= byte) {
      low = middle;
    } else {
      high = middle;
    }
  }
  for (; low < high; low++) {
    if (trie->label[low] == byte) {
      return low;
    }
  }
  return 0;
}

#endif
