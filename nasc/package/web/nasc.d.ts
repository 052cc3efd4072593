// SPDX-License-Identifier: Apache-2.0

/** A file of the model. */
export interface ModelFile {
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** In hexadecimal. */
  readonly sha256: string;
}

/** What the package holds. */
export declare const CONTENTS: {
  readonly model: ModelFile;
  readonly tokenizer: ModelFile;
  /** Numbers of a vector. */
  readonly dimensions: number;
  /** Tokens that a text is cut to. */
  readonly maxLength: number;
  readonly padToken: number;
  /** Texts and tokens of every run; null: any. */
  readonly shape: readonly [number, number] | null;
  /** Name of the model's output. */
  readonly output: string;
  readonly precision: string;
  /** Threads that its latency was measured with, by another runtime. */
  readonly threads: number;
  /** The release of onnxruntime-web that it is made for, and what npm's lock file says of that. */
  readonly runtime: { readonly version: string; readonly integrity: string };
};

export interface Progress {
  file: string;
  /** Bytes. */
  loaded: number;
  total: number;
  /** Whether it came from the cache. */
  cached: boolean;
}

export interface LoadOptions {
  /** "wasm" (the default) or "webgpu", which is an error where the browser has none. */
  device?: "wasm" | "webgpu";
  /** Threads, where the page is cross-origin isolated; 1 elsewhere. Default: CONTENTS.threads. */
  threads?: number;
  /** Whether files are kept for the next time; default true. */
  cache?: boolean;
  /** Ends loading. */
  signal?: AbortSignal;
  /** Told of the files as they come. */
  onProgress?: (progress: Progress) => void;
  /** The module onnxruntime-web, where it is not to be imported by its name. */
  ort?: typeof import("onnxruntime-web");
  /** Where its .wasm lies, as `env.wasm.wasmPaths` of it; default: beside its script. */
  wasmPaths?: string | { wasm?: string | URL; mjs?: string | URL };
}

/** A text encoder. Calls come one after the other; `close` gives its memory back. */
export declare class NascEncoder {
  private constructor();
  /**
   * Loads the model and the tokenizer.
   * @param url the folder where the package's files lie; against the page's address
   * @throws {ModelFileError} if a file cannot be had, or is not the package's own
   */
  static load(url: string | URL, options?: LoadOptions): Promise<NascEncoder>;
  /** Numbers of a vector. */
  get dimensions(): number;
  /** The vectors of texts, in their order. */
  embed(texts: readonly string[]): Promise<Float32Array[]>;
  /** The cosine of the angle between two vectors: 1 for texts of the same meaning. */
  similarity(a: ArrayLike<number>, b: ArrayLike<number>): number;
  /** The tokens of a text, cut to what the model reads. */
  tokenize(text: string): number[];
  /** Ends it, once what was asked of it is done. */
  close(): Promise<void>;
}

/** The tokens of Hugging Face's tokenizers. */
export declare class Tokenizer {
  /** @param data the bytes of tokenizer.bin */
  constructor(data: Uint8Array);
  /** Tokens that a text is cut to; 0: to none. */
  get maxLength(): number;
  /**
   * The tokens of a text, or of a pair of texts, with the special tokens around them.
   * @throws {TokenizerError} if a text has lone surrogates, or cannot be cut so far
   */
  encode(text: string, pair?: string, maxLength?: number): { ids: number[]; typeIds: number[] };
}

/** What is wrong with a tokenizer's file, or with a text. */
export declare class TokenizerError extends Error {
  readonly code: "damaged" | "version" | "not-text" | "too-long" | "no-room" | "no-pair";
}

/** What is wrong with a file that was fetched. */
export declare class ModelFileError extends Error {}

/** Removes all files that were kept, of every version. */
export declare function clearModelFiles(): Promise<boolean>;
