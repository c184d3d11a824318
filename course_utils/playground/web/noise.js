// Noise that depends on nothing but its seed: the same numbers as a CPU generator of torch gives,
// so that the same seed draws the same picture here and in Python.
//
// Source: Matsumoto and Nishimura 1998, "Mersenne Twister" (MT19937); Box and Muller 1958.

const N = 624, M = 397; // numbers of the twister's state, and the distance of its recurrence

export class Generator {
  /** seed: a whole number from 0 to 2**32 - 1, of which a CPU generator uses 32 bits. */
  constructor(seed) {
    this.state = new Uint32Array(N);
    this.state[0] = seed;
    for (let i = 1; i < N; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.next = N;
  }

  /** 32 random bits. */
  bits() {
    if (this.next === N) this.twist();
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  twist() {
    const s = this.state;
    for (let i = 0; i < N; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % N] & 0x7fffffff);
      s[i] = s[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  /**
   * Standard normal numbers, as `torch.randn`: uniform numbers of 24 bits, in groups of 16 of
   * which the first 8 become radii and the last 8 angles. `count` is a multiple of 16.
   */
  randn(count) {
    if (count % 16) throw new Error(`count is ${count}; expected a multiple of 16.`);
    const x = Float32Array.from({ length: count }, () => (this.bits() & 0xffffff) / 2 ** 24);
    for (let group = 0; group < count; group += 16) {
      for (let i = group; i < group + 8; i++) {
        const radius = Math.sqrt(-2 * Math.log(Math.fround(1 - x[i])));
        const angle = 2 * Math.PI * x[i + 8];
        x[i] = radius * Math.cos(angle);
        x[i + 8] = radius * Math.sin(angle);
      }
    }
    return x;
  }
}
