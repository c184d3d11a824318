// How fast a picture drowns in noise: the table of alpha-bar, and the timesteps that are visited.
//
//   code          paper         meaning
//   alphaBar[t]   alpha-bar_t   share of the variance of x_t that is signal
//   t             t - 1         index 0 .. T - 1
//
// It reads diffusers' scheduler_config.json. The course builds it in lesson 01; its twin in Python
// is schedules.py, which computes in single precision where this computes in double.

import { expectFields, expectWhole } from "./config.js";

const FILE = "scheduler/scheduler_config.json";

export class NoiseSchedule {
  constructor(config) {
    expectWhole(config, ["num_train_timesteps"], FILE);
    expectFields(config, {
      beta_schedule: ["linear", "scaled_linear", "squaredcos_cap_v2"],
      prediction_type: ["epsilon", "sample", "v_prediction"],
      timestep_spacing: ["leading", "trailing", "linspace"],
      trained_betas: [null], clip_sample: [false], thresholding: [false],
    }, FILE);
    this.T = config.num_train_timesteps;
    this.predictionType = config.prediction_type ?? "epsilon";
    this.trailing = ["trailing", "linspace"].includes(config.timestep_spacing);
    this.endsClean = config.set_alpha_to_one ?? true;
    this.alphaBar = alphaBar(betas(config));
    if (config.rescale_betas_zero_snr) this.alphaBar = zeroTerminalSnr(this.alphaBar);
  }

  /** The timesteps that DDPM, DDIM and Euler visit, from noisy to clean (Lin et al. 2024). */
  timesteps(count) {
    if (this.trailing) {
      const stride = this.T - (this.T - this.T / count); // rounded as numpy's arange rounds it
      return Array.from({ length: count }, (_, i) => roundHalfEven(this.T - i * stride) - 1);
    }
    const stride = Math.floor(this.T / count); // one is added, as in Stable Diffusion's pipeline
    return Array.from({ length: count }, (_, i) => 1 + stride * (count - 1 - i));
  }

  /** Those of DPM-Solver++(2M), which splits T into one stride more where it leads. */
  solverTimesteps(count) {
    if (this.trailing) return this.timesteps(count);
    const stride = Math.floor(this.T / (count + 1));
    return Array.from({ length: count }, (_, i) => 1 + stride * (count - i));
  }
}

function betas({ beta_schedule: kind = "linear", beta_start: from = 1e-4, beta_end: to = 0.02,
  num_train_timesteps: T }) {
  const line = (a, b) => Array.from({ length: T }, (_, i) => a + (b - a) * i / (T - 1));
  if (kind === "linear") return line(from, to);                              // Ho et al. 2020
  if (kind === "scaled_linear") {                                            // Stable Diffusion
    return line(Math.sqrt(from), Math.sqrt(to)).map((root) => root ** 2);
  }
  const f = (u) => Math.cos((u + 0.008) / 1.008 * Math.PI / 2) ** 2;         // Nichol & Dhariwal
  return Array.from({ length: T }, (_, t) => Math.min(1 - f((t + 1) / T) / f(t / T), 0.999));
}

/** alpha-bar_t: the product of 1 - beta_s over all s up to t. */
function alphaBar(betas) {
  let product = 1;
  return betas.map((beta) => (product *= 1 - beta));
}

/** The same table, shifted so that its last timestep is pure noise (Lin et al. 2024, alg. 1). */
function zeroTerminalSnr(table) {
  const roots = table.map(Math.sqrt), first = roots[0], last = roots[roots.length - 1];
  return roots.map((root) => ((root - last) * first / (first - last)) ** 2);
}

/** Python's round: a half goes to the even neighbour. */
function roundHalfEven(x) {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 ? below + 1 : below;
}
