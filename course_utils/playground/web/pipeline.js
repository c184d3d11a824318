// From a prompt to a picture, in one loop that you can read: `Pipeline.steps`. Lesson 07; the twin
// in Python is pipeline.py.
//
//   code        paper    shape             meaning
//   states      tau(y)   (B, D, L)         the prompt, as the text encoder reads it
//   step.x      z_t      (B, 4, h, w)      noisy latents on their way
//   pixels      D(z)     (B, 3, 8h, 8w)    the finished pictures, in [-1, 1]

import { combine, halves } from "./guidance.js";
import { Machine } from "./machine.js";
import { Generator } from "./noise.js";
import { toEpsilon, toX0 } from "./predictions.js";
import { SAMPLERS } from "./samplers.js";
import { NoiseSchedule } from "./schedule.js";
import { TextModel } from "./text_encoder.js";
import { Tokenizer } from "./tokenizer.js";
import { NOTHING_OFF, UNet } from "./unet.js";
import { Decoder } from "./vae.js";
import { readSafetensors } from "./weights.js";

/** The files of a model's folder, in diffusers' layout. */
export const CONFIGS = {
  unet: "unet/config.json",
  vae: "vae/config.json",
  text: "text_encoder/config.json",
  schedule: "scheduler/scheduler_config.json",
  vocab: "tokenizer/vocab.json",
};
export const MERGES = "tokenizer/merges.txt";
export const WEIGHTS = {
  unet: "unet/diffusion_pytorch_model.safetensors",
  vae: "vae/diffusion_pytorch_model.safetensors",
  text: "text_encoder/model.safetensors",
};

export class Pipeline {
  /**
   * files: path -> parsed JSON for CONFIGS, text for MERGES, ArrayBuffer for WEIGHTS. Throws an
   * Error with a sentence where something is missing, damaged, or of a kind not built here.
   */
  constructor(files) {
    const part = (Kind, name) => new Kind(this.machine, files[CONFIGS[name]],
      readSafetensors(files[WEIGHTS[name]], WEIGHTS[name]));
    this.machine = new Machine();
    this.text = part(TextModel, "text");
    this.unet = part(UNet, "unet");
    this.vae = part(Decoder, "vae");
    this.schedule = new NoiseSchedule(files[CONFIGS.schedule]);
    this.tokenizer = new Tokenizer(files[CONFIGS.vocab], files[MERGES], this.text.length);
    const { hidden_size: width } = this.text.config, { cross_attention_dim } = this.unet.config;
    if (width !== cross_attention_dim) {
      throw new Error(`The parts do not fit together: text_encoder gives states of width ${width},`
        + ` unet takes ${cross_attention_dim}.`);
    }
  }

  /** Numbers in the latents of one picture. */
  get count() {
    return this.unet.config.in_channels * this.unet.config.sample_size ** 2;
  }

  /** Texts -> text states (B, D, L), L rounded up to whole panels. */
  encode(texts) {
    const m = this.machine, before = m.top;
    const states = m.get(this.text.forward(texts.map((text) => this.tokenizer.row(text))));
    m.top = before;
    return states;
  }

  /**
   * Walk from noise to latents, all pictures side by side.
   *
   *   positive, negative   text states (B, D, L) of the prompts and of what to avoid
   *   seeds                B whole numbers; each picture has a generator of its own
   *   count, guidance      steps and guidance scale
   *   sampler              a name in SAMPLERS
   *   x, start             to resume: latents (B, 4, h, w) at step `start`
   *   off                  parts of the U-Net that are switched off
   *   watch                also yield the attention maps and both guidance halves
   *
   * Yields {step, t, x, x0}, and after a prediction, of the noisy x before it: epsilon, the
   * predicted noise; with `watch` also x0Negative and x0Positive, what each half alone would have
   * predicted, and maps: side -> (B, P, L).
   */
  * steps({ positive, negative, seeds, count, guidance, sampler, x = null, start = 0,
    off = NOTHING_OFF, watch = false }) {
    const m = this.machine, before = m.top, B = seeds.length, n = this.count;
    const generators = seeds.map((seed) => new Generator(seed));
    const freshNoise = () => concatenate(generators.map((generator) => generator.randn(n)));
    const noise = freshNoise(); // drawn in any case: what follows in the generator must not change
    const need = halves(guidance);
    const rows = [need.negative && negative, need.positive && positive].filter(Boolean);
    const words = this.words(concatenate(rows), rows.length * B);
    let seen = {};

    const predict = (x, t) => {
      const maps = watch ? {} : null;
      const both = this.unet.forward(concatenate(rows.map(() => x)), t, words, { off, maps });
      const [first, second] = [both.slice(0, B * n), both.slice(B * n)];
      const output = rows.length === 2 ? combine(second, first, guidance) : first;
      const here = this.schedule.alphaBar[t];
      const signs = [x, Math.sqrt(here), Math.sqrt(1 - here), this.schedule.predictionType];
      seen = { epsilon: toEpsilon(output, ...signs) };
      if (watch) {
        seen.x0Negative = need.negative ? toX0(first, ...signs) : null;
        seen.x0Positive = need.positive ? toX0(need.negative ? second : first, ...signs) : null;
        seen.maps = need.positive ? lastRows(maps, 1 / rows.length) : {};
      }
      return output;
    };
    try {
      const walk = SAMPLERS[sampler](predict, x ?? noise, this.schedule, count,
        { start, freshNoise });
      for (const step of walk) yield { ...step, ...seen };
    } finally {
      m.top = before;
    }
  }

  /** Text states (B, D, L) as the U-Net's cross-attention remembers them. */
  words(states, B) {
    const D = this.text.config.hidden_size, L = states.length / B / D;
    const map = this.machine.put(states, D, B, 1, L);
    return { memory: this.unet.remember(map), length: this.text.length };
  }

  /** Latents (B, 4, h, w) -> pixels (B, 3, 8h, 8w) in [-1, 1]. */
  decode(latents) {
    return this.vae.forward(latents, latents.length / this.count, this.unet.config.sample_size);
  }
}

/** Several rows of numbers, one after the other. */
export function concatenate(parts) {
  const whole = new Float32Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Of each map (rows, P, L), the last `share` of its rows: those with the prompt. */
function lastRows(maps, share) {
  return Object.fromEntries(Object.entries(maps).map(([side, map]) =>
    [side, map.slice(map.length * (1 - share))]));
}

/** A way from noise a to noise b (share from 0 to 1) that stays as long as noise is. */
export function slerp(a, b, share) {
  const dot = (x, y) => x.reduce((total, number, i) => total + number * y[i], 0);
  const angle = Math.acos(Math.max(-1, Math.min(1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))));
  if (angle < 1e-4) return lerp(a, b, share);
  const [from, to] = [Math.sin((1 - share) * angle), Math.sin(share * angle)];
  return a.map((number, i) => (from * number + to * b[i]) / Math.sin(angle));
}

/** A straight way from a to b. */
export function lerp(a, b, share) {
  return a.map((number, i) => number + share * (b[i] - number));
}
