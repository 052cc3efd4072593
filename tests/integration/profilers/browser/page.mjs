// The page, and its thread, by themselves: run by test_page.py, with node --test, in a copy of the
// page's folder whose onnxruntime-web is made up. What browsers have and node has not is played.
import assert from "node:assert/strict";
import { test } from "node:test";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const script = (name) => pathToFileURL(join(process.env.NASC_PAGE_FOLDER, name));
const soon = () => new Promise((resolve) => setTimeout(resolve, 20));
const BRANDS = [["Not=A?Brand", "8.0"], ["Chromium", "156.1"], ["Google Chrome", "156.2"]];

const posted = [];
let next; // answers the request for the next one
let worker; // the thread, as the page sees it
let brands = BRANDS;

globalThis.crossOriginIsolated = true;
globalThis.fetch = async (name, { body }) => {
  posted.push([String(name).split("/").at(-1), body]);
  const text = posted.at(-1)[0] === "next" ? await new Promise((resolve) => (next = resolve)) : "";
  return { text: async () => text };
};
Object.defineProperty(globalThis, "navigator", {
  value: {
    userAgent: "Something/1.0",
    userAgentData: {
      getHighEntropyValues: async () => ({
        fullVersionList: brands.map(([brand, version]) => ({ brand, version })),
      }),
    },
  },
});
globalThis.Worker = class {
  on = {};
  sent = [];
  constructor() {
    worker = this;
  }
  addEventListener(kind, take) {
    this.on[kind] = take;
  }
  postMessage(what) {
    this.sent.push(what);
  }
};
const answerOf = async (request, answer) => {
  next(JSON.stringify(request));
  await soon();
  worker.on.message({ data: JSON.stringify(answer) });
  await soon();
  return JSON.parse(posted.at(-1)[1]);
};

test("a page passes on what is asked, and says which browser it is in", async () => {
  const watch = globalThis.setInterval;
  globalThis.setInterval = (...about) => watch(...about).unref();
  await import(script("page.js"));
  await soon();
  assert.deepEqual(posted.splice(0), [["alive", ""], ["next", ""]]);
  for (const [listed, expected] of [
    [BRANDS, "Google Chrome 156.2"],
    [[["Chromium", "156.1"], [" Not;A Brand", "99.0"]], "Chromium 156.1"],
    [[["Not_A Brand", "24"], ["Microsoft Edge", "156.3"], ["Chromium", "156.1"]], "Microsoft Edge 156.3"],
    [[], "Something/1.0"],
  ]) {
    brands = listed;
    assert.deepEqual(await answerOf({ op: "start" }, { ok: true }), { ok: true, browser: expected });
  }
  assert.equal(worker.sent.length, 5);
});

test("a thread that fails is told where nothing is asked, and is no answer to what is", async () => {
  posted.length = 0;
  worker.on.error({ message: "boom" });
  await soon();
  assert.deepEqual(posted.splice(0), [["failed", "the thread that runs models failed: boom"]]);
  assert.deepEqual(await answerOf({ op: "memory" }, { ok: true, own: 1 }), { ok: true, own: 1 });
  next('{"op": "visit"}');
  await soon();
  worker.on.error({});
  await soon();
  const told = JSON.parse(posted.at(-1)[1]);
  assert.deepEqual([told.ok, told.kind], [false, "runtime"]);
  assert.match(told.error, /it cannot be loaded/);
});

test("a thread that can answer no more says so, each time", async () => {
  posted.length = 0;
  let take;
  const answers = [];
  globalThis.addEventListener = (_, taken) => (take = taken);
  globalThis.postMessage = (text) => answers.push(JSON.parse(text));
  await import(script("thread.js"));
  take({ data: new Int32Array(new SharedArrayBuffer(8)) });
  take({ data: '{"op": "dance"}' });
  await soon();
  assert.equal(answers.length, 1);
  for (const text of ["{", '{"op": "dance"}', "{"]) take({ data: text });
  await soon();
  assert.equal(answers.length, 2);
  assert.deepEqual(posted.map(([name]) => name), ["failed", "failed"]);
  assert.match(posted[0][1], /SyntaxError/);
  globalThis.crossOriginIsolated = false;
  take({ data: new Int32Array(new SharedArrayBuffer(8)) });
  assert.match(posted.at(-1)[1], /not isolated/);
});
