// SPDX-License-Identifier: Apache-2.0
// Arrays as messages hold them: docs/worker-protocol.md, ARRAY.

/** By numpy's name of a type, the array that holds its values: 16-bit floats as their bits. */
const TYPES = {
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  float16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
  bool: Uint8Array,
};

const CHUNK = 1 << 15; // what a call takes as its arguments

/**
 * The values of an array.
 * @param {{ dtype: string, shape: number[], data: string }} array
 */
export function decodeArray({ dtype, shape, data }) {
  if (!Object.hasOwn(TYPES, dtype)) {
    throw new TypeError(`type ${JSON.stringify(dtype)} cannot be sent`);
  }
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  const values = new TYPES[dtype](bytes.buffer);
  const size = shape.reduce((product, axis) => product * axis, 1);
  if (values.length !== size) {
    throw new RangeError(`${values.length} values for the shape ${JSON.stringify(shape)}`);
  }
  return values;
}

/**
 * An array as a message holds it.
 * @param {ArrayBufferView} values
 * @param {string} dtype numpy's name of their type
 * @param {readonly number[]} shape
 */
export function encodeArray(values, dtype, shape) {
  if (!Object.hasOwn(TYPES, dtype)) {
    throw new TypeError(`type ${JSON.stringify(dtype)} cannot be sent`);
  }
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += CHUNK) {
    text += String.fromCharCode(...bytes.subarray(i, i + CHUNK));
  }
  return { dtype, shape: [...shape], data: btoa(text) };
}
