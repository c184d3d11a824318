// The engine in a thread of its own, so that the page never freezes.
//
// A message {id, op, ...} is answered by {id, result} or {id, error}; a drawing also sends
// {id, step} on its way. Drawings are made one after another. Between two steps everything else is
// answered: a scrubbing hand need not wait for the picture.

import { READER, readFiles, WORDS } from "./files.js";
import { Lexicon } from "./lexicon.js";
import { concatenate, lerp, Pipeline, slerp } from "./pipeline.js";
import { Generator } from "./noise.js";
import { readPrompt } from "./reader.js";

let pipeline = null, taught = null, known = null;
const waiting = { quick: [], drawings: [] };
const stopped = new Set();
let busy = false;

const QUICK = {
  /** {source} -> what the page must know about the model. */
  async load({ id, source }) {
    pipeline = taught = known = null; // two models at once would not fit into a phone
    const files = await readFiles(source, (bytes, total) => postMessage({ id, bytes, total }));
    pipeline = new Pipeline(files);
    taught = files[WORDS];
    known = files[READER] && new Lexicon(files[READER]);
    const { unet, text, vae, schedule } = pipeline;
    const numbers = (prefix) => Object.entries(pipeline.machine.weights)
      .filter(([name]) => name.startsWith(prefix))
      .reduce((sum, [, { shape }]) => sum + shape.reduce((a, b) => a * b), 0);
    return {
      side: unet.config.sample_size, channels: unet.config.in_channels,
      pixels: unet.config.sample_size * 2 ** (vae.config.block_out_channels.length - 1),
      tokens: text.length, width: text.config.hidden_size, T: schedule.T,
      numbers: { text: numbers("text."), unet: numbers("unet."), vae: numbers("vae.") },
      isRead: known !== null, // whether prompts are read before they are drawn
      concepts: taught?.concepts.map(({ name }) => name) ?? [],
      styles: taught?.styles ?? [],
      backgrounds: taught?.kind === "scenes" ? [] : taught?.backgrounds ?? [], // those are places
      ...unet.parts(),
    };
  },

  /** {text, literal} -> {caption, said, notes, words}: how a prompt is read. */
  read({ text, literal }) {
    const { tokenizer } = pipeline, found = readPrompt(text, { known, taught, tokenizer }, literal);
    return { ...found, words: tokenizer.words(found.caption) };
  },

  /** {latents: (B, 4, h, w)} -> pixels (B, 3, 8h, 8w). */
  decode({ latents }) {
    return pipeline.decode(latents);
  },
};

/**
 * A text, or a point on the way between two: {from, to, share}. -> text states (1, D, L).
 */
function statesOf(text) {
  if (typeof text !== "string") {
    return lerp(statesOf(text.from), statesOf(text.to), text.share);
  }
  return pipeline.encode([text]);
}

/** A seed's noise, or a point on the way between two seeds' noises. */
function noiseOf(seed) {
  if (typeof seed === "number") return new Generator(seed).randn(pipeline.count);
  return slerp(noiseOf(seed.from), noiseOf(seed.to), seed.share);
}

/**
 * {prompts, negatives, seeds, ...} as `Pipeline.steps` takes them, a text or seed a picture; the
 * prompts are captions, nothing is read here.
 * `decode`: numbers of the steps whose x and x0 are sent as pixels, too.
 * Returns {latents, pixels} of the finished pictures; null if it was stopped.
 */
async function draw(ask) {
  const positive = concatenate(ask.prompts.map(statesOf));
  const negative = concatenate(ask.negatives.map(statesOf));
  const x = ask.x ?? concatenate(ask.seeds.map(noiseOf));
  const seeds = ask.seeds.map((seed) => seed.from ?? seed);
  let last = null;
  for (const step of pipeline.steps({ ...ask, positive, negative, x, seeds })) {
    if (ask.decode?.includes(step.step)) {
      const shown = [step.x, step.x0].filter(Boolean);
      const pixels = pipeline.decode(concatenate(shown)), size = pixels.length / shown.length;
      step.pixels = { x: pixels.slice(0, size), x0: step.x0 && pixels.slice(size) };
    }
    postMessage({ id: ask.id, step });
    last = step;
    await answerQuick();
    if (stopped.delete(ask.id)) return null;
  }
  if (!last.x.every(Number.isFinite)) {
    throw new Error(`The picture came out as not-a-number. Try a guidance below ${ask.guidance}.`);
  }
  return { latents: last.x, pixels: last.pixels?.x ?? pipeline.decode(last.x) };
}

/** Let messages in, and answer those that do not draw. */
async function answerQuick() {
  await new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => { port1.close(); resolve(); };
    port2.postMessage(null);
  });
  while (waiting.quick.length) await answer(waiting.quick.shift(), QUICK);
}

async function answer(ask, able) {
  try {
    if (!pipeline && ask.op !== "load") throw new Error("The model is not loaded.");
    postMessage({ id: ask.id, result: await able[ask.op](ask) });
  } catch (error) {
    postMessage({ id: ask.id, error: error.message });
  }
}

async function work() {
  if (busy) return;
  busy = true;
  for (;;) {
    await answerQuick();
    if (!waiting.drawings.length) break;
    const ask = waiting.drawings.shift();
    if (stopped.delete(ask.id)) postMessage({ id: ask.id, result: null });
    else await answer(ask, { draw });
  }
  busy = false;
}

self.onmessage = ({ data }) => {
  if (data.op === "stop") {
    stopped.add(data.drawing);
    return;
  }
  waiting[data.op === "draw" ? "drawings" : "quick"].push(data);
  work();
};
