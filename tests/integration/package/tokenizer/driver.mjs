// Runs the tokenizer in JavaScript for tests, as driver.c does the one in C:
//   node driver.mjs FOLDER encode FILE < REQUESTS   texts, as port.py packs them
//   node driver.mjs FOLDER damage FILE SEED COUNT   opens the file with bytes changed, sum renewed
//   node driver.mjs FOLDER long FILE BYTES          texts of one character again and again
import { readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { crc32 } from "node:zlib";

const [folder, what, file, ...rest] = process.argv.slice(2);
const { Tokenizer, TokenizerError } = await import(pathToFileURL(join(folder, "tokenizer.js")));
const ERRORS = { damaged: -1, "not-text": -4, "no-room": -7, "no-pair": -8 };
const data = new Uint8Array(readFileSync(file));

function encodeAll() {
  const tokenizer = new Tokenizer(data);
  const input = readFileSync(0);
  const found = [];
  for (let at = 0; at < input.length; ) {
    const [size, other, longest] = [0, 4, 8].map((i) => input.readInt32LE(at + i));
    at += 16;
    const text = input.toString("utf-8", at, at + size);
    at += size;
    const pair = other < 0 ? undefined : input.toString("utf-8", at, at + other);
    at += Math.max(other, 0);
    try {
      const { ids, typeIds } = tokenizer.encode(text, pair, longest);
      found.push([ids.length], ids, typeIds);
    } catch (error) {
      if (!(error instanceof TokenizerError)) throw error;
      found.push([ERRORS[error.code]]);
    }
  }
  const bytes = Buffer.from(BigInt64Array.from(found.flat(), BigInt).buffer);
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(1, bytes, done);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

function damage(seed, count) {
  let state = seed >>> 0 || 1;
  const random = (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  let opened = 0;
  for (let i = 0; i < count; i++) {
    const copy = data.slice();
    for (let n = 1 + random(4); n > 0; n--) {
      copy[20 + random(random(2) ? 400 : copy.length - 20)] = random(256);
    }
    new DataView(copy.buffer).setUint32(16, crc32(copy.subarray(20)), true);
    try {
      const tokenizer = new Tokenizer(copy);
      opened++;
      tokenizer.encode("a [MASK] é\u0301 'll 中 \u{1f469}\u200d\u{1f467} end", "b".repeat(40));
    } catch (error) {
      if (!(error instanceof TokenizerError)) throw error;
    }
  }
  console.log(opened);
}

function long(size) {
  const tokenizer = new Tokenizer(data);
  for (const char of ["a", " ", "é", "\u0301", "中", "!", "👩", "\0", "[", "'"]) {
    console.log(tokenizer.encode(char.repeat(size / Buffer.byteLength(char))).ids.length);
  }
}

if (what === "encode") encodeAll();
else if (what === "damage") damage(...rest.map(Number));
else long(...rest.map(Number));
