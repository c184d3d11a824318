// What the stage and the experiments share: the engine, the model, one drawing at a time, and the
// line that says what goes on.

import { cleanText } from "./settings.js";

const byId = (id) => document.getElementById(id);

export class Studio {
  constructor(engine) {
    this.engine = engine;
    this.model = null;    // what the worker said about it
    this.settings = null; // of the next drawing
    this.caption = "";    // what the model is given for the settings' prompt
    this.drawing = null;  // the promise of the one that runs
  }

  say(text) {
    byId("status").textContent = text;
  }

  /** For screen readers, which would not keep up with every step. */
  speak(text) {
    byId("spoken").textContent = text;
  }

  /** From 0 to 1; null hides the bar. */
  progress(share) {
    byId("progress").classList.toggle("still", share === null);
    if (share !== null) byId("progress").value = share;
  }

  /** Show what went wrong, and a button with a way on. */
  trouble(sentence, wayOn = null) {
    const el = byId("trouble");
    el.hidden = !sentence;
    el.textContent = sentence;
    if (wayOn) el.append(document.createElement("br"), wayOn);
  }

  /**
   * Draw pictures side by side, after the drawing that runs was stopped. prompts and the like are
   * lists, one entry a picture; what is left out comes from the settings. Prompts are captions:
   * what a person typed goes through `read` first.
   *
   * Returns {latents, pixels}, or null if another drawing took over.
   */
  async draw(what, onStep = () => {}) {
    this.stop();
    const { settings } = this, count = what.prompts?.length ?? what.seeds?.length ?? 1;
    const each = (value) => Array(count).fill(value);
    const ask = {
      prompts: each(this.caption), negatives: each(settings.negative),
      seeds: each(settings.seed), count: settings.steps, guidance: settings.guidance,
      sampler: settings.sampler, ...what,
    };
    const began = ask.start ?? 0;
    this.trouble("");
    const drawing = this.engine.ask("draw", ask, ({ step }) => {
      if (this.drawing !== drawing) return;
      this.progress((step.step - began) / (ask.count - began));
      this.say(`Step ${step.step} of ${ask.count}`);
      onStep(step);
    });
    this.drawing = drawing;
    this.progress(0);
    this.speak("Drawing.");
    try {
      const done = await drawing;
      if (done) this.speak("The drawing is finished.");
      return done;
    } catch (error) {
      if (!this.engine.lost) this.trouble(error.message);
      return null;
    } finally {
      if (this.drawing === drawing) {
        this.drawing = null;
        this.progress(null);
        this.say("");
      }
    }
  }

  /** End the drawing that runs. */
  stop() {
    if (this.drawing) this.engine.stop(this.drawing.id);
    this.drawing = null;
  }

  /** Latents (4, h, w) of several pictures -> a list of their pixels. */
  async decode(list) {
    const all = new Float32Array(list.length * list[0].length);
    list.forEach((latents, i) => all.set(latents, i * latents.length));
    const pixels = await this.engine.ask("decode", { latents: all }), n = pixels.length / list.length;
    return list.map((_, i) => pixels.slice(i * n, (i + 1) * n));
  }

  /** How a text is read for the model: {caption, said, notes, words}. */
  read(text) {
    return this.engine.ask("read", { text: cleanText(text), literal: this.settings.literal });
  }

  /** What the model is given for a text beside the settings' prompt; null without an engine. */
  async captionOf(text) {
    try {
      return (await this.read(text)).caption;
    } catch (error) {
      if (!this.engine.lost) this.trouble(error.message);
      return null;
    }
  }
}

/** Numbers of the steps whose pictures are shown on the way: closer where more happens. */
export function shownSteps(count, most = 8) {
  const found = Array.from({ length: most }, (_, i) =>
    Math.round(count * (i / (most - 1)) ** 1.25));
  return [...new Set(found)];
}
