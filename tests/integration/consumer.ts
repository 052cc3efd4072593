// An app that uses the package, for test_web.py: its types are looked at, nothing runs.
import { CONTENTS, ModelFileError, NascEncoder, Tokenizer, clearModelFiles } from "nasc-encoder";

const encoder: NascEncoder = await NascEncoder.load("/model/", {
  device: "webgpu",
  threads: 2,
  signal: new AbortController().signal,
  onProgress: ({ file, loaded, total, cached }) => console.log(file, loaded / total, cached),
});
const vectors: Float32Array[] = await encoder.embed(["a", "b"] as const);
const cosine: number = encoder.similarity(vectors[0], vectors[1]);
const { ids, typeIds } = new Tokenizer(new Uint8Array()).encode("a", "b", 5);
const numbers: number[] = [...ids, ...typeIds, ...encoder.tokenize("a"), cosine];
console.log(numbers, CONTENTS.model.sha256, ModelFileError.name, await clearModelFiles());
// @ts-expect-error: texts are a list
await encoder.embed("a");
// @ts-expect-error: there is no such device
await NascEncoder.load("/model/", { device: "cuda" });
await encoder.close();
