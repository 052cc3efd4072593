// SPDX-License-Identifier: Apache-2.0
// The page that a browser is opened with: it gets requests from `profilers.browser.worker`, passes
// them to the thread that runs models, and ends what takes too long.

const LOOK_MS = 500; // how often a limit of time is looked at

/** What `thread.js` counts up with every run and load: [which, what], what out of `BUSY`. */
const beats = new Int32Array(new SharedArrayBuffer(8));
/** By what the thread does, the name of its limit in seconds; 0 is nothing that has one. */
const BUSY = [null, "run_s", "load_s"];

/** @type {Record<string, number>} */
let limits = {};

function post(name, body) {
  return fetch(name, { method: "POST", body, cache: "no-store" });
}

/** Tells when one run or load lasts longer than it may. */
function watch() {
  let [seen, since] = [0, 0];
  setInterval(() => {
    const [count, what] = [Atomics.load(beats, 0), Atomics.load(beats, 1)];
    const name = BUSY[what];
    if (name === null || count !== seen) {
      [seen, since] = [count, performance.now()];
    } else if (performance.now() - since > 1000 * limits[name]) {
      post("late", name);
    }
  }, LOOK_MS);
}

/** A brand that browsers make up, so that nobody relies on the list: "Not=A?Brand". */
const MADE_UP = /^\W*Not\W?_?A\W?_?Brand/i;

/** The browser, by its own word: its vendor's name where there is one, else Chromium. */
async function browser() {
  const told = await navigator.userAgentData?.getHighEntropyValues(["fullVersionList"]);
  const brands = (told?.fullVersionList ?? []).filter(({ brand }) => !MADE_UP.test(brand));
  const found = brands.find(({ brand }) => brand !== "Chromium") ?? brands[0];
  return found ? `${found.brand} ${found.version}` : navigator.userAgent;
}

/** An answer about a failure, see docs/worker-protocol.md. */
function failed(error) {
  return JSON.stringify({ ok: false, kind: "runtime", error: String(error), name: null });
}

async function main() {
  post("alive", "").catch(() => undefined); // is never answered: its end is that of the page
  const thread = new Worker("thread.js", { type: "module" });
  /** Takes the answer to what was asked; undefined while nothing is. */
  let take;
  thread.addEventListener("message", (event) => take?.(event.data));
  thread.addEventListener("error", (event) => {
    const why = `the thread that runs models failed: ${event.message ?? "it cannot be loaded"}`;
    return take ? take(failed(why)) : post("failed", why);
  });
  thread.postMessage(beats);
  watch();
  let answer = "";
  for (;;) {
    const request = await (await post("next", answer)).text();
    const asked = JSON.parse(request);
    limits = asked.limits ?? limits;
    answer = await new Promise((resolve) => {
      take = resolve;
      thread.postMessage(request);
    });
    take = undefined;
    if (asked.op === "start") {
      answer = JSON.stringify({ ...JSON.parse(answer), browser: await browser() });
    }
  }
}

if (globalThis.crossOriginIsolated) {
  main().catch((error) => post("failed", String(error)));
} else {
  post("failed", "the page is not isolated, so that its clock is too coarse");
}
