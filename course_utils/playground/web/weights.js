// Reads safetensors files into the machine's memory: a header in JSON, then the numbers.
//
//   8 bytes   length of the header, little-endian
//   header    {"name": {"dtype": "F16", "shape": [...], "data_offsets": [from, to]}, ...}
//   numbers   row by row
//
// Half precision (F16) and single (F32) are read, and I8: whole numbers from -127 to 127 with a
// factor for each row in a tensor `name.scale`, which is how one HTML file stays small.

import { ROWS } from "./kernel.js";
import { up } from "./machine.js";

/** The tensors of a file: name -> {dtype, shape, bytes}. Throws an Error for a damaged file. */
export function readSafetensors(buffer, file) {
  const damaged = (why) => new Error(`${file} is damaged or cut short (${why}). Load the page `
    + "again; if that does not help, its files were not copied whole.");
  if (buffer.byteLength < 8) throw damaged(`it has ${buffer.byteLength} bytes`);
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  if (length > buffer.byteLength - 8) throw damaged("its header does not fit into it");
  let header;
  try {
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  } catch {
    throw damaged("its header is not readable");
  }
  const tensors = {};
  delete header.__metadata__;
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    if (8 + length + to > buffer.byteLength) throw damaged(`${name} is not all there`);
    tensors[name] = { dtype, shape, bytes: new Uint8Array(buffer, 8 + length + from, to - from) };
  }
  return tensors;
}

/** A tensor's numbers as float32. */
export function toFloats({ dtype, shape, bytes }, scale) {
  const whole = bytes.slice().buffer; // a copy of its own, so that it begins where it may
  if (dtype === "F32") return new Float32Array(whole);
  if (dtype !== "F16" && !(dtype === "I8" && scale)) {
    throw new Error(`A tensor of type ${dtype} is not read here; expected F16 or F32.`);
  }
  const stored = dtype === "F16" ? new Uint16Array(whole) : new Int8Array(whole);
  const numbers = new Float32Array(stored.length);
  if (dtype === "F16") {
    for (let i = 0; i < stored.length; i++) numbers[i] = HALVES[stored[i]];
    return numbers;
  }
  const factors = toFloats(scale), row = stored.length / shape[0];
  for (let i = 0; i < stored.length; i++) numbers[i] = stored[i] * factors[(i / row) | 0];
  return numbers;
}

/**
 * Put tensors into the machine under prefix + name. A tensor of two dimensions or more becomes a
 * matrix (rows, columns), both multiples of 4 as the product needs them, with zeros around.
 */
export function loadWeights(machine, tensors, prefix, keep = () => true) {
  for (const [name, tensor] of Object.entries(tensors)) {
    if (name.endsWith(".scale") || !keep(name)) continue;
    const numbers = toFloats(tensor, tensors[`${name}.scale`]), { shape } = tensor;
    const row = shape.length > 1 ? numbers.length / shape[0] : 1;
    const rows = up(shape[0], ROWS), columns = row > 1 ? up(row) : 1;
    const at = machine.take(rows * columns);
    machine.floats.fill(0, at, at + rows * columns);
    const rowsAtOnce = columns === row ? shape[0] : 1; // without a gap all of them
    for (let r = 0; r < shape[0]; r += rowsAtOnce) {
      machine.floats.set(numbers.subarray(r * row, (r + rowsAtOnce) * row), at + r * columns);
    }
    machine.weights[prefix + name] = { at, shape, rows, columns };
  }
}

/** What each of the 65,536 half-precision numbers stands for (IEEE 754-2008, binary16). */
const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});
