// SPDX-License-Identifier: Apache-2.0
// What normalisers do to a text, by tables that were asked of Hugging Face's tokenizers.

import { CHAR, NONE, NORMALISE, pointAt, pointBefore, pointEnd } from "./tokenizer_data.js";

/** @typedef {import("./tokenizer_data.js").Tables} Tables */

/** Grapheme_Cluster_Break of Unicode's annex 29 in the low bits, and more properties. */
const BREAK = Object.freeze({
  CR: 1,
  LF: 2,
  CONTROL: 3,
  EXTEND: 4,
  ZWJ: 5,
  REGIONAL: 6,
  PREPEND: 7,
  SPACING: 8,
  L: 9,
  V: 10,
  T: 11,
  LV: 12,
  LVT: 13,
  MASK: 15,
  PICTOGRAPH: 16,
  CONSONANT: 32,
  LINKER: 64,
  CONJOINING: 128,
});

/** Bytes that grow. */
class Output {
  /** @param {number} capacity */
  constructor(capacity) {
    this.data = new Uint8Array(capacity + 16);
    this.size = 0;
  }

  /** @param {number} more */
  room(more) {
    if (this.size + more > this.data.length) {
      const grown = new Uint8Array(2 * (this.size + more));
      grown.set(this.data.subarray(0, this.size));
      this.data = grown;
    }
  }

  /**
   * @param {Uint8Array} from
   * @param {number} start
   * @param {number} end
   */
  put(from, start, end) {
    this.room(end - start);
    for (let i = start; i < end; i++) {
      this.data[this.size++] = from[i];
    }
  }

  /** @param {number} point */
  putPoint(point) {
    this.room(4);
    this.size += writePoint(point, this.data, this.size);
  }

  get bytes() {
    return this.data.subarray(0, this.size);
  }
}

/**
 * Writes a code point; returns its bytes.
 * @param {number} point
 * @param {Uint8Array} out
 * @param {number} at
 */
export function writePoint(point, out, at) {
  if (point < 0x80) {
    out[at] = point;
    return 1;
  }
  const more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  out[at] = [0, 0xc0, 0xe0, 0xf0][more] | (point >>> (6 * more));
  for (let i = 1; i <= more; i++) {
    out[at + i] = 0x80 | ((point >>> (6 * (more - i))) & 0x3f);
  }
  return more + 1;
}

/**
 * A text as all normalisers leave it.
 * @param {Tables} to
 * @param {Uint8Array} text
 */
export function normalise(to, text) {
  for (const { kind, argument } of to.normalisers) {
    switch (kind) {
      case NORMALISE.MAP:
        text = mapPoints(/** @type {NonNullable<Tables["maps"][0]>} */ (to.maps[argument]), text);
        break;
      case NORMALISE.REORDER:
        text = reorder(to, text);
        break;
      case NORMALISE.COMPOSE:
        text = compose(to, text);
        break;
      case NORMALISE.PRECOMPILED:
        text = precompiled(to, text);
        break;
      case NORMALISE.STRIP:
        text = strip(to, text, argument);
        break;
      default:
        text = joinSpaces(text);
    }
  }
  return text;
}

/**
 * @param {NonNullable<Tables["maps"][0]>} map
 * @param {Uint8Array} text
 */
function mapPoints(map, text) {
  const out = new Output(text.length);
  for (let at = 0, end = 0; at < text.length; at = end) {
    end = pointEnd(text, at);
    const entry = map.of(pointAt(text, at));
    if (entry === 0) {
      out.put(text, at, end);
    } else {
      const offset = (entry & 0x7fffffff) >>> 6;
      out.put(map.pool, offset, offset + (entry & 63));
    }
  }
  return out.bytes;
}

/**
 * Marks that follow each other into the order of their classes, those of one class as they were.
 * @param {Tables} to
 * @param {Uint8Array} text
 */
function reorder(to, text) {
  /** @type {Uint8Array | undefined} */
  let changed;
  for (let at = 0; at < text.length; ) {
    if (text[at] < 0x80) {
      at++;
      continue;
    }
    const start = at;
    /** @type {Uint8Array[][]} by class */
    const marks = [];
    let last = 0;
    let sorted = true;
    while (at < text.length) {
      const end = pointEnd(text, at);
      const kind = to.classes.of(pointAt(text, at));
      if (kind === 0) {
        break;
      }
      sorted &&= kind >= last;
      last = kind;
      (marks[kind] ??= []).push(text.subarray(at, end));
      at = end;
    }
    if (!sorted) {
      changed ??= text.slice();
      let place = start;
      for (const mark of marks.flat()) {
        changed.set(mark, place);
        place += mark.length;
      }
    }
    if (at < text.length) {
      at = pointEnd(text, at);
    }
  }
  return changed ?? text;
}

/**
 * The composition of two code points by Unicode's chapter 3.11 and 3.12 (Hangul); 0: none.
 * @param {Tables} to
 * @param {number} first
 * @param {number} second
 */
function composed(to, first, second) {
  if (first >= 0x1100 && first < 0x1113 && second >= 0x1161 && second < 0x1176) {
    return 0xac00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28;
  }
  const syllable = first - 0xac00;
  if (syllable >= 0 && syllable < 11172 && syllable % 28 === 0) {
    if (second >= 0x11a8 && second < 0x11c3) {
      return first + (second - 0x11a7);
    }
  }
  return to.compositions.get(first * 0x200000 + second) ?? 0;
}

/**
 * Composes a text in canonical order.
 * @param {Tables} to
 * @param {Uint8Array} text
 */
function compose(to, text) {
  const out = new Output(text.length);
  let starter = -1; // held back until nothing more can join it
  let last = 0; // class of the mark before that did not join; 0: there is none
  /** @type {number[]} marks and others that did not join */
  let behind = [];
  const release = () => {
    if (starter >= 0) {
      out.putPoint(starter);
    }
    for (const point of behind) {
      out.putPoint(point);
    }
    behind = [];
  };
  for (let at = 0; at < text.length; at = pointEnd(text, at)) {
    const point = pointAt(text, at);
    const kind = to.classes.of(point);
    const free = starter >= 0 && (last === 0 ? behind.length === 0 : last < kind);
    const joined = free ? composed(to, starter, point) : 0;
    if (joined) {
      starter = joined;
    } else if (kind === 0) {
      release();
      starter = point;
      last = 0;
    } else {
      last = kind;
      behind.push(point);
    }
  }
  release();
  return out.bytes;
}

/**
 * The end of the grapheme cluster at a place: extended ones of annex 29, GB3 to GB13.
 * @param {Tables} to
 * @param {Uint8Array} text
 * @param {number} at
 */
function clusterEnd(to, text, at) {
  let left = to.breaks.of(pointAt(text, at));
  at = pointEnd(text, at);
  let pictograph = (left & BREAK.PICTOGRAPH) !== 0;
  let consonant = (left & BREAK.CONSONANT) !== 0;
  let linked = false;
  let regional = (left & BREAK.MASK) === BREAK.REGIONAL ? 1 : 0;
  while (at < text.length) {
    const next = pointEnd(text, at);
    const right = to.breaks.of(pointAt(text, at));
    const a = left & BREAK.MASK;
    const b = right & BREAK.MASK;
    if (isControl(a) || isControl(b)) {
      return a === BREAK.CR && b === BREAK.LF ? next : at;
    }
    const joined =
      b === BREAK.EXTEND ||
      b === BREAK.ZWJ ||
      b === BREAK.SPACING ||
      a === BREAK.PREPEND ||
      (a === BREAK.L && (b === BREAK.L || b === BREAK.V || b === BREAK.LV || b === BREAK.LVT)) ||
      ((a === BREAK.LV || a === BREAK.V) && (b === BREAK.V || b === BREAK.T)) ||
      ((a === BREAK.LVT || a === BREAK.T) && b === BREAK.T) ||
      (consonant && linked && (right & BREAK.CONSONANT) !== 0) ||
      (pictograph && a === BREAK.ZWJ && (right & BREAK.PICTOGRAPH) !== 0) ||
      (a === BREAK.REGIONAL && b === BREAK.REGIONAL && regional % 2 === 1);
    if (!joined) {
      return at;
    }
    if (right & BREAK.PICTOGRAPH) {
      pictograph = true;
    } else if (a === BREAK.ZWJ || (b !== BREAK.EXTEND && b !== BREAK.ZWJ)) {
      pictograph = false;
    }
    if (right & BREAK.CONSONANT) {
      consonant = true;
      linked = false;
    } else if (right & BREAK.LINKER) {
      linked = true;
    } else if (!(right & BREAK.CONJOINING)) {
      consonant = false;
    }
    regional = b === BREAK.REGIONAL ? regional + 1 : 0;
    left = right;
    at = next;
  }
  return at;
}

/** @param {number} kind */
function isControl(kind) {
  return kind === BREAK.CR || kind === BREAK.LF || kind === BREAK.CONTROL;
}

/**
 * Where SentencePiece's table keeps what becomes of a text, by its shortest entry that the text
 * begins with, as tokenizers looks it up; NONE: it has none.
 * @param {Tables} to
 * @param {Uint8Array} text
 * @param {number} at
 * @param {number} end
 */
function charsmapEntry(to, text, at, end) {
  let node = 0;
  for (; at < end; at++) {
    node = to.charsmap.child(node, text[at]);
    if (node === 0) {
      return NONE;
    }
    if (to.charsmap.value[node] !== NONE) {
      return to.charsmap.value[node];
    }
  }
  return NONE;
}

/**
 * Clusters of less than six bytes are looked up whole, all else by code points.
 * @param {Tables} to
 * @param {Uint8Array} text
 */
function precompiled(to, text) {
  const out = new Output(text.length);
  const pool = to.charsmapPool;
  const plain = (/** @type {number} */ i) => i >= text.length || text[i] < 0x80;
  for (let at = 0; at < text.length; ) {
    const alone = plain(at) && text[at] !== 0x0d && plain(at + 1);
    const end = alone ? at + 1 : clusterEnd(to, text, at);
    if (end - at < 6) {
      const entry = charsmapEntry(to, text, at, end);
      if (entry !== NONE) {
        out.put(pool, entry + 1, entry + 1 + pool[entry]);
        at = end;
        continue;
      }
    }
    while (at < end) {
      const next = pointEnd(text, at);
      const entry = charsmapEntry(to, text, at, next);
      if (entry === NONE) {
        out.put(text, at, next);
      } else {
        out.put(pool, entry + 1, entry + 1 + pool[entry]);
      }
      at = next;
    }
  }
  return out.bytes;
}

/**
 * @param {Tables} to
 * @param {Uint8Array} text
 * @param {number} sides 1 left, 2 right, 3 both
 */
function strip(to, text, sides) {
  const isSpace = (/** @type {number} */ at) => to.chars.of(pointAt(text, at)) & CHAR.SPACE;
  let start = 0;
  let end = text.length;
  while (sides & 1 && start < end && isSpace(start)) {
    start = pointEnd(text, start);
  }
  while (sides & 2 && end > start && isSpace(pointBefore(text, end))) {
    end = pointBefore(text, end);
  }
  return text.subarray(start, end);
}

/** @param {Uint8Array} text */
function joinSpaces(text) {
  return text.filter((byte, i) => byte !== 0x20 || i === 0 || text[i - 1] !== 0x20);
}
