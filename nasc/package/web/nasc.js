// SPDX-License-Identifier: Apache-2.0
// A text encoder in the browser: texts in, vectors out.

import { CONTENTS } from "./contents.js";
import { ModelFileError, clearModelFiles, fetchModelFile } from "./model_files.js";
import { Tokenizer, TokenizerError } from "./tokenizer.js";

export { CONTENTS, ModelFileError, Tokenizer, TokenizerError, clearModelFiles };

/** @typedef {typeof import("onnxruntime-web")} Runtime */
/** @typedef {import("onnxruntime-web").InferenceSession} Session */
/** @typedef {import("./nasc.js").LoadOptions} LoadOptions */

/** An encoder. `close` gives its memory back. */
export class NascEncoder {
  /** @type {Runtime} */
  #ort;
  /** @type {Session | undefined} */
  #session;
  /** @type {Tokenizer} */
  #tokenizer;
  /** @type {Promise<unknown>} the last call, for runs come one after the other */
  #last = Promise.resolve();

  /**
   * @param {Runtime} ort
   * @param {Session} session
   * @param {Tokenizer} tokenizer
   */
  constructor(ort, session, tokenizer) {
    this.#ort = ort;
    this.#session = session;
    this.#tokenizer = tokenizer;
  }

  /**
   * Loads the model and the tokenizer.
   * @param {string | URL} url the folder where the package's files lie
   * @param {LoadOptions} [options]
   * @returns {Promise<NascEncoder>}
   */
  static async load(url, options = {}) {
    const base = new URL(url, globalThis.location?.href);
    base.pathname = base.pathname.endsWith("/") ? base.pathname : `${base.pathname}/`;
    const device = options.device ?? "wasm";
    if (device !== "wasm" && device !== "webgpu") {
      throw new TypeError(`device is "wasm" or "webgpu", not ${JSON.stringify(device)}`);
    }
    if (device === "webgpu" && !(await hasGpu())) {
      throw new Error('this browser offers no WebGPU adapter: load with device "wasm"');
    }
    const ort = options.ort ?? (await importRuntime(device));
    checkVersion(ort);
    ort.env.wasm.numThreads = threadsOf(options.threads);
    if (options.wasmPaths !== undefined) {
      ort.env.wasm.wasmPaths = options.wasmPaths;
    }
    const [model, tables] = [
      await fetchModelFile(base, CONTENTS.model, options),
      await fetchModelFile(base, CONTENTS.tokenizer, options),
    ];
    const tokenizer = new Tokenizer(tables);
    const session = await ort.InferenceSession.create(model, {
      executionProviders: [device],
      graphOptimizationLevel: "all",
    });
    return new NascEncoder(ort, session, tokenizer);
  }

  /** Numbers of a vector. */
  get dimensions() {
    return CONTENTS.dimensions;
  }

  /**
   * The vectors of texts, in their order.
   * @param {readonly string[]} texts
   * @returns {Promise<Float32Array[]>}
   */
  async embed(texts) {
    if (!Array.isArray(texts)) {
      throw new TypeError("embed takes an array of texts");
    }
    const tokens = texts.map((text) => this.tokenize(text));
    const rows = CONTENTS.shape?.[0] ?? 1;
    const done = this.#last.then(async () => {
      /** @type {Float32Array[]} */
      const vectors = [];
      for (let i = 0; i < tokens.length; i += rows) {
        vectors.push(...(await this.#run(tokens.slice(i, i + rows))));
      }
      return vectors;
    });
    this.#last = done.catch(() => undefined);
    return done;
  }

  /**
   * The cosine of the angle between two vectors: 1 for texts of the same meaning.
   * @param {ArrayLike<number>} a
   * @param {ArrayLike<number>} b
   */
  similarity(a, b) {
    if (a.length !== b.length) {
      throw new RangeError(`vectors of ${a.length} and ${b.length} numbers have no similarity`);
    }
    let [ab, aa, bb] = [0, 0, 0];
    for (let i = 0; i < a.length; i++) {
      ab += a[i] * b[i];
      aa += a[i] * a[i];
      bb += b[i] * b[i];
    }
    return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : 0;
  }

  /**
   * The tokens of a text, cut to what the model reads.
   * @param {string} text
   * @returns {number[]}
   */
  tokenize(text) {
    return this.#tokenizer.encode(text, undefined, CONTENTS.maxLength).ids;
  }

  /** Ends it, once what was asked of it is done. */
  async close() {
    const done = this.#last.then(() => {
      const session = this.#session;
      this.#session = undefined;
      return session?.release();
    });
    this.#last = done.catch(() => undefined);
    await done;
  }

  /**
   * Runs texts at once: one, or as many as the model takes alone.
   * @param {number[][]} tokens
   */
  async #run(tokens) {
    if (!this.#session) {
      throw new Error("the encoder is closed: load another one");
    }
    const [rows, length] = CONTENTS.shape ?? [1, tokens[0].length];
    const ids = new BigInt64Array(rows * length).fill(BigInt(CONTENTS.padToken));
    const mask = new BigInt64Array(rows * length);
    for (let row = 0; row < rows; row++) {
      const own = tokens[row] ?? tokens[0]; // what fills a batch up is not looked at
      own.slice(0, length).forEach((id, i) => {
        ids[row * length + i] = BigInt(id);
        mask[row * length + i] = 1n;
      });
    }
    const { Tensor } = this.#ort;
    const results = await this.#session.run({
      input_ids: new Tensor("int64", ids, [rows, length]),
      attention_mask: new Tensor("int64", mask, [rows, length]),
    });
    const output = results[CONTENTS.output];
    const data = /** @type {Float32Array} */ (await output.getData());
    const size = CONTENTS.dimensions;
    if (data.length !== rows * size || !data.every(Number.isFinite)) {
      throw new Error("the model gave something else than vectors: please report this");
    }
    const vectors = tokens.map((_, row) => data.slice(row * size, (row + 1) * size));
    for (const tensor of Object.values(results)) {
      tensor.dispose();
    }
    return vectors;
  }
}

/** @param {"wasm" | "webgpu"} device */
async function importRuntime(device) {
  return /** @type {Promise<Runtime>} */ (
    device === "webgpu" ? import("onnxruntime-web/webgpu") : import("onnxruntime-web/wasm")
  );
}

/** @param {Runtime} ort */
function checkVersion(ort) {
  const found = ort.env.versions?.web;
  if (found !== CONTENTS.runtime.version) {
    throw new Error(
      `onnxruntime-web is ${found ?? "of an unknown version"}, this package is made for ` +
        `${CONTENTS.runtime.version}: npm install onnxruntime-web@${CONTENTS.runtime.version}`,
    );
  }
}

/** @param {number | undefined} wanted */
function threadsOf(wanted) {
  if (wanted !== undefined && !(Number.isInteger(wanted) && wanted >= 1)) {
    throw new RangeError(`threads is a whole number from 1, not ${wanted}`);
  }
  if (!globalThis.crossOriginIsolated) {
    return 1; // browsers share memory between threads of isolated pages alone
  }
  return Math.min(wanted ?? CONTENTS.threads, globalThis.navigator?.hardwareConcurrency ?? 1);
}

async function hasGpu() {
  const gpu = /** @type {{ gpu?: { requestAdapter(): Promise<unknown> } }} */ (
    globalThis.navigator ?? {}
  ).gpu;
  return Boolean(await gpu?.requestAdapter().catch(() => undefined));
}
