// The machine that the networks run on: one long row of numbers, and the few operations that a
// U-Net, a text encoder and a decoder are made of.
//
// A map {at, C, B, H, W} is a feature map of B pictures, in one piece that begins at `at`. Its
// order is (C, B, H, W): first all pictures' places of channel 0, then those of channel 1, so that
// a layer is one product of its weights with the whole batch. A sequence of L words or places is
// a map with H = 1, W = L. (torch's order is (B, C, H, W); `put` and `take` translate.)
//
// Memory is taken from the end and given back in one go: `scope(f)` runs f and forgets all that
// it took but the map that it returns, which is moved to the front.

import { COLUMNS, makeProduct } from "./kernel.js";

const PAGE = 65536;    // bytes of a WebAssembly page
const IN_CACHE = 2 ** 18; // numbers of a convolution's unrolled input that are made at a time

export const places = (x) => x.B * x.H * x.W;
export const size = (x) => x.C * places(x);
/** The next multiple of 4, or of `step`. */
export const up = (n, step = 4) => Math.ceil(n / step) * step;

export class Machine {
  constructor() {
    this.memory = new WebAssembly.Memory({ initial: 16, maximum: 65536 / 4 }); // at most 1 GiB
    this.product = makeProduct(this.memory);
    this.floats = new Float32Array(this.memory.buffer);
    this.top = 16;      // index 0 stands for "none"
    this.weights = {};  // name -> {at, shape, rows, columns}
    this.walks = new Map();
  }

  // --- memory ------------------------------------------------------------------------------

  /** Room for n numbers. Take `floats` anew afterwards: it changes when memory grows. */
  take(n) {
    const at = this.top;
    this.top += up(n, 16);
    const missing = this.top * 4 - this.memory.buffer.byteLength;
    if (missing > 0) {
      try {
        this.memory.grow(Math.ceil(missing / PAGE) + 64);
      } catch {
        throw new Error(`The browser gives this page no more than `
          + `${Math.round(this.memory.buffer.byteLength / 2 ** 20)} MB of memory; close other `
          + "tabs, or draw fewer pictures at once.");
      }
      this.floats = new Float32Array(this.memory.buffer);
    }
    return at;
  }

  /** Room for a map. A product writes whole tiles, so there is room for C rounded up. */
  map(C, B, H, W) {
    return { at: this.take(up(C) * B * H * W), C, B, H, W };
  }

  /** A map of the same shape as x. */
  like(x, C = x.C) {
    return this.map(C, x.B, x.H, x.W);
  }

  scope(work) {
    const before = this.top;
    const result = work();
    if (!result) {
      this.top = before;
      return result;
    }
    this.floats.copyWithin(before, result.at, result.at + size(result));
    this.top = before + up(size(result), 16);
    return { ...result, at: before };
  }

  /** Numbers in torch's order (B, C, H, W) as a map. */
  put(numbers, C, B, H, W) {
    const x = this.map(C, B, H, W), f = this.floats, P = H * W;
    for (let b = 0; b < B; b++) {
      for (let c = 0; c < C; c++) {
        f.set(numbers.subarray((b * C + c) * P, (b * C + c + 1) * P), x.at + (c * B + b) * P);
      }
    }
    return x;
  }

  /** A map as numbers in torch's order. */
  get(x) {
    const numbers = new Float32Array(size(x)), f = this.floats, P = x.H * x.W;
    for (let b = 0; b < x.B; b++) {
      for (let c = 0; c < x.C; c++) {
        const from = x.at + (c * x.B + b) * P;
        numbers.set(f.subarray(from, from + P), (b * x.C + c) * P);
      }
    }
    return numbers;
  }

  weight(name) {
    const found = this.weights[name];
    if (!found) throw new Error(`The weights lack ${name}; they do not fit their config.json.`);
    return found;
  }

  // --- layers that are products ------------------------------------------------------------

  /** Several linear layers of one input (a 1x1 convolution is one, too): (C, N) -> (D, N) each. */
  linears(names, x) {
    const N = places(x);
    const found = names.map((name) => this.weight(`${name}.weight`));
    const outs = found.map((w) => this.like(x, w.shape[0]));
    const before = this.top;
    const panels = this.pack(x.at, x.C, N, N);
    found.forEach((w, i) => {
      if (w.shape[1] !== x.C) {
        throw new Error(`${names[i]} takes ${w.shape[1]} channels, and ${x.C} come.`);
      }
      const bias = this.weights[`${names[i]}.bias`]?.at ?? 0;
      this.multiply(w.rows, N, w.columns, w.at, w.columns, panels, outs[i].at, N, bias);
    });
    this.top = before;
    return outs;
  }

  linear(name, x) {
    return this.linears([name], x)[0];
  }

  /**
   * A 3x3 convolution with padding 1. Every place is unrolled into the 9 C numbers that it looks
   * at; then the layer is one product. A band of places at a time, so that it stays in the cache.
   */
  conv(name, x, stride = 1) {
    const w = this.weight(`${name}.weight`), bias = this.weight(`${name}.bias`);
    const [D, C] = w.shape;
    if (C !== x.C) throw new Error(`${name} takes ${C} channels, and ${x.C} come.`);
    const out = this.map(D, x.B, x.H / stride, x.W / stride);
    const N = places(out), K = w.columns, before = this.top;
    const padded = this.frame(x);                              // (C, B, H + 2, W + 2)
    const band = Math.min(N, Math.max(COLUMNS, Math.floor(IN_CACHE / K / COLUMNS) * COLUMNS));
    const panels = this.take(K * band);
    const corner = this.corners(x, stride);                    // of each place's window, in padded
    const f = this.floats, row = x.W + 2, plane = x.B * (x.H + 2) * row;
    for (let first = 0; first < N; first += band) {
      const count = Math.min(band, N - first);
      for (let n = 0; n < count; n += COLUMNS) {
        unroll(f, padded, panels + n * K, corner.subarray(first + n), C, plane, row);
        f.fill(0, panels + n * K + 9 * C * COLUMNS, panels + (n + COLUMNS) * K);
      }
      this.multiply(w.rows, count, K, w.at, K, panels, out.at + first, N, bias.at);
    }
    this.top = before;
    return out;
  }

  /** C = A B + bias on places in `floats`; see kernel.js. */
  multiply(M, N, K, A, lda, B, C, ldc, bias) {
    this.product(M, N, K, 4 * A, lda, 4 * B, 4 * C, ldc, 4 * bias);
  }

  /** Rows (K, N), `stride` numbers apart, into panels of 8 columns for `product`. */
  pack(at, K, N, stride) {
    const height = up(K), panels = this.take(height * up(N, COLUMNS)), f = this.floats;
    for (let n = 0; n < N; n += COLUMNS) {
      let to = panels + n * height;
      for (let k = 0, from = at + n; k < K; k++, from += stride, to += COLUMNS) {
        for (let j = 0; j < COLUMNS; j++) f[to + j] = f[from + j];
      }
      f.fill(0, to, panels + (n + COLUMNS) * height);
    }
    return panels;
  }

  /** A copy with a border of zeros, one place wide. */
  frame(x) {
    const row = x.W + 2, at = this.take(x.C * x.B * (x.H + 2) * row), f = this.floats;
    f.fill(0, at, at + x.C * x.B * (x.H + 2) * row);
    for (let picture = 0; picture < x.C * x.B; picture++) {
      for (let y = 0; y < x.H; y++) {
        const from = x.at + (picture * x.H + y) * x.W;
        f.copyWithin(at + (picture * (x.H + 2) + y + 1) * row + 1, from, from + x.W);
      }
    }
    return at;
  }

  /** For each place of a convolution's result, where its window begins in the framed map. */
  corners({ B, H, W }, stride) {
    const key = `${B} ${H} ${W} ${stride}`;
    if (!this.walks.has(key)) {
      const found = [];
      for (let b = 0; b < B; b++) {
        for (let y = 0; y < H; y += stride) {
          for (let x = 0; x < W; x += stride) found.push((b * (H + 2) + y) * (W + 2) + x);
        }
      }
      this.walks.set(key, Int32Array.from(found));
    }
    return this.walks.get(key);
  }

  // --- normalisation -----------------------------------------------------------------------

  /** GroupNorm (Wu and He 2018), and SiLU after it where `bend` is true. */
  groupNorm(name, x, groups, eps, bend = false) {
    const gain = this.weight(`${name}.weight`).at, shift = this.weight(`${name}.bias`).at;
    const out = this.like(x), f = this.floats, P = x.H * x.W, N = places(x), width = x.C / groups;
    for (let b = 0; b < x.B; b++) {
      for (let first = 0; first < x.C; first += width) {
        let total = 0, squares = 0;
        for (let c = first; c < first + width; c++) {
          for (let i = x.at + c * N + b * P, end = i + P; i < end; i++) {
            total += f[i];
            squares += f[i] * f[i];
          }
        }
        const mean = total / (width * P), variance = squares / (width * P) - mean * mean;
        const scale = 1 / Math.sqrt(variance + eps);
        for (let c = first; c < first + width; c++) {
          const a = f[gain + c] * scale, d = f[shift + c] - mean * a, from = x.at + c * N + b * P;
          for (let i = from, to = out.at + c * N + b * P; i < from + P; i++, to++) {
            f[to] = bend ? silu(a * f[i] + d) : a * f[i] + d;
          }
        }
      }
    }
    return out;
  }

  /** LayerNorm over the channels of each place (Ba et al. 2016). */
  layerNorm(name, x, eps = 1e-5) {
    const gain = this.weight(`${name}.weight`).at, shift = this.weight(`${name}.bias`).at;
    const out = this.like(x), f = this.floats, N = places(x);
    const mean = new Float64Array(N), scale = new Float64Array(N);
    for (let c = 0, i = x.at; c < x.C; c++) {
      for (let n = 0; n < N; n++, i++) {
        mean[n] += f[i];
        scale[n] += f[i] * f[i];
      }
    }
    for (let n = 0; n < N; n++) {
      mean[n] /= x.C;
      scale[n] = 1 / Math.sqrt(scale[n] / x.C - mean[n] * mean[n] + eps);
    }
    for (let c = 0; c < x.C; c++) {
      const a = f[gain + c], d = f[shift + c];
      for (let n = 0; n < N; n++) {
        f[out.at + c * N + n] = (f[x.at + c * N + n] - mean[n]) * scale[n] * a + d;
      }
    }
    return out;
  }

  // --- attention -----------------------------------------------------------------------------

  /**
   * Multi-head attention, softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017, equation 1).
   *
   *   q        (C, B, 1, P) queries: C = heads * d
   *   k, v     (C, B, 1, S) keys and values
   *   seen     how many keys count; those after are padding
   *   causal   a place sees itself and what came before
   *   weights  a Float32Array (B, P, S) that the mean over heads is added to, if given
   *
   * Returns (C, B, 1, P), of q's shape.
   */
  attend(q, k, v, heads, { seen = places(k) / k.B, causal = false, weights = null } = {}) {
    const out = this.like(q), B = q.B, P = q.H * q.W, S = k.H * k.W, d = q.C / heads;
    const before = this.top;
    for (let b = 0; b < B; b++) {
      for (let head = 0; head < heads; head++) {
        this.top = before;
        const rows = this.transpose(q.at + head * d * B * P + b * P, d, P, B * P, d ** -0.5);
        const keys = this.pack(k.at + head * d * B * S + b * S, d, S, B * S);
        const scores = this.take(P * S);                                   // (P, S)
        this.multiply(P, S, d, rows, d, keys, scores, S, 0);
        this.softmax(scores, P, S, seen, causal);
        if (weights) {
          for (let i = 0; i < P * S; i++) {
            weights[b * P * S + i] += this.floats[scores + i] / heads;
          }
        }
        const shares = this.packTransposed(scores, P, S);                  // (S, P)
        const values = v.at + head * d * B * S + b * S;                    // (d, S)
        this.multiply(d, P, S, values, B * S, shares, out.at + head * d * B * P + b * P, B * P, 0);
      }
    }
    this.top = before;
    return out;
  }

  /** Each row of (P, S) to shares that sum to 1; what is not seen gets 0. */
  softmax(at, P, S, seen, causal) {
    const f = this.floats;
    for (let i = 0, row = at; i < P; i++, row += S) {
      const end = causal ? Math.min(seen, i + 1) : seen;
      let most = -Infinity, total = 0;
      for (let j = 0; j < end; j++) if (f[row + j] > most) most = f[row + j];
      for (let j = 0; j < end; j++) total += f[row + j] = Math.exp(f[row + j] - most);
      for (let j = 0, part = 1 / total; j < end; j++) f[row + j] *= part;
      f.fill(0, row + end, row + S);
    }
  }

  /** (d, P), rows `stride` apart -> (P, d), times `factor`. */
  transpose(at, d, P, stride, factor) {
    const to = this.take(P * d), f = this.floats;
    for (let c = 0; c < d; c++) {
      for (let i = 0; i < P; i++) f[to + i * d + c] = f[at + c * stride + i] * factor;
    }
    return to;
  }

  /** (P, S) -> its transpose (S, P) in panels of 8 columns. */
  packTransposed(at, P, S) {
    const to = this.take(P * S), f = this.floats;
    for (let i = 0; i < P; i++) {
      const panel = to + Math.floor(i / COLUMNS) * S * COLUMNS + (i % COLUMNS);
      for (let j = 0; j < S; j++) f[panel + j * COLUMNS] = f[at + i * S + j];
    }
    return to;
  }

  // --- small things --------------------------------------------------------------------------

  /** x + y, written into x. */
  add(x, y) {
    const f = this.floats;
    for (let i = 0, n = size(x); i < n; i++) f[x.at + i] += f[y.at + i];
    return x;
  }

  /** The channels of x, then those of y. */
  concatenate(x, y) {
    const out = this.like(x, x.C + y.C), f = this.floats;
    f.copyWithin(out.at, x.at, x.at + size(x));
    f.copyWithin(out.at + size(x), y.at, y.at + size(y));
    return out;
  }

  /** Each pixel becomes 2x2. */
  enlarge(x) {
    const out = this.map(x.C, x.B, 2 * x.H, 2 * x.W), f = this.floats;
    for (let row = 0; row < x.C * x.B * x.H; row++) {
      const from = x.at + row * x.W, to = out.at + 4 * row * x.W;
      for (let i = 0; i < x.W; i++) f[to + 2 * i] = f[to + 2 * i + 1] = f[from + i];
      f.copyWithin(to + 2 * x.W, to, to + 2 * x.W);
    }
    return out;
  }

  /** f(number) for every number of x, in place. */
  each(x, work) {
    const f = this.floats;
    for (let i = x.at, end = x.at + size(x); i < end; i++) f[i] = work(f[i]);
    return x;
  }
}

/**
 * One panel of a convolution's input: for 8 places, whose windows begin at `corner`, the 9 C
 * numbers that each looks at, (9 C, 8). The 8 are written out, because this is half of the time
 * that a convolution spends outside the product.
 */
function unroll(f, padded, to, corner, C, plane, row) {
  const [a, b, c, d, e, g, h, i] = corner;
  for (let channel = 0; channel < C; channel++) {
    for (let dy = 0; dy < 3; dy++) {
      let from = padded + channel * plane + dy * row;
      for (let dx = 0; dx < 3; dx++, from++, to += COLUMNS) {
        f[to] = f[from + a];
        f[to + 1] = f[from + b];
        f[to + 2] = f[from + c];
        f[to + 3] = f[from + d];
        f[to + 4] = f[from + e];
        f[to + 5] = f[from + g];
        f[to + 6] = f[from + h];
        f[to + 7] = f[from + i];
      }
    }
  }
}

// --- bends -------------------------------------------------------------------------------------

const REACH = 16, FINE = 1024; // a table from -16 to 16, 1024 numbers to 1

/**
 * A function from a table, straight lines between its numbers (they miss by at most 1e-7 here);
 * beyond the table from the formula. It takes a quarter of the formula's time.
 */
function tabulate(formula) {
  const table = Float64Array.from({ length: 2 * REACH * FINE + 2 }, (_, i) =>
    formula(i / FINE - REACH));
  return (x) => {
    const place = (x + REACH) * FINE, i = place | 0;
    if (!(place >= 0 && i < 2 * REACH * FINE)) return formula(x);
    return table[i] + (place - i) * (table[i + 1] - table[i]);
  };
}

/** Gauss's error function, to 1.5e-7 (Abramowitz and Stegun 1964, formula 7.1.26). */
export function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t
    + 0.254829592) * t;
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

export const silu = tabulate((x) => x / (1 + Math.exp(-x)));
export const gelu = tabulate((x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)));
export const quickGelu = tabulate((x) => x / (1 + Math.exp(-1.702 * x)));
