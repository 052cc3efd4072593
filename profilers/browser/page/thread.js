// SPDX-License-Identifier: Apache-2.0
// The thread of the page that runs models: requests as text in, answers as text out.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { Models } from "./models.js";

const WASM = "ort/ort-wasm-simd-threaded.wasm";
ort.env.wasm.wasmPaths = { wasm: new URL(WASM, import.meta.url).href };

/** @param {string} name */
async function read(name) {
  const answer = await fetch(new URL(name, import.meta.url), { cache: "no-store" });
  if (!answer.ok) {
    throw new Error(`the file cannot be read (${answer.status})`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

/** Tells the worker why no request is answered any more: it ends then. */
function postFailed(error) {
  return fetch(new URL("failed", import.meta.url), { method: "POST", body: String(error) });
}

/** @type {Models | undefined} */
let models;
let last = Promise.resolve();

globalThis.addEventListener("message", ({ data }) => {
  if (typeof data !== "string") {
    if (!globalThis.crossOriginIsolated) {
      postFailed("the thread that runs models is not isolated, so that its clock is too coarse");
    }
    const beats = data;
    const beat = (what) => {
      Atomics.store(beats, 1, what);
      Atomics.add(beats, 0, 1);
    };
    models = new Models({ ort, read, beat, now: () => performance.now() });
    return;
  }
  last = last
    .then(async () => postMessage(JSON.stringify(await models.answer(JSON.parse(data)))))
    .catch(postFailed);
});
