// The picture on its way: noise, every step, what the network sees and says there, and where it
// looks.

import { button, figure, h } from "./dom.js";
import { paint, paintPlanes, paintVeil } from "./pictures.js";
import { shownSteps } from "./studio.js";

const byId = (id) => document.getElementById(id);
const FRAME = 140; // milliseconds of a step when it is played

export class Stage {
  constructor(studio) {
    this.studio = studio;
    this.steps = []; // {step, t, x, x0, epsilon, ..., pixels: {x, x0, negative, positive}}
    this.at = 0;
    this.onFinished = () => {}; // an experiment that begins where the drawing ended
    this.word = null; // {text, tokens}: what the veil shows
    this.build();
  }

  build() {
    this.big = h("canvas", { role: "img", "aria-label": "The picture: nothing yet", width: 64,
      height: 64, class: "empty" });
    this.veil = h("canvas", { class: "veil", "aria-hidden": "true" });
    byId("big").append(this.big, this.veil);
    this.play = button("▶ Play", () => this.toggle(), { disabled: true });
    this.scrub = h("input", { type: "range", min: 0, max: 25, value: 0, disabled: true,
      "aria-label": "Step" });
    this.scrub.addEventListener("input", () => { this.pause(); this.show(Number(this.scrub.value)); });
    this.where = h("p");
    this.about = h("p", { role: "status" });
    byId("player").append(this.play, this.scrub, this.where, this.about);
    const names = [
      ["predicted", "Predicted picture", "What the U-Net thinks will come out. Lesson 02"],
      ["noise", "Predicted noise", "What it wants to take away, four channels of latents. Lesson 03"],
      ["negative", "Without the words", "What it would predict from the negative prompt. Lesson 08"],
      ["positive", "With the words", "What it would predict from the prompt alone. Lesson 08"],
    ];
    this.tiles = {};
    for (const [key, name, words] of names) {
      this.tiles[key] = figure(name, words);
      byId("tiles").append(this.tiles[key].el);
    }
  }

  /** Draw with the present settings, live. Returns the finished {latents, pixels} or null. */
  async draw() {
    const { settings } = this.studio, wanted = shownSteps(settings.steps);
    this.pause();
    this.steps = [];
    this.count = settings.steps;
    this.scrub.max = settings.steps;
    this.scrub.disabled = this.play.disabled = true;
    this.makeStrip(wanted);
    const done = await this.studio.draw({ decode: wanted, watch: true }, (step) => {
      this.steps[step.step] = { ...step, pixels: step.pixels ?? {} };
      if (!step.pixels) return;
      const thumb = this.thumbs.get(step.step);
      paint(thumb.firstChild, step.pixels.x, `step ${step.step}`);
      thumb.disabled = false;
      this.show(step.step, false);
    });
    if (!done) return null;
    this.scrub.disabled = this.play.disabled = false;
    this.onFinished();
    await this.show(settings.steps);
    return done;
  }

  makeStrip(numbers) {
    this.thumbs = new Map(numbers.map((number) => [number, h("button", { type: "button",
      disabled: true, "aria-label": `Step ${number}`, onclick: () => {
        this.pause();
        this.show(number);
      } }, h("canvas", { class: "empty", width: 64, height: 64 }),
    h("span", { text: number, "aria-hidden": "true" }))]));
    byId("strip").replaceChildren(...this.thumbs.values());
  }

  /** Show a step; what was not decoded yet is asked for, unless a drawing runs. */
  async show(number, complete = true) {
    const step = this.steps[number];
    if (!step) return;
    this.at = number;
    this.scrub.value = number;
    this.where.textContent = `Step ${number} of ${this.count}: ${number === this.count
      ? "the finished picture" : number === 0 ? `pure noise, decoded (t = ${step.t})`
        : `what is left of the noise, decoded (t = ${step.t})`}`;
    this.scrub.setAttribute("aria-valuetext", this.where.textContent);
    for (const [key, thumb] of this.thumbs) {
      thumb.setAttribute("aria-pressed", String(key === number));
    }
    this.paintStep(step);
    if (complete) {
      await this.fill(step);
      if (this.at === number && this.steps[number] === step) this.paintStep(step);
    }
  }

  /** Decode what of a step is not decoded yet. */
  async fill(step) {
    const latents = { x: step.x, x0: step.x0, negative: step.x0Negative,
      positive: step.x0Positive };
    const missing = Object.keys(latents).filter((key) => latents[key] && !step.pixels[key]);
    if (!missing.length) return;
    try {
      const decoded = await this.studio.decode(missing.map((key) => latents[key]));
      missing.forEach((key, i) => (step.pixels[key] = decoded[i]));
    } catch {
      // the engine was lost, and has said so
    }
  }

  paintStep(step) {
    const { tiles } = this, { side } = this.studio.model, of = `step ${step.step}`;
    if (step.pixels.x) paint(this.big, step.pixels.x, `The picture at ${of} of ${this.count}`);
    this.paintTile(tiles.predicted, step.pixels.x0, of);
    this.paintTile(tiles.negative, step.pixels.negative, of);
    this.paintTile(tiles.positive, step.pixels.positive, of);
    if (step.epsilon) paintPlanes(tiles.noise.canvas, step.epsilon, side, `Predicted noise, ${of}`);
    else this.paintTile(tiles.noise, null, of);
    this.paintVeil(step);
  }

  paintTile({ canvas, title }, pixels, of) {
    if (pixels) return paint(canvas, pixels, `${title.textContent}, ${of}`);
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    canvas.classList.add("empty");
    canvas.setAttribute("aria-label", `${title.textContent}: not at ${of}`);
    return undefined;
  }

  // --- words -----------------------------------------------------------------------------------

  /** Show where the network looks for a word {text, tokens} of the prompt; null shows all. */
  lookFor(word) {
    this.word = word;
    if (this.steps[this.at]) this.paintVeil(this.steps[this.at]);
  }

  /** Where the network looks for the word at this step: the sum over its tokens. */
  paintVeil(step) {
    const map = this.word && wordMap(step, this.word.tokens);
    this.veil.hidden = !map;
    this.about.textContent = map
      ? `Bright: where the U-Net looks for “${this.word.text}” at this step. Lesson 05` : "";
    if (map) paintVeil(this.veil, map.values, map.side);
  }

  // --- play ------------------------------------------------------------------------------------

  toggle() {
    if (this.timer) this.pause();
    else this.start();
  }

  async start() {
    if (this.at >= this.count) await this.show(0);
    this.play.textContent = "❚❚ Pause";
    const tick = async () => {
      const began = performance.now(), next = this.at + 1;
      if (next > this.count || !this.steps[next]) return this.pause();
      await this.show(next);
      if (this.timer) this.timer = setTimeout(tick, Math.max(0, FRAME + began - performance.now()));
      return undefined;
    };
    this.timer = setTimeout(tick, FRAME);
  }

  pause() {
    clearTimeout(this.timer);
    this.timer = null;
    this.play.textContent = "▶ Play";
  }
}

/** {side, values (side, side)} of a step's largest maps: the attention that some tokens get. */
export function wordMap(step, tokens) {
  const sides = Object.keys(step.maps ?? {}).map(Number);
  if (!sides.length) return null;
  const side = Math.max(...sides), map = step.maps[side], length = map.length / side ** 2;
  const values = Array.from({ length: side ** 2 }, (_, place) =>
    tokens.reduce((sum, token) => sum + map[place * length + token], 0));
  return { side, values };
}
