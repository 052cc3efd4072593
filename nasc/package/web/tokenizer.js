// SPDX-License-Identifier: Apache-2.0
// Texts into the tokens of Hugging Face's tokenizers, by the tables of tokenizer.bin. No Unicode of
// the browser's is asked: the same text gives the same tokens everywhere.

import {
  ADDED,
  CHAR,
  CUT,
  NONE,
  PIECE,
  TokenizerError,
  pointAt,
  pointBefore,
  pointEnd,
  readTables,
} from "./tokenizer_data.js";
import { normalise } from "./tokenizer_normalise.js";
import { splitWords } from "./tokenizer_split.js";
import { putWord } from "./tokenizer_words.js";

export { TokenizerError };

/** @typedef {import("./tokenizer_data.js").Tables} Tables */
/** @typedef {import("./tokenizer_words.js").PutToken} PutToken */

const MAX_BYTES = 1 << 28;

/** A tokenizer. */
export class Tokenizer {
  /** @type {Tables} */
  #tables;

  /**
   * @param {Uint8Array} data the bytes of tokenizer.bin, which must stay as they are
   * @throws {TokenizerError} if they are none
   */
  constructor(data) {
    this.#tables = readTables(data);
  }

  /** Tokens that a text is cut to; 0: to none. */
  get maxLength() {
    return this.#tables.maxLength;
  }

  /**
   * The tokens of a text, or of a pair of texts, with the special tokens around them.
   * @param {string} text
   * @param {string} [pair]
   * @param {number} [maxLength] tokens of the result, special ones counted; else the file's own
   * @returns {{ ids: number[], typeIds: number[] }}
   * @throws {TokenizerError} if a text has lone surrogates, or cannot be cut so far
   */
  encode(text, pair, maxLength) {
    const to = this.#tables;
    const template = pair === undefined ? to.single : to.paired;
    const special = template.filter((piece) => piece.kind === PIECE.TOKEN).length;
    const longest = maxLength || to.maxLength;
    if (longest && longest < special) {
      throw noRoom();
    }
    const room = longest ? longest - special : Infinity;
    const enough = pair === undefined && !to.cutLeft ? room + 1 : Infinity;
    const texts = [text, ...(pair === undefined ? [] : [pair])].map((one) =>
      tokensOf(to, bytesOf(one), enough),
    );
    const sizes = [texts[0].length, texts[1]?.length ?? 0];
    cut(to.strategy, pair !== undefined, room, sizes);
    const kept = texts.map((ids, i) =>
      to.cutLeft ? ids.slice(ids.length - sizes[i]) : ids.slice(0, sizes[i]),
    );
    /** @type {number[]} */
    const ids = [];
    /** @type {number[]} */
    const typeIds = [];
    for (const { kind, token, type } of template) {
      for (const id of kind === PIECE.TOKEN ? [token] : kept[kind === PIECE.PAIR ? 1 : 0]) {
        ids.push(id);
        typeIds.push(type);
      }
    }
    return { ids, typeIds };
  }
}

function noRoom() {
  return new TokenizerError("no-room", "the maximum length leaves no room for the text");
}

/** @param {string} text */
function bytesOf(text) {
  if (typeof text !== "string") {
    throw new TokenizerError("not-text", `a text is a string, not ${typeof text}`);
  }
  if (/\p{Surrogate}/u.test(text)) {
    throw new TokenizerError("not-text", "the text has a lone surrogate, which is no character");
  }
  if (text.length > MAX_BYTES) {
    throw new TokenizerError("too-long", `a text has at most ${MAX_BYTES} bytes`);
  }
  return new TextEncoder().encode(text);
}

/**
 * The tokens of a text, without those around it; not many more than are enough.
 * @param {Tables} to
 * @param {Uint8Array} text
 * @param {number} enough
 */
function tokensOf(to, text, enough) {
  /** @type {number[]} */
  const ids = [];
  const put = (/** @type {number} */ token) => ids.push(token) >= enough;
  const putPart = (/** @type {Uint8Array} */ part) =>
    splitWords(to, part, 0, (word) => putWord(to, word, put));
  withAdded(to, to.addedRaw, text, put, (part) =>
    withAdded(to, to.addedNormal, normalise(to, part), put, putPart),
  );
  return ids;
}

/**
 * The added token that begins at a place, the longest: its index and end.
 * @param {Tables["addedRaw"]} tree
 * @param {Uint8Array} text
 * @param {number} at
 */
function addedAt(tree, text, at) {
  let node = 0;
  let index = NONE;
  let end = at;
  while (at < text.length) {
    node = tree.child(node, text[at++]);
    if (node === 0) {
      break;
    }
    if (tree.value[node] !== NONE) {
      index = tree.value[node];
      end = at;
    }
  }
  return { index, end };
}

/**
 * Puts the added tokens of a text, and does `rest` with each part between them.
 * @param {Tables} to
 * @param {Tables["addedRaw"]} tree
 * @param {Uint8Array} text
 * @param {PutToken} put
 * @param {(part: Uint8Array) => boolean} rest
 * @returns {boolean} whether no more is wanted
 */
function withAdded(to, tree, text, put, rest) {
  const kindAt = (/** @type {number} */ at) => to.chars.of(pointAt(text, at));
  let done = 0; // of the text
  for (let at = 0; at < text.length && tree.nodes > 1; ) {
    if (!tree.roots[text[at]]) {
      at++;
      continue;
    }
    let start = at;
    const { index, end: stop } = addedAt(tree, text, at);
    if (index === NONE) {
      at++;
      continue;
    }
    let end = stop;
    at = end;
    const bits = to.added[2 * index + 1];
    if (
      bits & ADDED.SINGLE_WORD &&
      ((start > 0 && kindAt(pointBefore(text, start)) & CHAR.WORD) ||
        (end < text.length && kindAt(end) & CHAR.WORD))
    ) {
      continue;
    }
    if (bits & ADDED.LEFT) {
      while (start > done && kindAt(pointBefore(text, start)) & CHAR.SPACE) {
        start = pointBefore(text, start);
      }
      start = Math.max(start, done);
    }
    if (bits & ADDED.RIGHT) {
      while (end < text.length && kindAt(end) & CHAR.SPACE) {
        end = pointEnd(text, end);
      }
    }
    if ((done < start && rest(text.subarray(done, start))) || put(to.added[2 * index])) {
      return true;
    }
    done = end;
  }
  return done < text.length && rest(text.subarray(done));
}

/**
 * Sets how much of two texts is kept, as tokenizers' truncate_encodings has it.
 * @param {number} strategy
 * @param {boolean} paired
 * @param {number} room
 * @param {number[]} sizes of both; changed
 */
function cut(strategy, paired, room, sizes) {
  const total = sizes[0] + sizes[1];
  if (total <= room) {
    return;
  }
  if (room === 0) {
    sizes.fill(0);
  } else if (strategy === CUT.LONGEST_FIRST && !paired) {
    sizes[0] = room;
  } else if (strategy === CUT.LONGEST_FIRST) {
    const shorter = sizes[0] > sizes[1] ? 1 : 0;
    let less = sizes[shorter];
    let more = less > room ? less : Math.max(less, room - less);
    if (less + more > room) {
      less = Math.floor(room / 2);
      more = less + (room % 2);
    }
    sizes[shorter] = less;
    sizes[1 - shorter] = more;
  } else {
    const which = strategy === CUT.ONLY_SECOND ? 1 : 0;
    if (which === 1 && !paired) {
      throw new TokenizerError("no-pair", "the second text is to be cut, and there is none");
    }
    if (sizes[which] <= total - room) {
      throw noRoom();
    }
    sizes[which] -= total - room;
  }
}
