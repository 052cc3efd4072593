// SPDX-License-Identifier: Apache-2.0
// Splits normalised text into words, as the pre-tokenizers do.

import { CHAR, SPLIT, pointAt, pointBefore, pointEnd } from "./tokenizer_data.js";
import { writePoint } from "./tokenizer_normalise.js";

/** @typedef {import("./tokenizer_data.js").Tables} Tables */
/** @typedef {(word: Uint8Array) => boolean} Put Takes a word; true: no more is wanted. */

const SPACE = 0x20;
const METASPACE = Object.freeze({ POINT: 0x1fffff, PREPEND: 1 << 24, SPLIT: 1 << 25 });
const BYTE_LEVEL = Object.freeze({ PREFIX: 1, PATTERN: 2 });
const ENDINGS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].map((one) =>
  new TextEncoder().encode(one),
);

/**
 * Gives every word of a text to `put`.
 * @param {Tables} to
 * @param {Uint8Array} text
 * @param {number} number of the splitter to begin with
 * @param {Put} put
 * @returns {boolean} whether no more is wanted
 */
export function splitWords(to, text, number, put) {
  if (text.length === 0) {
    return false;
  }
  if (number >= to.splitters.length) {
    return put(text);
  }
  const { kind, argument } = to.splitters[number];
  const rest = (/** @type {Uint8Array} */ word) => splitWords(to, word, number + 1, put);
  switch (kind) {
    case SPLIT.METASPACE:
      return atMarks(text, argument, rest);
    case SPLIT.BYTE_LEVEL:
      return byBytes(to, text, argument, rest);
    default:
      return atSpaces(to, text, kind === SPLIT.BERT, rest);
  }
}

/**
 * @param {Tables} to
 * @param {Uint8Array} text
 * @param {boolean} punctuation whether each is a word of its own
 * @param {Put} put
 */
function atSpaces(to, text, punctuation, put) {
  let start = 0;
  for (let at = 0, next = 0; at < text.length; at = next) {
    next = pointEnd(text, at);
    const kind = to.chars.of(pointAt(text, at));
    const isSpace = (kind & CHAR.SPACE) !== 0;
    if (!isSpace && !(punctuation && kind & CHAR.PUNCTUATION)) {
      continue;
    }
    if (put(text.subarray(start, at)) || (!isSpace && put(text.subarray(at, next)))) {
      return true;
    }
    start = next;
  }
  return put(text.subarray(start));
}

/**
 * @param {Uint8Array} text
 * @param {number} at
 * @param {Uint8Array} part
 */
function begins(text, at, part) {
  return text.length - at >= part.length && part.every((byte, i) => text[at + i] === byte);
}

/**
 * Spaces become a mark; words begin at marks.
 * @param {Uint8Array} text
 * @param {number} argument the mark, and flags above it
 * @param {Put} put
 */
function atMarks(text, argument, put) {
  const room = new Uint8Array(4);
  const mark = room.subarray(0, writePoint(argument & METASPACE.POINT, room, 0));
  const spaces = text.reduce((sum, byte) => sum + (byte === SPACE ? 1 : 0), 0);
  const data = new Uint8Array(text.length + (spaces + 1) * mark.length);
  let size = 0;
  if (argument & METASPACE.PREPEND && text[0] !== SPACE && !begins(text, 0, mark)) {
    data.set(mark, size);
    size += mark.length;
  }
  for (const byte of text) {
    if (byte === SPACE) {
      data.set(mark, size);
      size += mark.length;
    } else {
      data[size++] = byte;
    }
  }
  const marked = data.subarray(0, size);
  let start = 0;
  if (argument & METASPACE.SPLIT) {
    for (let at = 1; at < size; at++) {
      if (marked[at] === mark[0] && begins(marked, at, mark)) {
        if (put(marked.subarray(start, at))) {
          return true;
        }
        start = at;
      }
    }
  }
  return put(marked.subarray(start));
}

/**
 * The end of the run of code points of a kind that begins at a place; of no kind for 0.
 * @param {Tables} to
 * @param {Uint8Array} text
 * @param {number} at
 * @param {number} kind
 */
function runEnd(to, text, at, kind) {
  const all = CHAR.PATTERN_SPACE | CHAR.LETTER | CHAR.NUMBER;
  while (at < text.length) {
    const found = to.chars.of(pointAt(text, at)) & all;
    if (kind ? !(found & kind) : found !== 0) {
      break;
    }
    at = pointEnd(text, at);
  }
  return at;
}

/**
 * The end of what GPT-2's pattern matches at a place:
 * 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * @param {Tables} to
 * @param {Uint8Array} text
 * @param {number} at
 */
function matchEnd(to, text, at) {
  if (text[at] === 0x27) {
    const ending = ENDINGS.find((one) => begins(text, at, one));
    if (ending) {
      return at + ending.length;
    }
  }
  const from = at + (text[at] === SPACE && at + 1 < text.length ? 1 : 0);
  for (const kind of [CHAR.LETTER, CHAR.NUMBER, 0]) {
    const end = runEnd(to, text, from, kind);
    if (end > from) {
      return end;
    }
  }
  const end = runEnd(to, text, at, CHAR.PATTERN_SPACE);
  if (end === at) {
    return pointEnd(text, at); // not for tables that ask Unicode: every character is of some kind
  }
  const last = pointBefore(text, end);
  return end < text.length && last > at ? last : end;
}

/**
 * @param {Tables} to
 * @param {Uint8Array} text
 * @param {number} argument
 * @param {Put} put
 */
function byBytes(to, text, argument, put) {
  if (argument & BYTE_LEVEL.PREFIX && text[0] !== SPACE) {
    const longer = new Uint8Array(text.length + 1);
    longer[0] = SPACE;
    longer.set(text, 1);
    text = longer;
  }
  if (!(argument & BYTE_LEVEL.PATTERN)) {
    return put(text);
  }
  for (let at = 0, end = 0; at < text.length; at = end) {
    end = matchEnd(to, text, at);
    if (put(text.subarray(at, end))) {
      return true;
    }
  }
  return false;
}
