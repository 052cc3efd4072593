// What the page's thread makes of requests: run by test_page.py, with node --test. The runtime is
// made up, and so is the clock: every run takes one millisecond of it.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const page = (name) => import(pathToFileURL(join(process.env.NASC_PAGE_FOLDER, name)));
const { IDLE, LOAD, Models, RUN } = await page("models.js");
const { decodeArray, encodeArray } = await page("arrays.js");

const VALUE = { name: "x", isTensor: true, type: "float32", shape: ["batch", "", 2] };
const X = encodeArray(Float32Array.of(1, 2), "float32", [1, 2]);
const OPTIONS = { runtime: "onnxruntime-web", threads: 2, graph_optimization: "disable", arena: true };

let made, beats, clock, broken, metadata;

class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}

class Session {
  inputNames = ["x"];
  outputNames = ["y"];
  inputMetadata = metadata;
  outputMetadata = [{ ...VALUE, name: "y", shape: [3] }];
  runs = 0;
  released = false;
  static async create(bytes, settings) {
    if (broken.create) throw new Error(broken.create);
    const session = new Session();
    made.push({ session, bytes: [...bytes], settings });
    return session;
  }
  async run({ x }) {
    if (broken.run) throw broken.run instanceof Error ? broken.run : new Error(broken.run);
    clock += 1;
    this.runs += 1;
    return { y: new Tensor("float32", x.data.map((one) => 2 * one), x.dims) };
  }
  async release() {
    this.released = true;
  }
}

const FILES = { "file/0": Uint8Array.of(7), "file/1": Uint8Array.of(8, 9) };
let ort, models;

beforeEach(async () => {
  [made, beats, clock, broken, metadata] = [[], [], 0, {}, [VALUE]];
  ort = { env: { wasm: {}, versions: { web: "1.2.3" } }, InferenceSession: Session, Tensor };
  models = new Models({
    ort,
    read: async (name) => FILES[name] ?? assert.fail(name),
    beat: (what) => beats.push(what),
    now: () => clock,
    keptBytes: 4,
  });
  const started = await models.answer({ op: "start", options: OPTIONS, limits: {} });
  assert.deepEqual(started, { ok: true, runtime_version: "1.2.3" });
  const [{ session, bytes }] = made.splice(0); // whether the runtime starts at all
  assert.deepEqual([bytes.length, session.released], [65, true]);
});

const load = (name, inputs = { x: X }, files = [["file/0", "m.onnx"]]) =>
  models.answer({ op: "load", name, path: "m.onnx", files, inputs });

test("settings reach the runtime", async () => {
  assert.equal(ort.env.wasm.numThreads, 2);
  await load("a", { x: X }, [["file/0", "m.onnx"], ["file/1", "m.onnx.data"]]);
  const { bytes, settings } = made[0];
  assert.deepEqual(bytes, [7]);
  assert.deepEqual(settings.executionProviders, ["wasm"]);
  assert.equal(settings.graphOptimizationLevel, "disabled");
  assert.deepEqual(settings.externalData, [{ path: "m.onnx.data", data: FILES["file/1"] }]);
});

test("runs are timed one by one, after those that nothing is recorded of", async () => {
  assert.deepEqual(await load("a"), { ok: true });
  await load("b");
  const first = await models.answer({ op: "visit", steps: [["a", 2, 3], ["b", 1, 0]] });
  assert.equal(first.ok, true);
  const [visit, ...others] = first.visits;
  assert.deepEqual(others, []);
  assert.equal(visit.name, "a");
  assert.deepEqual(visit.wall_ns, [1e6, 1e6, 1e6]);
  assert.deepEqual([visit.own_ns, visit.preempted], [visit.wall_ns, [0, 0, 0]]);
  assert.ok(Math.abs(visit.end_s - visit.start_s - 0.003) < 1e-9);
  const before = made[0].session.runs;
  assert.ok(before > 100, "what browsers compile anew is run before");
  await models.answer({ op: "visit", steps: [["a", 2, 3]] });
  assert.equal(made[0].session.runs, before + 5);
});

test("every run and load is told of, and their end", async () => {
  await load("a");
  assert.deepEqual(beats.slice(1), [LOAD, IDLE, IDLE]);
  beats.length = 0;
  await models.answer({ op: "visit", steps: [["a", 1, 2]] });
  assert.equal(beats.filter((one) => one === RUN).length, made[0].session.runs);
  assert.equal(beats.at(-1), IDLE);
});

test("what does not fit is dropped, and loaded anew before it is run", async () => {
  for (const name of "abcde") await load(name); // a byte each, four are kept
  const released = () => made.map(({ session }) => session.released);
  assert.deepEqual(released(), [true, false, false, false, false]);
  await models.answer({ op: "visit", steps: [["b", 0, 1]] });
  assert.equal(made.length, 5);
  const { visits } = await models.answer({ op: "visit", steps: [["a", 0, 1]] });
  assert.deepEqual([made.length, visits[0].wall_ns], [6, [1e6]]);
  assert.deepEqual(released(), [true, false, true, false, false, false]);
  assert.ok(made[5].session.runs > 100, "it is new, and run before anything is recorded");
});

test("a model is described, opened, run and dropped", async () => {
  const files = [["file/0", "m.onnx"]];
  const described = await models.answer({ op: "describe", path: "m.onnx", files });
  assert.deepEqual(described, { ok: true, inputs: { x: ["float32", ["batch", null, 2]] } });
  assert.equal(made[0].session.released, true);
  const opened = await models.answer({ op: "open", name: "a", path: "m.onnx", files });
  assert.deepEqual(opened.outputs, { y: ["float32", [3]] });
  const ran = await models.answer({ op: "run", name: "a", inputs: { x: X } });
  assert.deepEqual([...decodeArray(ran.outputs[0])], [2, 4]);
  assert.deepEqual(await models.answer({ op: "unload", name: "a" }), { ok: true });
  assert.equal(made[1].session.released, true);
  assert.deepEqual(await models.answer({ op: "unload", name: "a" }), { ok: true });
  const gone = await models.answer({ op: "run", name: "a", inputs: { x: X } });
  assert.deepEqual([gone.ok, gone.kind], [false, "request"]);
});

test("failures say what is to blame", async () => {
  const kinds = {
    "Can't load: bad protobuf": "model",
    "std::bad_alloc": "memory",
  };
  for (const [message, kind] of Object.entries(kinds)) {
    broken.create = message;
    const found = await load("a");
    assert.deepEqual([found.ok, found.kind], [false, kind]);
    assert.ok(found.error.includes(message));
  }
  const again = await models.answer({ op: "start", options: OPTIONS, limits: {} });
  assert.deepEqual([again.ok, again.kind], [false, "runtime"]);
  assert.match(again.error, /onnxruntime-web cannot be started: std::bad_alloc/);
  broken.create = undefined;
  const other = await load("a", { z: X });
  assert.equal(other.error, 'it has the inputs ["x"], but ["z"] were described');
  assert.deepEqual([other.kind, made[0].session.released], ["model", true]);
  await load("a");
  broken.run = "out of memory";
  const [full] = [await models.answer({ op: "visit", steps: [["a", 1, 1]] })];
  assert.deepEqual([full.kind, full.name], ["memory", "a"]);
  for (const request of [{ op: "dance" }, { op: "toString" }, { op: "visit" }, { op: "run" }]) {
    const found = await models.answer(request);
    assert.deepEqual([found.ok, found.kind], [false, "request"]);
  }
});

test("what WebAssembly says of memory is told from what a model does", async () => {
  for (const message of [
    "std::bad_alloc",
    "failed to allocate a buffer of 12 bytes",
    "Failed to allocate memory for requested buffer",
  ]) {
    broken.create = message;
    assert.deepEqual([(await load("a")).kind, message], ["memory", message]);
  }
  broken.create = "Aborted code is what the model is made of";
  assert.equal((await load("a")).kind, "model");
});

test("WebAssembly that stopped is told as memory once, and answers nothing then", async () => {
  for (const error of [
    new WebAssembly.RuntimeError("unreachable"),
    new Error("Aborted(OOM). Build with -sASSERTIONS for more info."),
    new Error("memory access out of bounds"),
  ]) {
    const stopped = new Models({ ort, read: (name) => FILES[name], beat() {}, now: () => (clock += 1) });
    broken = {};
    await stopped.answer({ op: "start", options: OPTIONS });
    const request = { name: "a", path: "m.onnx", files: [["file/0", "m.onnx"]], inputs: { x: X } };
    assert.equal((await stopped.answer({ op: "load", ...request })).ok, true);
    broken.run = error;
    const { ok, kind, error: said, name } = await stopped.answer({ op: "run", ...request });
    assert.deepEqual([ok, kind, name, said], [false, "memory", "a", error.message]);
    broken = {};
    await assert.rejects(stopped.answer({ op: "run", ...request }), /WebAssembly stopped before/);
  }
});

test("threads that cannot be had are a failure", async () => {
  Object.defineProperty(ort.env.wasm, "numThreads", { get: () => 1, set() {} });
  const started = await models.answer({ op: "start", options: OPTIONS, limits: {} });
  assert.deepEqual([started.ok, started.kind], [false, "runtime"]);
  assert.match(started.error, /it runs 1 threads, not 2/);
});

test("what takes no tensor is rejected, and released", async () => {
  metadata = [{ name: "s", isTensor: false }];
  for (const op of ["describe", "open"]) {
    const request = { op, name: "a", path: "m.onnx", files: [["file/0", "m.onnx"]] };
    const { ok, kind, error } = await models.answer(request);
    assert.deepEqual([ok, kind, error], [false, "model", '"s" is no tensor']);
    assert.equal(made.at(-1).session.released, true);
  }
});

test("arrays cross unchanged, and wrong ones are refused", () => {
  const values = BigInt64Array.of(-1n, 2n ** 40n);
  assert.deepEqual(decodeArray(encodeArray(values, "int64", [2, 1])), values);
  const many = Float32Array.from({ length: 100_000 }, (_, i) => i);
  assert.deepEqual(decodeArray(encodeArray(many.subarray(1), "float32", [99_999])), many.slice(1));
  assert.throws(() => encodeArray([], "string", [0]), /type "string" cannot be sent/);
  assert.throws(() => decodeArray({ ...X, dtype: "toString" }), /cannot be sent/);
  assert.throws(() => decodeArray({ ...X, shape: [3] }), /2 values for the shape/);
});
