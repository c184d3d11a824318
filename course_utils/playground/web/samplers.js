// From noise to picture: four ways to walk, as generators that yield every step.
//
//   predict(x, t)   the denoiser: noisy numbers and a timestep -> its output, of x's shape
//   x               x_T to start from, or x at step `start`
//   freshNoise()    standard normal numbers of x's shape, for the sampler that adds noise
//
// Each yields {step, t, x, x0}: first the noise with x0 = null, then once a prediction. The same
// loops stand in samplers/loops.py; lesson 04 builds them.

import { toEpsilon, toX0 } from "./predictions.js";

/** Euler's method, DDIM, DDPM and DPM-Solver++(2M), by the names that `course draw` uses. */
export const SAMPLERS = { "dpm++2m": dpmSolver, ddim, euler, ddpm };

/** Two rows of numbers, weighed and added. */
const mix = (a, x, b, y) => x.map((number, i) => a * number + b * y[i]);

/** Ancestral sampling (Ho et al. 2020, alg. 2; equations 6 and 7). */
export function* ddpm(predict, x, schedule, count, { start = 0, freshNoise }) {
  const times = schedule.timesteps(count), table = schedule.alphaBar;
  yield { step: start, t: times[start], x, x0: null };
  for (let i = start; i < count; i++) {
    const t = times[i], here = table[t], next = i + 1 < count ? table[times[i + 1]] : 1;
    const output = predict(x, t);
    const x0 = toX0(output, x, Math.sqrt(here), Math.sqrt(1 - here), schedule.predictionType);
    const alpha = here / next, beta = 1 - alpha;
    x = mix(Math.sqrt(next) * beta / (1 - here), x0,
      Math.sqrt(alpha) * (1 - next) / (1 - here), x);
    if (t > 0) { // beta-tilde_t, the smaller of the two variances of section 3.2
      const variance = Math.max((1 - next) / (1 - here) * beta, 1e-20);
      x = mix(1, x, Math.sqrt(variance), freshNoise());
    }
    yield { step: i + 1, t: times[i + 1] ?? 0, x, x0 };
  }
}

/** Deterministic, in few steps (Song et al. 2021, eq. 12 with eta = 0). */
export function* ddim(predict, x, schedule, count, { start = 0 }) {
  const times = schedule.timesteps(count), table = schedule.alphaBar;
  const stride = Math.floor(schedule.T / count), type = schedule.predictionType;
  const clean = schedule.endsClean ? 1 : table[0];
  yield { step: start, t: times[start], x, x0: null };
  for (let i = start; i < count; i++) {
    const t = times[i], here = table[t], next = t >= stride ? table[t - stride] : clean;
    const output = predict(x, t), alpha = Math.sqrt(here), sigma = Math.sqrt(1 - here);
    const x0 = toX0(output, x, alpha, sigma, type);
    const epsilon = toEpsilon(output, x, alpha, sigma, type);
    x = mix(Math.sqrt(next), x0, Math.sqrt(1 - next), epsilon);
    yield { step: i + 1, t: times[i + 1] ?? 0, x, x0 };
  }
}

/** Straight lines in the noise-to-signal ratio (Karras et al. 2022, alg. 1, lines 6 to 8). */
export function* euler(predict, x, schedule, count, { start = 0 }) {
  const times = schedule.timesteps(count), ratios = noiseToSignal(schedule, times);
  const size = ratios.map((ratio) => Math.hypot(ratio, 1)); // 1 / alpha_t
  // x_sigma = x / alpha_t. From pure noise the first x counts as all noise, as in diffusers.
  const first = schedule.trailing && start === 0 ? ratios[0] : size[start];
  let spread = x.map((number) => number * first);
  yield { step: start, t: times[start], x, x0: null };
  for (let i = start; i < count; i++) {
    const seen = spread.map((number) => number / size[i]);
    const output = predict(seen, times[i]);
    const x0 = toX0(output, seen, 1 / size[i], ratios[i] / size[i], schedule.predictionType);
    const move = ratios[i + 1] / ratios[i];
    spread = mix(move, spread, 1 - move, x0);
    yield { step: i + 1, t: times[i + 1] ?? 0,
      x: spread.map((number) => number / size[i + 1]), x0 };
  }
}

/** DPM-Solver++(2M), second order with one prediction a step (Lu et al. 2022b, alg. 2). */
export function* dpmSolver(predict, x, schedule, count, { start = 0 }) {
  const times = schedule.solverTimesteps(count), ratios = noiseToSignal(schedule, times);
  const lambda = ratios.map((ratio) => -Math.log(ratio)); // log(alpha_t / sigma_t)
  const alpha = ratios.map((ratio) => 1 / Math.hypot(ratio, 1));
  const sigma = ratios.map((ratio, i) => ratio * alpha[i]);
  let before = null;
  yield { step: start, t: times[start], x, x0: null };
  for (let i = start; i < count; i++) {
    const x0 = toX0(predict(x, times[i]), x, alpha[i], sigma[i], schedule.predictionType);
    const h = lambda[i + 1] - lambda[i]; // infinite at the last step, which so ends on x0
    const weight = alpha[i + 1] * (Math.exp(-h) - 1);
    let next = mix(sigma[i + 1] / sigma[i], x, -weight, x0);
    if (before && i + 1 < count) {
      const r = (lambda[i] - lambda[i - 1]) / h; // the last step's length over this one's
      const change = mix(1, x0, -1, before);
      next = mix(1, next, -0.5 * weight / r, change);
    }
    [x, before] = [next, x0];
    yield { step: i + 1, t: times[i + 1] ?? 0, x, x0 };
  }
}

/** Noise-to-signal ratio at each timestep, and 0 for the clean end. Where there is no signal,
 *  2**-24 stands for alpha-bar, as in diffusers. */
function noiseToSignal(schedule, times) {
  const ratio = (alphaBar) => Math.sqrt((1 - alphaBar) / alphaBar);
  return [...times.map((t) => ratio(schedule.alphaBar[t] || 2 ** -24)), 0];
}
