// Search over sentences: all are embedded once, a query is compared with each.
import { CONTENTS, NascEncoder } from "nasc-encoder";

const MODEL = "./node_modules/nasc-encoder/";
const SHOWN = 8;
const QUERY = "someone makes music";

const element = (id) => document.getElementById(id);
const timings = [];

function time(name, ms) {
  timings.push([name, ms]);
  const rows = timings.map(([what, value]) => {
    const row = document.createElement("tr");
    for (const text of [what, `${value.toFixed(value < 10 ? 1 : 0)} ms`]) {
      row.append(Object.assign(document.createElement("td"), { textContent: text }));
    }
    return row;
  });
  element("timings").hidden = false;
  element("timings").tBodies[0].replaceChildren(...rows);
}

function say(text) {
  element("status").textContent = text;
}

async function loadEncoder() {
  const started = performance.now();
  let cached = false;
  const device = new URLSearchParams(location.search).get("device") ?? "wasm";
  const encoder = await NascEncoder.load(MODEL, {
    device,
    onProgress: (one) => {
      cached = one.cached;
      element("progress").value = one.loaded / one.total;
      say(`Loading ${one.file}: ${(one.loaded / 1e6).toFixed(1)} MB`);
    },
  });
  time(`load, ${cached ? "files from the cache" : "files fetched"}`, performance.now() - started);
  return encoder;
}

async function embedAll(encoder, sentences) {
  const started = performance.now();
  const vectors = [];
  for (const sentence of sentences) {
    vectors.push(...(await encoder.embed([sentence])));
    element("progress").value = vectors.length / sentences.length;
  }
  const ms = performance.now() - started;
  time(`embed ${sentences.length} sentences`, ms);
  time("that is a sentence", ms / sentences.length);
  return vectors;
}

/** Shows what is nearest to a query; a later query stops an earlier one from being shown. */
function searching(encoder, sentences, vectors) {
  let latest = 0;
  return async (query) => {
    const own = ++latest;
    const started = performance.now();
    const [vector] = await encoder.embed([query]);
    if (own !== latest) {
      return;
    }
    const found = sentences
      .map((text, i) => ({ text, score: encoder.similarity(vector, vectors[i]) }))
      .sort((a, b) => b.score - a.score)
      .slice(0, SHOWN);
    const ms = performance.now() - started;
    const items = found.map(({ text, score }) => {
      const item = document.createElement("li");
      for (const part of [score.toFixed(3), text]) {
        item.append(Object.assign(document.createElement("span"), { textContent: part }));
      }
      return item;
    });
    element("results").replaceChildren(...items);
    say(`The nearest of ${sentences.length} sentences, in ${ms.toFixed(1)} ms`);
  };
}

try {
  const sentences = await (await fetch("sentences.json")).json();
  const encoder = await loadEncoder();
  const vectors = await embedAll(encoder, sentences);
  const search = searching(encoder, sentences, vectors);
  const input = element("query");
  input.disabled = false;
  input.value = new URLSearchParams(location.search).get("q") ?? QUERY;
  input.addEventListener("input", () => search(input.value));
  element("progress").hidden = true;
  await search(input.value);
  document.title = `${CONTENTS.precision}: ${document.title}`;
  document.documentElement.dataset.ready = "true";
} catch (error) {
  say(`It does not run here: ${error.message}`);
}
