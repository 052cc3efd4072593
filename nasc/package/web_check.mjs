// SPDX-License-Identifier: Apache-2.0
// Runs a package for the web in node: node web_check.mjs FOLDER [ONNXRUNTIME_WEB]
// Prints what its tokenizer makes of the golden texts, and, with a folder of onnxruntime-web, how
// far its vectors are off, as one line of JSON.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, runtime] = process.argv.slice(2);
const text = (name) => readFileSync(join(folder, name), "utf-8");
const { CONTENTS, NascEncoder, Tokenizer } = await import(pathToFileURL(join(folder, "nasc.js")));

function wrongTexts() {
  const tokenizer = new Tokenizer(new Uint8Array(readFileSync(join(folder, "tokenizer.bin"))));
  const lines = text("tokenizer_golden.jsonl").trimEnd().split("\n").slice(1).map(JSON.parse);
  const wrong = lines.filter(({ text: first, pair, max_length: longest, ids, type_ids: types }) => {
    const found = tokenizer.encode(first, pair, longest);
    return String(found.ids) !== String(ids) || String(found.typeIds) !== String(types);
  });
  return { texts: lines.length, wrong: wrong.slice(0, 3).map((one) => one.text.slice(0, 40)) };
}

async function difference() {
  const ort = await import(pathToFileURL(join(runtime, "dist", "ort.node.min.mjs")));
  const names = new Set([CONTENTS.model.name, CONTENTS.tokenizer.name]);
  const server = createServer((request, answer) => {
    const name = request.url.slice(1);
    answer.statusCode = names.has(name) ? 200 : 404;
    answer.end(names.has(name) ? readFileSync(join(folder, name)) : undefined);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  try {
    const url = `http://127.0.0.1:${server.address().port}/`;
    const encoder = await NascEncoder.load(url, { ort, cache: false });
    const golden = JSON.parse(text("golden.json")).texts;
    const vectors = await encoder.embed(golden.map((one) => one.text));
    await encoder.close();
    const off = golden.flatMap((one, i) =>
      one.vector.map((value, j) => Math.abs(Math.fround(value) - vectors[i][j])),
    );
    return off.every(Number.isFinite) ? Math.max(...off) : "infinite";
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

const found = { ...wrongTexts(), difference: runtime ? await difference() : null };
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit(0));
