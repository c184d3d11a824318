// The matrix product, written as WebAssembly by hand: the only code here that is not plain
// JavaScript, because four multiplications at a time are what makes the page fast.
//
//   product(M, N, K, A, lda, B, C, ldc, bias):   C = A B + bias
//
//     A     (M, K) weights, row by row; lda numbers from one row to the next
//     B     (K, N) cut into panels of 8 columns: panel 0 is (K, 8), then panel 1, ...
//     C     (M, N) result, row by row; ldc numbers from one row to the next
//     bias  (M,) added to each row; 0 for none
//
//   M and K are multiples of 4, N of 8. Addresses are in bytes. Each turn of the innermost loop
//   keeps a tile of 4 x 8 results in eight registers of four numbers.
//
// `kernelBytes` spells the module's bytes (WebAssembly core specification, chapter 5), so nothing
// has to be assembled beforehand.

export const ROWS = 4;    // rows of a tile; M is a multiple of it
export const COLUMNS = 8; // columns of a tile, and of a panel of B
const VECTORS = COLUMNS / 4;
const UNROLL = 4;         // steps along K in one turn of the loop; K is a multiple of it

// Types and instructions (specification, section 5.4 and appendix).
const I32 = 0x7f, V128 = 0x7b, NOTHING = 0x40;
const LOOP = 0x03, IF = 0x04, ELSE = 0x05, END = 0x0b, BR_IF = 0x0d;
const LESS = 0x48, ADD = 0x6a, MULTIPLY = 0x6c, SHIFT_LEFT = 0x74;
const SIMD = 0xfd, LOAD = 0x00, LOAD_SPLAT = 0x09, STORE = 0x0b, CONST = 0x0c;
const F32X4_ADD = 0xe4, F32X4_MULTIPLY = 0xe6, F32X4_RELAXED_MADD = 0x105;

/** An unsigned number in LEB128: seven bits a byte, the lowest first. */
function unsigned(n) {
  return n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)];
}

/** A small signed number in LEB128, for `i32.const`. */
function signed(n) {
  return n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...signed(n >> 7)];
}

const get = (local) => [0x20, ...unsigned(local)];
const set = (local, ...value) => [...value.flat(), 0x21, ...unsigned(local)];
const constant = (n) => [0x41, ...signed(n)];
const sum = (...terms) => terms.reduce((a, b) => [...a, ...b, ADD]);
const times = (a, b) => [...a, ...b, MULTIPLY];
const times4 = (a) => [...a, ...constant(2), SHIFT_LEFT]; // numbers to bytes
const simd = (code) => [SIMD, ...unsigned(code)];
const load = (address, offset) => [...address, ...simd(LOAD), 2, ...unsigned(offset)];
const splat = (address, offset) => [...address, ...simd(LOAD_SPLAT), 2, ...unsigned(offset)];
const store = (address, value, offset) =>
  [...address, ...value, ...simd(STORE), 2, ...unsigned(offset)];
const ZEROS = [...simd(CONST), ...Array(16).fill(0)];
/** Runs at least once, and again while `condition` is true. */
const repeat = (condition, ...body) =>
  [LOOP, NOTHING, ...body.flat(), ...condition, BR_IF, 0, END];
const below = (a, b) => [...a, ...b, LESS];

/** The body of `product`. Locals 0 to 8 are its arguments. */
function body(fused) {
  const [M, N, K, A, lda, B, C, ldc, bias] = Array(9).keys();
  let next = 9;
  const some = (count) => Array.from({ length: count }, () => next++);
  const rows = some(ROWS); // address of the next weight in each row of the tile
  const [m, n, k, panel, b] = some(5);
  const integers = next - 9;
  const tile = Array.from({ length: ROWS }, () => some(VECTORS));
  const columns = some(VECTORS);
  const [weight] = some(1);

  // c + a * b, in one rounding where the machine has such an instruction
  const multiplyAdd = (a, b, c) => (fused
    ? [...a, ...b, ...c, ...simd(F32X4_RELAXED_MADD)]
    : [...c, ...a, ...b, ...simd(F32X4_MULTIPLY), ...simd(F32X4_ADD)]);

  const start = [];
  const finish = [];
  tile.forEach((registers, i) => {
    const row = sum(get(m), constant(i));
    start.push(...set(rows[i], sum(get(A), times4(times(row, get(lda))))));
    registers.forEach((register, j) => {
      const biased = splat(sum(get(bias), times4(get(m))), 4 * i);
      start.push(...set(register, [...get(bias), IF, V128, ...biased, ELSE, ...ZEROS, END]));
      const address = sum(get(C), times4(sum(times(row, get(ldc)), get(n))));
      finish.push(...store(address, get(register), 16 * j));
    });
  });

  const inner = [];
  for (let u = 0; u < UNROLL; u++) {
    columns.forEach((register, j) => {
      inner.push(...set(register, load(get(b), 4 * COLUMNS * u + 16 * j)));
    });
    tile.forEach((registers, i) => {
      inner.push(...set(weight, splat(get(rows[i]), 4 * u)));
      registers.forEach((register, j) => {
        inner.push(...set(register, multiplyAdd(get(weight), get(columns[j]), get(register))));
      });
    });
  }
  const move = (local, by) => set(local, sum(get(local), constant(by)));
  inner.push(...move(b, 4 * COLUMNS * UNROLL));
  rows.forEach((row) => inner.push(...move(row, 4 * UNROLL)));
  inner.push(...move(k, UNROLL));

  const code = [
    ...repeat(below(get(m), get(M)),
      set(n, constant(0)),
      set(panel, get(B)),
      repeat(below(get(n), get(N)),
        start, set(b, get(panel)), set(k, constant(0)),
        repeat(below(get(k), get(K)), inner),
        finish,
        set(panel, sum(get(panel), times(get(K), constant(4 * COLUMNS)))),
        move(n, COLUMNS)),
      move(m, ROWS)),
  ];
  const locals = [2, ...unsigned(integers), I32, ...unsigned(next - 9 - integers), V128];
  return [...locals, ...code, END];
}

const text = (name) => [name.length, ...Array.from(name, (sign) => sign.charCodeAt(0))];
const section = (number, ...content) => {
  const bytes = content.flat();
  return [number, ...unsigned(bytes.length), ...bytes];
};

/** The bytes of a module that imports `env.memory` and exports `product`. */
export function kernelBytes(fused) {
  const code = body(fused);
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,                               // "\0asm", version 1
    ...section(1, [1, 0x60, 9, ...Array(9).fill(I32), 0]),         // one type: nine i32 -> nothing
    ...section(2, [1, ...text("env"), ...text("memory"), 2, 0, 1]), // a memory of a page or more
    ...section(3, [1, 0]),                                         // one function of that type
    ...section(7, [1, ...text("product"), 0, 0]),
    ...section(10, [1, ...unsigned(code.length), ...code]),
  ]);
}

/**
 * `product` on a memory, with fused multiply-add where the browser has it.
 *
 * Throws an Error with a sentence where there is no WebAssembly or no SIMD.
 */
export function makeProduct(memory) {
  if (typeof WebAssembly === "undefined") {
    throw new Error("This browser has no WebAssembly, or it is switched off, so nothing can be "
      + "computed here. A browser of 2023 or newer has it.");
  }
  const bytes = [kernelBytes(true), kernelBytes(false)].find((b) => WebAssembly.validate(b));
  if (!bytes) {
    throw new Error("This browser's WebAssembly lacks SIMD instructions. A browser of 2023 or "
      + "newer has them.");
  }
  const module = new WebAssembly.Module(bytes);
  return new WebAssembly.Instance(module, { env: { memory } }).exports.product;
}
