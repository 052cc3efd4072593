// SPDX-License-Identifier: Apache-2.0
// Reads tokenizer.bin: header, checksum, and every offset and count in it. What comes of it is read
// without further checks. The format: docs/tokenizers.md of NASC.

export const NONE = 0xffffffff;
export const MODEL = Object.freeze({ WORDPIECE: 1, UNIGRAM: 2, BPE: 3 });
export const NORMALISE = Object.freeze({
  MAP: 1,
  REORDER: 2,
  COMPOSE: 3,
  PRECOMPILED: 4,
  STRIP: 5,
  SPACES: 6,
});
export const SPLIT = Object.freeze({ BERT: 1, WHITESPACE: 2, METASPACE: 3, BYTE_LEVEL: 4 });
export const CHAR = Object.freeze({
  SPACE: 1,
  PUNCTUATION: 2,
  WORD: 4,
  PATTERN_SPACE: 8,
  LETTER: 16,
  NUMBER: 32,
});
export const ADDED = Object.freeze({ SINGLE_WORD: 1, LEFT: 2, RIGHT: 4 });
export const PIECE = Object.freeze({ TOKEN: 0, TEXT: 1, PAIR: 2 });
export const CUT = Object.freeze({ LONGEST_FIRST: 0, ONLY_FIRST: 1, ONLY_SECOND: 2 });

const HEADER = 24;
const VERSION = 1;
const CONFIG_WORDS = 46;
const MAX_STEPS = 8;
const MAX_MAPS = 4;
const MAX_PIECES = 64;
const MAX_WORD = 1000;
const PAGE = 128;
const PAGES = 0x110000 / PAGE;
const MAGIC = [0x4e, 0x41, 0x53, 0x43, 0x54, 0x4f, 0x4b, 0];
const SECTIONS = [
  "config",
  "map0",
  "map1",
  "map2",
  "map3",
  "classes",
  "chars",
  "breaks",
  "compositions",
  "charsmap",
  "charsmapPool",
  "vocabulary",
  "scores",
  "alphabet",
  "merges",
  "addedRaw",
  "addedNormal",
  "added",
  "single",
  "paired",
];

/** What is wrong with a tokenizer's file, or with a text. */
export class TokenizerError extends Error {
  /**
   * @param {string} code damaged, version, not-text, too-long, no-room or no-pair
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = "TokenizerError";
    this.code = code;
  }
}

/**
 * @param {unknown} holds
 * @param {string} what
 * @returns {asserts holds}
 */
function check(holds, what) {
  if (!holds) {
    throw new TokenizerError("damaged", `tokenizer.bin is damaged: ${what}`);
  }
}

/**
 * The code point that begins at a place of well-formed UTF-8.
 * @param {Uint8Array} text
 * @param {number} at
 */
export function pointAt(text, at) {
  const lead = text[at];
  if (lead < 0x80) {
    return lead;
  }
  if (lead < 0xe0) {
    return ((lead & 0x1f) << 6) | (text[at + 1] & 0x3f);
  }
  if (lead < 0xf0) {
    return ((lead & 0x0f) << 12) | ((text[at + 1] & 0x3f) << 6) | (text[at + 2] & 0x3f);
  }
  return (
    ((lead & 0x07) << 18) |
    ((text[at + 1] & 0x3f) << 12) |
    ((text[at + 2] & 0x3f) << 6) |
    (text[at + 3] & 0x3f)
  );
}

/**
 * Where the code point that begins at a place ends.
 * @param {Uint8Array} text
 * @param {number} at
 */
export function pointEnd(text, at) {
  const lead = text[at];
  return at + (lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);
}

/**
 * Where the code point before a place above 0 begins.
 * @param {Uint8Array} text
 * @param {number} at
 */
export function pointBefore(text, at) {
  let start = at - 1;
  while (start > 0 && (text[start] & 0xc0) === 0x80) {
    start--;
  }
  return start;
}

/** A byte for every code point. */
export class Pages {
  /** @param {Uint8Array} part */
  constructor(part) {
    this.present = part.length > 0;
    if (!this.present) {
      this.index = new Uint16Array(PAGES);
      this.values = new Uint8Array(PAGE);
      return;
    }
    const head = 4 + 2 * PAGES;
    check(part.length >= head, "a table is too short");
    const count = numbers(part, 0, 1)[0];
    check(count <= PAGES && part.length === head + count * PAGE, "a table has another size");
    this.index = readIndex(part.subarray(4, head), count);
    this.values = part.subarray(head);
  }

  /** @param {number} point */
  of(point) {
    return this.values[this.index[point >>> 7] * PAGE + (point & 127)];
  }
}

/** A text for every code point: that itself where the entry is 0. */
export class TextMap {
  /** @param {Uint8Array} part */
  constructor(part) {
    const head = 8 + 2 * PAGES;
    check(part.length >= head, "a map is too short");
    const [count, bytes] = numbers(part, 0, 2);
    const size = count * PAGE;
    check(count <= PAGES && part.length === head + 4 * size + bytes, "a map has another size");
    this.index = readIndex(part.subarray(8, head), count);
    this.entries = numbers(part, head, size);
    this.pool = part.subarray(head + 4 * size);
    const known = new Set();
    for (const entry of this.entries) {
      if (entry !== 0 && !known.has(entry)) {
        known.add(entry);
        const offset = (entry & 0x7fffffff) >>> 6;
        const end = offset + (entry & 63);
        check(entry >>> 31 && end <= this.pool.length, "a map points out of itself");
        check(isText(this.pool.subarray(offset, end)), "a map holds what is no text");
      }
    }
  }

  /** @param {number} point */
  of(point) {
    return this.entries[this.index[point >>> 7] * PAGE + (point & 127)];
  }
}

/** A tree of bytes; its nodes stand by depth, so that every way down ends. */
export class Trie {
  /** @param {Uint8Array} part */
  constructor(part) {
    this.roots = new Uint32Array(256);
    this.nodes = part.length === 0 ? 0 : part.length < 4 ? NONE : numbers(part, 0, 1)[0];
    const nodes = this.nodes;
    if (part.length === 0) {
      this.first = this.value = new Uint32Array(0);
      this.label = part;
      return;
    }
    check(nodes > 0 && part.length === 8 + 9 * nodes, "a tree has another size");
    this.first = numbers(part, 4, nodes + 1);
    this.value = numbers(part, 8 + 4 * nodes, nodes);
    this.label = part.subarray(8 + 8 * nodes);
    let before = 1;
    for (let i = 0; i <= nodes; i++) {
      const first = this.first[i];
      check(first >= before && first <= nodes && (i === nodes || first > i), "a tree is none");
      for (let child = before + 1; child < first; child++) {
        check(this.label[child] > this.label[child - 1], "a tree is out of order");
      }
      before = first;
    }
    check(this.first[0] === 1 && this.first[nodes] === nodes, "a tree has no root");
    for (let child = 1; child < this.first[1]; child++) {
      this.roots[this.label[child]] = child;
    }
  }

  /**
   * The node below a node by a byte; 0 if there is none.
   * @param {number} node
   * @param {number} byte
   */
  child(node, byte) {
    if (node === 0) {
      return this.roots[byte];
    }
    let low = this.first[node];
    let high = this.first[node + 1];
    while (high - low > 8) {
      const middle = (low + high) >>> 1;
      if (this.label[middle] <= byte) {
        low = middle;
      } else {
        high = middle;
      }
    }
    for (; low < high; low++) {
      if (this.label[low] === byte) {
        return low;
      }
    }
    return 0;
  }

  /** @param {number} limit */
  checkValues(limit) {
    check(
      this.value.every((value) => value === NONE || value < limit),
      "a tree points out of its table",
    );
  }
}

/**
 * @typedef {object} Piece
 * @property {number} kind of `PIECE`
 * @property {number} token
 * @property {number} type
 */

/**
 * @typedef {object} Step
 * @property {number} kind
 * @property {number} argument
 */

/**
 * @typedef {ReturnType<typeof readTables>} Tables
 */

/**
 * Reads a whole file.
 * @param {Uint8Array} data
 */
export function readTables(data) {
  const head = HEADER + 8 * SECTIONS.length;
  check(data.length >= HEADER && MAGIC.every((byte, i) => data[i] === byte), "it is another file");
  const [version, size, sum, count] = numbers(data, 8, 4);
  if (version !== VERSION) {
    throw new TokenizerError("version", `tokenizer.bin is of version ${version}, not ${VERSION}`);
  }
  check(data.length >= head && size === data.length && count === SECTIONS.length, "it is cut");
  check(sum === crc32(data.subarray(20)), "its checksum differs");
  /** @type {Record<string, Uint8Array>} */
  const parts = {};
  let end = head;
  const directory = numbers(data, HEADER, 2 * SECTIONS.length);
  SECTIONS.forEach((name, i) => {
    const [offset, length] = [directory[2 * i], directory[2 * i + 1]];
    check(offset === end && length <= data.length - end, "its directory is wrong");
    end += length;
    parts[name] = data.subarray(offset, end);
  });
  check(end === data.length, "there is more than its sections");
  const tables = {
    ...readConfig(parts.config),
    maps: Array.from({ length: MAX_MAPS }, (_, i) =>
      parts[`map${i}`].length ? new TextMap(parts[`map${i}`]) : undefined,
    ),
    classes: new Pages(parts.classes),
    chars: new Pages(parts.chars),
    breaks: new Pages(parts.breaks),
    compositions: readCompositions(parts.compositions),
    charsmap: new Trie(parts.charsmap),
    charsmapPool: parts.charsmapPool,
    vocabulary: new Trie(parts.vocabulary),
    scores: readScores(parts.scores),
    alphabet: numbers(parts.alphabet, 0, parts.alphabet.length >>> 2),
    merges: numbers(parts.merges, 0, parts.merges.length >>> 2),
    addedRaw: new Trie(parts.addedRaw),
    addedNormal: new Trie(parts.addedNormal),
    added: numbers(parts.added, 0, parts.added.length >>> 2),
    single: readTemplate(parts.single, 0),
    paired: readTemplate(parts.paired, 1),
  };
  tables.addedRaw.checkValues(tables.added.length >>> 1);
  tables.addedNormal.checkValues(tables.added.length >>> 1);
  checkCharsmap(tables.charsmap, tables.charsmapPool);
  checkSteps(tables);
  checkModel(tables);
  return tables;
}

/** @param {Uint8Array} part */
function readConfig(part) {
  check(part.length === 4 * CONFIG_WORDS, "its settings have another size");
  const words = numbers(part, 0, CONFIG_WORDS);
  const [model, maxLength, strategy, left, unknown, maxWord, inner, growth, fuse] = words;
  check(model >= MODEL.WORDPIECE && model <= MODEL.BPE, "there is no such model");
  check(strategy <= CUT.ONLY_SECOND, "there is no such strategy");
  check(growth >= 1 && growth <= 64 && maxWord <= MAX_WORD, "a setting is out of its range");
  return {
    model,
    maxLength,
    strategy,
    cutLeft: left !== 0,
    unknown,
    maxWord,
    inner,
    fuseUnknown: fuse !== 0,
    unknownScore: new DataView(part.buffer, part.byteOffset).getFloat64(4 * 43, true),
    normalisers: readSteps(words.subarray(9, 26)),
    splitters: readSteps(words.subarray(26, 43)),
  };
}

/**
 * @param {Uint32Array} words
 * @returns {Step[]}
 */
function readSteps(words) {
  check(words[0] <= MAX_STEPS, "there are too many steps");
  return Array.from({ length: words[0] }, (_, i) => ({
    kind: words[1 + 2 * i],
    argument: words[2 + 2 * i],
  }));
}

/** @param {Uint8Array} part */
function readCompositions(part) {
  check(part.length % 12 === 0, "the compositions have another size");
  const found = new Map();
  const words = numbers(part, 0, part.length >>> 2);
  for (let i = 0; i < words.length; i += 3) {
    check(words[i + 2] <= 0x10ffff, "a composition is no code point");
    found.set(words[i] * 0x200000 + words[i + 1], words[i + 2]);
  }
  return found;
}

/** @param {Uint8Array} part */
function readScores(part) {
  const view = new DataView(part.buffer, part.byteOffset, part.length);
  return Float64Array.from({ length: part.length >>> 3 }, (_, i) => view.getFloat64(8 * i, true));
}

/**
 * @param {Uint8Array} part
 * @param {number} pairs
 * @returns {Piece[]}
 */
function readTemplate(part, pairs) {
  const words = numbers(part, 0, part.length >>> 2);
  check(words.length && part.length % 12 === 0, "a template has another size");
  check(words.length <= 3 * MAX_PIECES, "a template is too long");
  const pieces = Array.from({ length: words.length / 3 }, (_, i) => ({
    kind: words[3 * i],
    token: words[3 * i + 1],
    type: words[3 * i + 2],
  }));
  const count = (/** @type {number} */ kind) => pieces.filter((one) => one.kind === kind).length;
  check(
    pieces.every((one) => one.kind <= PIECE.PAIR) &&
      count(PIECE.TEXT) === 1 &&
      count(PIECE.PAIR) === pairs,
    "a template is none",
  );
  return pieces;
}

/**
 * @param {Trie} tree
 * @param {Uint8Array} pool
 */
function checkCharsmap(tree, pool) {
  tree.checkValues(pool.length);
  for (const at of tree.value) {
    if (at !== NONE) {
      const end = at + 1 + pool[at];
      check(end <= pool.length && isText(pool.subarray(at + 1, end)), "a replacement is no text");
    }
  }
}

/** @param {Tables} to */
function checkSteps(to) {
  for (const { kind, argument } of to.normalisers) {
    check(kind >= NORMALISE.MAP && kind <= NORMALISE.SPACES, "there is no such normaliser");
    check(kind !== NORMALISE.MAP || to.maps[argument], "a map is missing");
    const classes = kind === NORMALISE.REORDER || kind === NORMALISE.COMPOSE;
    check(!classes || to.classes.present, "the classes of marks are missing");
    check(
      kind !== NORMALISE.PRECOMPILED || (to.breaks.present && to.charsmap.nodes),
      "the table of replacements is missing",
    );
  }
  for (const { kind, argument } of to.splitters) {
    check(kind >= SPLIT.BERT && kind <= SPLIT.BYTE_LEVEL, "there is no such splitter");
    check(kind !== SPLIT.METASPACE || (argument & 0x1fffff) <= 0x10ffff, "a mark is no character");
  }
  check(to.splitters.length === 0 || to.chars.present, "the kinds of characters are missing");
}

/** @param {Tables} to */
function checkModel(to) {
  if (to.model === MODEL.BPE) {
    const slots = to.merges.length >>> 2;
    check(to.alphabet.length === 256, "the alphabet has another size");
    check(slots > 0 && (slots & (slots - 1)) === 0, "the merges have another size");
    let free = 0;
    for (let i = 2; i < to.merges.length; i += 4) {
      free += to.merges[i] === NONE ? 1 : 0;
    }
    check(free > 0, "the merges have no free place"); // so that every search ends
    return;
  }
  check(to.vocabulary.nodes > 0, "the vocabulary is missing");
  if (to.model === MODEL.UNIGRAM) {
    to.vocabulary.checkValues(to.scores.length);
  } else {
    check(to.inner === NONE || to.inner < to.vocabulary.nodes, "the inner node is none");
  }
}

/**
 * @param {Uint8Array} part
 * @param {number} count
 */
function readIndex(part, count) {
  const view = new DataView(part.buffer, part.byteOffset, part.length);
  const index = Uint16Array.from({ length: PAGES }, (_, i) => view.getUint16(2 * i, true));
  check(
    index.every((page) => page < count),
    "an index points out of its table",
  );
  return index;
}

/**
 * Little-endian words of 32 bits.
 * @param {Uint8Array} data
 * @param {number} at
 * @param {number} count
 */
function numbers(data, at, count) {
  check(at + 4 * count <= data.length, "it ends too soon");
  const view = new DataView(data.buffer, data.byteOffset + at, 4 * count);
  const found = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    found[i] = view.getUint32(4 * i, true);
  }
  return found;
}

/** @param {Uint8Array} bytes */
function isText(bytes) {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** @param {Uint8Array} data */
function crc32(data) {
  const table = Uint32Array.from({ length: 256 }, (_, i) => {
    let value = i;
    for (let bit = 0; bit < 8; bit++) {
      value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    }
    return value;
  });
  let sum = 0xffffffff;
  for (const byte of data) {
    sum = table[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  }
  return ~sum >>> 0;
}
