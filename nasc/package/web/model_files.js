// SPDX-License-Identifier: Apache-2.0
// Fetches the files of a model: bounded by their size, held to their SHA-256, kept in the Cache API,
// and taken up again where a connection or a page ended.

const CACHE = "nasc-encoder";
const PART_BYTES = 4 << 20;
const MAX_ATTEMPTS = 5;
const FIRST_WAIT_MS = 200;

/**
 * @typedef {object} ModelFile
 * @property {string} name
 * @property {number} size in bytes
 * @property {string} sha256 in hexadecimal
 */

/**
 * @typedef {object} FetchOptions
 * @property {boolean} [cache] whether files are kept for the next time; true unless said otherwise
 * @property {AbortSignal} [signal]
 * @property {(progress: { file: string, loaded: number, total: number, cached: boolean }) => void}
 *   [onProgress]
 */

/** What is wrong with a file that was fetched. */
export class ModelFileError extends Error {
  /**
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(message, options) {
    super(message, options);
    this.name = "ModelFileError";
  }
}

/** A failure that another attempt may get over. */
class Passing extends Error {}

/** Removes all files that were kept. */
export async function clearModelFiles() {
  return (await globalThis.caches?.delete(CACHE)) ?? false;
}

/**
 * The bytes of a file, which are those that were packaged.
 * @param {URL} base the folder
 * @param {ModelFile} file
 * @param {FetchOptions} [options]
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {ModelFileError} if it cannot be had, or is another one
 */
export async function fetchModelFile(base, file, options = {}) {
  if (!globalThis.crypto?.subtle) {
    throw new ModelFileError(
      "this page cannot check what it loads: serve it by https, or from localhost",
    );
  }
  const url = new URL(file.name, base);
  const store = await Store.open(url, file, options.cache ?? true);
  const kept = await store.whole();
  if (kept && (await isFile(kept, file))) {
    options.onProgress?.({ file: file.name, loaded: file.size, total: file.size, cached: true });
    return kept;
  }
  const download = new Download(url, file, options, store);
  await download.resume();
  const resumed = download.loaded > 0;
  await download.run();
  if (resumed && !(await isFile(download.data, file))) {
    await store.dropParts(); // of a file that was another one when they came
    download.loaded = 0;
    await download.run();
  }
  if (!(await isFile(download.data, file))) {
    await store.dropParts();
    throw new ModelFileError(
      `${url} is not the file of this package: its SHA-256 is not ${file.sha256}. ` +
        "Upload the package's own files, all of one build",
    );
  }
  await store.keep(download.data);
  return download.data;
}

/**
 * @param {Uint8Array<ArrayBuffer>} data
 * @param {ModelFile} file
 */
async function isFile(data, file) {
  if (data.length !== file.size) {
    return false;
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === file.sha256;
}

/** What is kept of a file: all of it, or its first parts. Without a cache nothing is. */
class Store {
  /**
   * @param {Cache | undefined} cache
   * @param {URL} url
   * @param {ModelFile} file
   */
  constructor(cache, url, file) {
    this.cache = cache;
    this.key = new URL(url);
    this.key.searchParams.set("nasc-sha256", file.sha256);
    this.size = file.size;
  }

  /**
   * @param {URL} url
   * @param {ModelFile} file
   * @param {boolean} wanted
   */
  static async open(url, file, wanted) {
    const isWeb = url.protocol === "https:" || url.protocol === "http:";
    const cache =
      wanted && isWeb && globalThis.caches
        ? await globalThis.caches.open(CACHE).catch(() => undefined)
        : undefined;
    return new Store(cache, url, file);
  }

  /** @param {number} from */
  part(from) {
    const key = new URL(this.key);
    key.searchParams.set("nasc-from", String(from));
    return key.href;
  }

  /**
   * @param {string} key
   * @returns {Promise<Uint8Array<ArrayBuffer> | undefined>}
   */
  async read(key) {
    try {
      const found = await this.cache?.match(key);
      return found && new Uint8Array(await found.arrayBuffer());
    } catch {
      return undefined; // a cache that fails is none
    }
  }

  /**
   * @param {string} key
   * @param {Uint8Array<ArrayBuffer>} data
   */
  async write(key, data) {
    try {
      await this.cache?.put(key, new Response(data));
    } catch {
      this.cache = undefined; // it is full, or forbidden
    }
  }

  whole() {
    return this.read(this.key.href);
  }

  /** @param {Uint8Array<ArrayBuffer>} data */
  async keep(data) {
    await this.write(this.key.href, data);
    await this.dropParts();
  }

  async dropParts() {
    const keys = (await this.cache?.keys().catch(() => [])) ?? [];
    const own = keys.filter((request) => request.url.startsWith(`${this.key.href}&nasc-from=`));
    await Promise.all(own.map((request) => this.cache?.delete(request).catch(() => false)));
  }
}

/** A file on its way. */
class Download {
  /**
   * @param {URL} url
   * @param {ModelFile} file
   * @param {FetchOptions} options
   * @param {Store} store
   */
  constructor(url, file, options, store) {
    this.url = url;
    this.file = file;
    this.options = options;
    this.store = store;
    this.data = new Uint8Array(file.size);
    this.loaded = 0;
    this.stored = 0;
  }

  /** Takes what was kept of an earlier attempt. */
  async resume() {
    for (;;) {
      const part = await this.store.read(this.store.part(this.loaded));
      if (!part?.length || this.loaded + part.length > this.data.length) {
        break;
      }
      this.data.set(part, this.loaded);
      this.loaded += part.length;
    }
    this.stored = this.loaded;
  }

  /** Loads what is missing. */
  async run() {
    for (let attempt = 1; this.loaded < this.file.size; attempt++) {
      const before = this.loaded;
      try {
        await this.receive();
      } catch (error) {
        await this.keepPart();
        this.options.signal?.throwIfAborted();
        if (!(error instanceof Passing)) {
          throw error;
        }
        attempt = this.loaded > before ? 1 : attempt;
        if (attempt >= MAX_ATTEMPTS) {
          const why = error.message;
          throw new ModelFileError(`${this.url} cannot be loaded: ${why}`, { cause: error });
        }
        await new Promise((done) => setTimeout(done, FIRST_WAIT_MS * 2 ** (attempt - 1)));
      }
    }
  }

  async receive() {
    /** @type {RequestInit} */
    const init = { cache: "no-store", signal: this.options.signal };
    if (this.loaded > 0) {
      init.headers = { Range: `bytes=${this.loaded}-` };
    }
    const answer = await fetch(this.url, init).catch((/** @type {Error} */ error) => {
      throw new Passing(error.message, { cause: error });
    });
    this.place(answer);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
    for (;;) {
      const { done, value } = await reader.read().catch((/** @type {Error} */ error) => {
        throw new Passing(error.message, { cause: error });
      });
      if (done) {
        break;
      }
      if (this.loaded + value.length > this.file.size) {
        await reader.cancel().catch(() => undefined);
        throw new ModelFileError(`${this.url} is longer than the ${this.file.size} bytes of it`);
      }
      this.data.set(value, this.loaded);
      this.loaded += value.length;
      const { name, size } = this.file;
      this.options.onProgress?.({ file: name, loaded: this.loaded, total: size, cached: false });
      if (this.loaded - this.stored >= PART_BYTES) {
        await this.keepPart();
      }
    }
    if (this.loaded < this.file.size) {
      throw new Passing(`it ended after ${this.loaded} of ${this.file.size} bytes`);
    }
  }

  /**
   * Goes to where an answer begins.
   * @param {Response} answer
   */
  place(answer) {
    const { status } = answer;
    if (status === 206 && this.loaded > 0) {
      const range = answer.headers.get("Content-Range"); // servers may hide it from other origins
      if (range === null || range.startsWith(`bytes ${this.loaded}-`)) {
        return;
      }
    }
    this.loaded = this.stored = 0;
    if (status === 206 || status === 416) {
      throw new Passing(`the server gave another part than was asked for (${status})`);
    }
    if (status === 408 || status === 429 || status >= 500) {
      throw new Passing(`the server answered ${status}`);
    }
    if (!answer.ok || !answer.body) {
      throw new ModelFileError(`${this.url} cannot be loaded: the server answered ${status}`);
    }
  }

  /** Keeps what came since the last part. */
  async keepPart() {
    if (this.loaded > this.stored && this.loaded < this.file.size) {
      const part = this.data.slice(this.stored, this.loaded);
      await this.store.write(this.store.part(this.stored), part);
      this.stored = this.loaded;
    }
  }
}
