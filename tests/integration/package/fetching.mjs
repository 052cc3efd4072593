// What model_files.js makes of servers: run by test_web_folder.py, with node --test.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { pathToFileURL } from "node:url";

const { ModelFileError, clearModelFiles, fetchModelFile } = await import(
  pathToFileURL(join(process.env.NASC_WEB_FOLDER, "model_files.js"))
);

const DATA = Uint8Array.from({ length: 9_000_000 }, (_, i) => (i * 2654435761) >>> 24);
const FILE = {
  name: "model.onnx",
  size: DATA.length,
  sha256: createHash("sha256").update(DATA).digest("hex"),
};

/** The part of the Cache API that is used, in memory. */
class MemoryCaches {
  entries = new Map();
  failing = false;
  async open() {
    return this;
  }
  async delete(key) {
    if (key === "nasc-encoder") {
      this.entries.clear();
      return true;
    }
    return this.entries.delete(typeof key === "string" ? key : key.url);
  }
  async match(key) {
    return this.entries.has(key) ? new Response(this.entries.get(key)) : undefined;
  }
  async put(key, response) {
    if (this.failing) throw new Error("QuotaExceededError");
    this.entries.set(key, new Uint8Array(await response.arrayBuffer()));
  }
  async keys() {
    return [...this.entries.keys()].map((url) => ({ url }));
  }
}

/** Requests that came, and what the next ones get: bytes after which the connection ends, or more. */
let ranges = [];
let plan = [];
let base;

const server = createServer((request, answer) => {
  const range = request.headers.range;
  ranges.push(range);
  const { cut, status, data = DATA, ignoreRange, wrongRange } = plan.shift() ?? {};
  if (status) {
    answer.writeHead(status).end();
    return;
  }
  const from = range && !ignoreRange ? Number(/^bytes=(\d+)-$/.exec(range)[1]) : 0;
  const part = data.subarray(from);
  if (from > 0) {
    const start = wrongRange ? from + 1 : from;
    answer.setHeader("Content-Range", `bytes ${start}-${data.length - 1}/${data.length}`);
  }
  answer.writeHead(from > 0 ? 206 : 200, { "Content-Length": part.length });
  if (cut === undefined) {
    answer.end(part);
  } else {
    answer.write(part.subarray(0, cut), () => setTimeout(() => answer.destroy(), 20));
  }
});

before(async () => {
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  base = new URL(`http://127.0.0.1:${server.address().port}/`);
});
after(() => {
  server.close();
  server.closeAllConnections();
});
beforeEach(() => {
  ranges = [];
  plan = [];
  Object.defineProperty(globalThis, "caches", {
    value: new MemoryCaches(),
    configurable: true,
    writable: true,
  });
});

const same = (found) => assert.equal(Buffer.compare(found, DATA), 0);

test("a file is fetched once, then comes from the cache, with progress", async () => {
  const seen = [];
  const onProgress = (one) => seen.push(one);
  same(await fetchModelFile(base, FILE, { onProgress }));
  assert.deepEqual(seen.at(-1), {
    file: "model.onnx",
    loaded: FILE.size,
    total: FILE.size,
    cached: false,
  });
  same(await fetchModelFile(base, FILE, { onProgress }));
  assert.equal(seen.at(-1).cached, true);
  assert.deepEqual(ranges, [undefined]);
  assert.equal(caches.entries.size, 1);
  assert.equal(await clearModelFiles(), true);
  assert.equal(caches.entries.size, 0);
});

test("without a cache it is fetched each time", async () => {
  same(await fetchModelFile(base, FILE, { cache: false }));
  globalThis.caches = undefined;
  same(await fetchModelFile(base, FILE));
  assert.equal(ranges.length, 2);
  assert.equal(await clearModelFiles(), false);
});

test("a full cache stops nothing", async () => {
  caches.failing = true;
  same(await fetchModelFile(base, FILE));
});

test("a connection that breaks is taken up where it broke", async () => {
  plan = [{ cut: 1_000_000 }, { cut: 3_000_000 }];
  same(await fetchModelFile(base, FILE));
  assert.equal(ranges.length, 3);
  const starts = ranges.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range)[1]));
  assert.ok(starts[0] > 0 && starts[0] <= 1_000_000 && starts[1] > starts[0], String(starts));
});

test("what an earlier page had loaded is not loaded again", async () => {
  const stop = new AbortController();
  const onProgress = ({ loaded }) => loaded > 6_000_000 && stop.abort();
  await assert.rejects(fetchModelFile(base, FILE, { signal: stop.signal, onProgress }), {
    name: "AbortError",
  });
  assert.ok(caches.entries.size >= 1);
  same(await fetchModelFile(base, FILE));
  assert.ok(Number(/^bytes=(\d+)-$/.exec(ranges[1])[1]) > 6_000_000, ranges[1]);
  assert.equal(caches.entries.size, 1); // its parts are gone
});

test("a server that knows no Range, or gives another one, starts again", async () => {
  plan = [{ cut: 1_000_000 }, { ignoreRange: true }];
  same(await fetchModelFile(base, FILE));
  plan = [{ cut: 1_000_000 }, { wrongRange: true }];
  same(await fetchModelFile(base, FILE, { cache: false }));
  assert.equal(ranges.at(-1), undefined);
});

test("errors of a moment are tried again, others are not", async () => {
  plan = [{ status: 503 }, { status: 429 }];
  same(await fetchModelFile(base, FILE));
  plan = [{ status: 404 }];
  const before404 = ranges.length;
  await assert.rejects(
    fetchModelFile(base, { ...FILE, name: "other.onnx" }),
    /cannot be loaded: the server answered 404/,
  );
  assert.equal(ranges.length, before404 + 1);
});

test("a server that never recovers is given up", async () => {
  plan = Array.from({ length: 9 }, () => ({ status: 500 }));
  await assert.rejects(fetchModelFile(base, FILE), ModelFileError);
  assert.equal(ranges.length, 5);
});

test("other bytes are refused, and nothing of them is kept", async () => {
  const data = DATA.slice();
  data[5] ^= 1;
  plan = [{ data }];
  await assert.rejects(fetchModelFile(base, FILE), /is not the file of this package: its SHA-256/);
  assert.equal(caches.entries.size, 0);
  plan = [{ data: new Uint8Array(DATA.length + 1) }];
  await assert.rejects(fetchModelFile(base, FILE), /is longer than the 9000000 bytes/);
});

test("a cached file that was damaged is fetched again", async () => {
  same(await fetchModelFile(base, FILE));
  const [key] = caches.entries.keys();
  caches.entries.get(key)[7] ^= 1;
  same(await fetchModelFile(base, FILE));
  assert.equal(ranges.length, 2);
});

test("parts of another file do not spoil it", async () => {
  const key = new URL(FILE.name, base);
  key.searchParams.set("nasc-sha256", FILE.sha256);
  key.searchParams.set("nasc-from", "0");
  caches.entries.set(key.href, new Uint8Array(4_000_000));
  same(await fetchModelFile(base, FILE));
  assert.deepEqual(ranges, ["bytes=4000000-", undefined]);
  assert.equal(caches.entries.size, 1);
});
