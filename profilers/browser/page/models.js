// SPDX-License-Identifier: Apache-2.0
// Models in a browser, and the requests on them: docs/worker-protocol.md. What it needs of the page
// is given to it, so that it also runs elsewhere.

import { decodeArray, encodeArray } from "./arrays.js";

/** What the thread is busy with, for whoever watches its limits of time. */
export const IDLE = 0;
export const RUN = 1;
export const LOAD = 2;

/** How onnxruntime, whose errors are all of a kind, says that memory is not given. */
const OUT_OF_MEMORY =
  /bad_alloc|bad allocation|out of memory|allocation failed|to allocate (memory|a buffer)/i;

/** How WebAssembly says that it stopped for good, wherever it stopped: of memory, as a rule. */
const ABORTED = /^(\w+: )?Aborted\(|memory access out of bounds/;

/** A model of one operator, which gives what it takes: to load it starts WebAssembly. */
const SMALLEST =
  "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0=";

/**
 * Before a model's first recorded run it is run for so long, in ms, and longer where it is one of
 * the first, which bring the runtime's own code to speed: see `#settle`. In Chromium 156 an encoder
 * of four layers of hidden 384 ran at its speed after two runs, and was halted once more for a
 * second within the first half second (2026-11).
 */
const SETTLE_MS = 200;
const SETTLE_FIRST_MS = 1000;
const FIRST = 3;

/** So many runs of it at most. */
const SETTLE_RUNS = 200;

/**
 * Bytes of models' files that are kept loaded together: WebAssembly has 4 GB at most, and a model
 * that loads is in memory twice. What was not run for the longest time is dropped, and loaded anew
 * before it is run.
 */
const KEPT_BYTES = 1.5e9;

/** Outputs of a run that are given back, in bytes. */
const MAX_OUTPUT_BYTES = 256 << 20;

/** An answer with "ok": false. */
class Failure extends Error {
  /**
   * @param {string} kind what is to blame
   * @param {string} message
   * @param {string | null} [name] of the model, where there are several
   */
  constructor(kind, message, name = null) {
    super(message);
    this.kind = kind;
    this.name = name;
  }
}

/** The loaded models. */
export class Models {
  #ort;
  #read;
  #beat;
  #now;
  /** @type {Record<string, any>} */
  #options = {};
  #keptBytes;
  #settled = 0;
  /** Why WebAssembly stopped; empty while it runs. */
  #stopped = "";
  /**
   * By name, the one that was run last at the end; without a session where that was dropped.
   * @typedef {{ session: any, bytes: number, files: string[][], feeds: Record<string, any>,
   *   settled: boolean }} Model
   * @type {Map<string, Model>}
   */
  #models = new Map();

  /**
   * @param {object} given
   * @param {any} given.ort onnxruntime-web
   * @param {(name: string) => Promise<Uint8Array>} given.read gives the bytes of a file
   * @param {(what: number) => void} given.beat told before every run and load, and after the last
   * @param {() => number} given.now milliseconds of a clock that never goes back
   * @param {number} [given.keptBytes] see `KEPT_BYTES`
   */
  constructor({ ort, read, beat, now, keptBytes = KEPT_BYTES }) {
    this.#keptBytes = keptBytes;
    this.#ort = ort;
    this.#read = read;
    this.#beat = beat;
    this.#now = now;
  }

  /**
   * Carries out one request.
   * @param {Record<string, any>} request
   * @throws {Error} WebAssembly stopped at one before
   */
  async answer(request) {
    if (this.#stopped) {
      throw new Error(`WebAssembly stopped before: ${this.#stopped}`);
    }
    const operations = {
      start: () => this.#start(request),
      load: () => this.#load(request),
      visit: () => this.#visit(request),
      describe: () => this.#describe(request),
      open: () => this.#open(request),
      run: () => this.#run(request),
      unload: () => this.#unload(request),
    };
    try {
      if (!Object.hasOwn(operations, request.op)) {
        throw new Failure("request", `unknown op ${JSON.stringify(request.op)}`);
      }
      return { ok: true, ...(await operations[request.op]()) };
    } catch (error) {
      const isKnown = error instanceof Failure || error instanceof WebAssembly.RuntimeError;
      const known = isKnown ? this.#failure(error, null) : new Failure("request", String(error));
      return { ok: false, kind: known.kind, error: known.message, name: known.name };
    } finally {
      this.#beat(IDLE);
    }
  }

  async #start({ options }) {
    this.#options = options;
    this.#ort.env.wasm.numThreads = options.threads;
    this.#ort.env.logLevel = "error";
    try {
      const bytes = decodeArray({ dtype: "uint8", shape: [65], data: SMALLEST });
      const settings = { executionProviders: ["wasm"] };
      await (await this.#ort.InferenceSession.create(bytes, settings)).release();
    } catch (error) {
      throw new Failure("runtime", `onnxruntime-web cannot be started: ${error?.message ?? error}`);
    }
    const threads = this.#ort.env.wasm.numThreads; // it takes fewer where it cannot have them
    if (threads !== options.threads) {
      throw new Failure("runtime", `it runs ${threads} threads, not ${options.threads}`);
    }
    return { runtime_version: this.#ort.env.versions.web };
  }

  /** What the runtime threw, as being about its model, or its memory. */
  #failure(error, name) {
    if (error instanceof Failure) {
      return error;
    }
    const text = String(error?.message ?? error);
    const isStopped = error instanceof WebAssembly.RuntimeError || ABORTED.test(text);
    if (isStopped) {
      this.#stopped = text;
    }
    return new Failure(isStopped || OUT_OF_MEMORY.test(text) ? "memory" : "model", text, name);
  }

  /** A session on a model's files: the model itself, then those of its weights; and their bytes. */
  async #session({ files }, name = null) {
    this.#beat(LOAD);
    const level = this.#options.graph_optimization;
    try {
      const [model, ...externalData] = await Promise.all(
        files.map(async ([place, path]) => ({ path, data: await this.#read(place) })),
      );
      const bytes = externalData.reduce((sum, { data }) => sum + data.length, model.data.length);
      await this.#makeRoom(bytes);
      const session = await this.#ort.InferenceSession.create(model.data, {
        executionProviders: ["wasm"],
        graphOptimizationLevel: level === "disable" ? "disabled" : level,
        enableCpuMemArena: this.#options.arena,
        executionMode: "sequential",
        ...(externalData.length ? { externalData } : {}),
      });
      return { session, bytes };
    } catch (error) {
      throw this.#failure(error, name);
    } finally {
      this.#beat(IDLE);
    }
  }

  /** Drops the sessions that were not used for the longest time, until so many bytes fit. */
  async #makeRoom(bytes) {
    const held = [...this.#models.values()].filter((model) => model.session !== undefined);
    let sum = held.reduce((total, model) => total + model.bytes, bytes);
    for (const model of held) {
      if (sum <= this.#keptBytes) {
        break;
      }
      await model.session.release();
      model.session = undefined;
      model.settled = false;
      sum -= model.bytes;
    }
  }

  #tensors(inputs) {
    return Object.fromEntries(
      Object.entries(inputs).map(([name, array]) => {
        const data = decodeArray(array);
        return [name, new this.#ort.Tensor(array.dtype, data, array.shape)];
      }),
    );
  }

  async #load(request) {
    const feeds = this.#tensors(request.inputs);
    const { session, bytes } = await this.#session(request);
    const [wanted, given] = [[...session.inputNames].sort(), Object.keys(feeds).sort()];
    if (wanted.join("\n") !== given.join("\n")) {
      await session.release();
      const [has, were] = [wanted, given].map((names) => JSON.stringify(names));
      throw new Failure("model", `it has the inputs ${has}, but ${were} were described`);
    }
    await this.#keep(request, session, bytes, feeds);
    return {};
  }

  async #keep({ name, files }, session, bytes, feeds) {
    await this.#unload({ name });
    this.#models.set(name, { session, bytes, files, feeds, settled: false });
  }

  async #visit({ steps }) {
    const visits = [];
    for (const [name, warmup, runs] of steps) {
      const visit = await this.#step(name, warmup, runs);
      if (runs > 0) {
        visits.push(visit);
      }
    }
    return { visits };
  }

  /** A loaded model, with its session. */
  async #named(name) {
    const model = this.#models.get(name);
    if (model === undefined) {
      throw new Failure("request", `there is no model ${JSON.stringify(name)}`);
    }
    if (model.session === undefined) {
      model.session = (await this.#session(model, name)).session;
    }
    this.#models.delete(name);
    this.#models.set(name, model);
    return model;
  }

  async #step(name, warmup, runs) {
    const model = await this.#named(name);
    const { session, feeds } = model;
    const [beat, now] = [this.#beat, this.#now];
    const wall = new Array(runs);
    let [start, end] = [0, 0];
    try {
      await this.#settle(model);
      for (let i = 0; i < warmup; i++) {
        beat(RUN);
        await session.run(feeds);
      }
      start = now();
      for (let i = 0; i < runs; i++) {
        beat(RUN);
        const before = now();
        await session.run(feeds);
        wall[i] = now() - before;
      }
      end = now();
    } catch (error) {
      throw this.#failure(error, name);
    }
    const ns = wall.map((ms) => Math.round(1e6 * ms));
    const preempted = wall.map(() => 0);
    const times = { start_s: start / 1000, end_s: end / 1000 };
    return { name, ...times, wall_ns: ns, own_ns: ns, preempted };
  }

  /**
   * Runs a model before anything is recorded of it: browsers compile WebAssembly twice, quickly at
   * first, and anew, for speed, what was run often.
   */
  async #settle(model) {
    if (model.settled) {
      return;
    }
    const begin = this.#now();
    const longest = this.#settled < FIRST ? SETTLE_FIRST_MS : SETTLE_MS;
    for (let i = 0; i < SETTLE_RUNS && this.#now() - begin < longest; i++) {
      this.#beat(RUN);
      await model.session.run(model.feeds);
    }
    model.settled = true;
    this.#settled += 1;
  }

  async #describe(request) {
    const { session } = await this.#session(request);
    try {
      return { inputs: described(session.inputMetadata) };
    } finally {
      await session.release();
    }
  }

  async #open(request) {
    const { session, bytes } = await this.#session(request);
    await this.#keep(request, session, bytes, {});
    try {
      return {
        inputs: described(session.inputMetadata),
        outputs: described(session.outputMetadata),
      };
    } catch (error) {
      await this.#unload(request);
      throw error;
    }
  }

  async #run({ name, inputs }) {
    const { session } = await this.#named(name);
    const feeds = this.#tensors(inputs);
    try {
      this.#beat(RUN);
      const results = await session.run(feeds);
      const given = session.outputNames.map((one) => results[one]);
      const size = given.reduce((sum, { data }) => sum + data.byteLength, 0);
      if (size > MAX_OUTPUT_BYTES) {
        throw new RangeError(`it gives ${size} bytes, at most ${MAX_OUTPUT_BYTES} are taken`);
      }
      return { outputs: given.map(({ data, type, dims }) => encodeArray(data, type, dims)) };
    } catch (error) {
      throw this.#failure(error, name);
    }
  }

  async #unload({ name }) {
    const model = this.#models.get(name);
    this.#models.delete(name);
    await model?.session?.release();
    return {};
  }
}

/**
 * Type and axes of inputs or outputs, by name; null of an axis that has neither size nor name.
 * @throws {Failure} one is no tensor
 */
function described(values) {
  const axis = (one) => (one === "" || one === undefined || one < 0 ? null : one);
  return Object.fromEntries(
    values.map(({ name, type, shape }) => {
      if (shape === undefined) {
        throw new Failure("model", `${JSON.stringify(name)} is no tensor`);
      }
      return [name, [type, shape.map(axis)]];
    }),
  );
}
