// SPDX-License-Identifier: Apache-2.0
// The three models: words into tokens.

import { MODEL, NONE, TokenizerError, pointEnd } from "./tokenizer_data.js";

/** @typedef {import("./tokenizer_data.js").Tables} Tables */
/** @typedef {(token: number) => boolean} PutToken Takes a token; true: no more is wanted. */

const MAX_PIECES = 1000;

/**
 * Gives the tokens of a word that is not empty to `put`.
 * @param {Tables} to
 * @param {Uint8Array} word
 * @param {PutToken} put
 * @returns {boolean} whether no more is wanted
 */
export function putWord(to, word, put) {
  switch (to.model) {
    case MODEL.WORDPIECE:
      return wordPieces(to, word).some(put);
    case MODEL.UNIGRAM:
      return bestPieces(to, word, put);
    default:
      return mergedBytes(to, word, put);
  }
}

/**
 * The longest piece first, then the longest that may follow; one unknown token for a word that
 * cannot be had so, or is too long.
 * @param {Tables} to
 * @param {Uint8Array} word
 */
function wordPieces(to, word) {
  const { vocabulary: words, inner } = to;
  const points = word.reduce((sum, byte) => sum + ((byte & 0xc0) !== 0x80 ? 1 : 0), 0);
  if (points > to.maxWord) {
    return [to.unknown];
  }
  /** @type {number[]} */
  const found = [];
  for (let at = 0; at < word.length; ) {
    let token = NONE;
    if (found.length < MAX_PIECES && (at === 0 || inner !== NONE)) {
      let node = at === 0 ? 0 : inner;
      for (let i = at; i < word.length; i++) {
        node = words.child(node, word[i]);
        if (node === 0) {
          break;
        }
        if (words.value[node] !== NONE) {
          token = words.value[node];
          at = i + 1;
        }
      }
    }
    if (token === NONE) {
      return [to.unknown];
    }
    found.push(token);
  }
  return found;
}

/**
 * The token of a run of unknown pieces, which may have an entry of its own.
 * @param {Tables} to
 * @param {Uint8Array} run
 */
function tokenOfRun(to, run) {
  let node = 0;
  for (const byte of run) {
    node = to.vocabulary.child(node, byte);
    if (node === 0) {
      return to.unknown;
    }
  }
  const token = to.vocabulary.value[node];
  return token === NONE ? to.unknown : token;
}

/**
 * The way of the highest sum of scores (Viterbi), unknown characters that follow each other as one.
 * @param {Tables} to
 * @param {Uint8Array} word
 * @param {PutToken} put
 */
function bestPieces(to, word, put) {
  const { vocabulary: words, scores } = to;
  const size = word.length;
  const best = new Float64Array(size + 1);
  const starts = new Uint32Array(size + 1).fill(NONE); // of the last piece on the way
  const tokens = new Uint32Array(size + 1).fill(to.unknown);
  const offer = (
    /** @type {number} */ end,
    /** @type {number} */ score,
    /** @type {number} */ start,
    /** @type {number} */ token,
  ) => {
    if (starts[end] === NONE || score > best[end]) {
      best[end] = score;
      starts[end] = start;
      tokens[end] = token;
    }
  };
  for (let at = 0, single = 0; at < size; at = single) {
    single = Math.min(pointEnd(word, at), size);
    const here = best[at];
    let hasSingle = false;
    let node = 0;
    for (let end = at; end < size; ) {
      node = words.child(node, word[end++]);
      if (node === 0) {
        break;
      }
      const token = words.value[node];
      if (token !== NONE) {
        offer(end, scores[token] + here, at, token);
        hasSingle ||= end === single;
      }
    }
    if (!hasSingle) {
      offer(single, to.unknownScore + here, at, to.unknown);
    }
  }
  const ends = [];
  for (let end = size; end > 0; end = starts[end]) {
    if (starts[end] >= end) {
      throw new TokenizerError("damaged", "tokenizer.bin is damaged: it breaks characters apart");
    }
    ends.push(end);
  }
  ends.reverse();
  for (let i = 0, start = 0; i < ends.length; i++) {
    let token = tokens[ends[i]];
    if (token === to.unknown) {
      while (i + 1 < ends.length && tokens[ends[i + 1]] === to.unknown) {
        i++;
      }
      token = tokenOfRun(to, word.subarray(start, ends[i]));
    }
    if (put(token)) {
      return true;
    }
    start = ends[i];
  }
  return false;
}

/** The symbols of a word while pairs of them are merged, the lowest rank first, then the leftmost. */
class Merging {
  /**
   * @param {Tables} to
   * @param {number} size
   */
  constructor(to, size) {
    this.to = to;
    this.count = 0; // of symbols
    this.waiting = 0; // of them, in the heap
    this.token = new Uint32Array(size);
    this.previous = new Uint32Array(size);
    this.next = new Uint32Array(size);
    this.rank = new Uint32Array(size).fill(NONE); // of the merge with the next one
    this.merged = new Uint32Array(size); // what that gives
    this.place = new Uint32Array(size); // in the heap
    this.heap = new Uint32Array(size);
  }

  /** @param {number} token */
  add(token) {
    const i = this.count++;
    this.token[i] = token;
    this.previous[i] = i - 1; // NONE of the first
    this.next[i] = i + 1;
  }

  run() {
    if (this.count === 0) {
      return;
    }
    this.next[this.count - 1] = NONE;
    for (let i = 0; i < this.count; i++) {
      this.rate(i);
    }
    while (this.waiting > 0) {
      const left = this.heap[0];
      const right = this.next[left];
      this.token[left] = this.merged[left];
      this.next[left] = this.next[right];
      if (this.rank[right] !== NONE) {
        this.leave(right);
      }
      if (this.next[left] !== NONE) {
        this.previous[this.next[left]] = left;
      }
      this.rate(left);
      if (this.previous[left] !== NONE) {
        this.rate(this.previous[left]);
      }
    }
  }

  /**
   * Sets what a symbol and its next one merge to, and its place in the heap.
   * @param {number} i
   */
  rate(i) {
    const { merges } = this.to;
    let rank = NONE;
    if (this.next[i] !== NONE) {
      const left = this.token[i];
      const right = this.token[this.next[i]];
      const mask = (merges.length >>> 2) - 1;
      let slot = ((Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) >>> 7) & mask;
      for (; ; slot = (slot + 1) & mask) {
        rank = merges[4 * slot + 2];
        if (rank === NONE || (merges[4 * slot] === left && merges[4 * slot + 1] === right)) {
          this.merged[i] = merges[4 * slot + 3];
          break;
        }
      }
    }
    const was = this.rank[i] !== NONE;
    this.rank[i] = rank;
    if (rank === NONE) {
      if (was) {
        this.leave(i);
      }
      return;
    }
    if (!was) {
      this.put(this.waiting++, i);
    }
    this.settle(this.place[i]);
  }

  /**
   * @param {number} a
   * @param {number} b
   */
  before(a, b) {
    return this.rank[a] !== this.rank[b] ? this.rank[a] < this.rank[b] : a < b;
  }

  /**
   * @param {number} at
   * @param {number} i
   */
  put(at, i) {
    this.heap[at] = i;
    this.place[i] = at;
  }

  /**
   * Moves what stands at a place of the heap to where it belongs.
   * @param {number} at
   */
  settle(at) {
    const i = this.heap[at];
    for (let up = (at - 1) >> 1; at > 0 && this.before(i, this.heap[up]); up = (at - 1) >> 1) {
      this.put(at, this.heap[up]);
      at = up;
    }
    for (let child = 2 * at + 1; child < this.waiting; child = 2 * at + 1) {
      if (child + 1 < this.waiting && this.before(this.heap[child + 1], this.heap[child])) {
        child++;
      }
      if (!this.before(this.heap[child], i)) {
        break;
      }
      this.put(at, this.heap[child]);
      at = child;
    }
    this.put(at, i);
  }

  /** @param {number} i */
  leave(i) {
    const at = this.place[i];
    const last = this.heap[--this.waiting];
    if (last !== i) {
      this.put(at, last);
      this.settle(at);
    }
  }
}

/**
 * The tokens of the bytes, then the merge of the lowest rank as long as there is one.
 * @param {Tables} to
 * @param {Uint8Array} word
 * @param {PutToken} put
 */
function mergedBytes(to, word, put) {
  const merging = new Merging(to, word.length);
  let wasUnknown = false;
  for (const byte of word) {
    const known = to.alphabet[byte];
    const token = known === NONE ? to.unknown : known;
    const isUnknown = known === NONE;
    if (token === NONE || (isUnknown && wasUnknown && to.fuseUnknown)) {
      continue; // left out, or one with the unknown byte before
    }
    wasUnknown = isUnknown;
    merging.add(token);
  }
  merging.run();
  for (let i = merging.count > 0 ? 0 : NONE; i !== NONE; i = merging.next[i]) {
    if (put(merging.token[i])) {
      return true;
    }
  }
  return false;
}
