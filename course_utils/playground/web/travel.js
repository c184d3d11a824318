// On the way from one prompt to another, and from one noise to another. Lessons 05 and 07.

import { button, field, figure, h } from "./dom.js";
import { paint } from "./pictures.js";
import { cleanNumber } from "./settings.js";

const STOPS = 9; // pictures on the way, both ends included
const AT_ONCE = 3;
const FRAME = 220; // milliseconds a picture

export function travelPanel(studio) {
  const prompt = h("input", { type: "text", dir: "auto", spellcheck: "false",
    value: "a lion, 3d style, on a blue background" });
  const seed = h("input", { type: "number", min: 0, value: studio.settings.seed });
  const picture = figure("On the way");
  const way = h("input", { type: "range", min: 0, max: STOPS - 1, value: 0, disabled: true });
  const play = button("▶ Play", () => toggle(), { disabled: true });
  const small = Array.from({ length: STOPS }, () => h("canvas", { class: "empty",
    "aria-hidden": "true", width: 64, height: 64 }));
  let frames = [], timer = null;

  const show = (i) => {
    way.value = i;
    const percent = Math.round(100 * i / (STOPS - 1));
    way.setAttribute("aria-valuetext", `${percent} % of the way`);
    picture.text.textContent = `${percent} % of the way`;
    if (frames[i]) paint(picture.canvas, frames[i], `${percent} % of the way`);
  };
  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
  };
  const toggle = () => {
    if (timer) return pause();
    let step = Number(way.value) === STOPS - 1 ? -1 : 1;
    play.textContent = "❚❚ Pause";
    timer = setInterval(() => {
      if (!play.isConnected) return pause();
      const next = Number(way.value) + step;
      if (next < 0 || next >= STOPS) step = -step;
      else show(next);
      return undefined;
    }, FRAME);
    return undefined;
  };
  way.addEventListener("input", () => { pause(); show(Number(way.value)); });

  const draw = async () => {
    pause();
    frames = [];
    way.disabled = play.disabled = true;
    const [from, to] = [studio.caption, await studio.captionOf(prompt.value)];
    if (to === null) return;
    const [seedFrom, seedTo] = [studio.settings.seed, cleanNumber("seed", seed.value)];
    for (let first = 0; first < STOPS; first += AT_ONCE) {
      const shares = Array.from({ length: AT_ONCE }, (_, i) => (first + i) / (STOPS - 1));
      const done = await studio.draw({
        prompts: shares.map((share) => ({ from, to, share })),
        seeds: shares.map((share) => ({ from: seedFrom, to: seedTo, share })),
      });
      if (!done) return;
      const n = done.pixels.length / AT_ONCE;
      shares.forEach((_, i) => {
        frames.push(done.pixels.slice(i * n, (i + 1) * n));
        paint(small[frames.length - 1], frames.at(-1), "");
        show(frames.length - 1);
      });
    }
    way.disabled = play.disabled = false;
  };
  return [
    h("h2", { text: "Travel" }),
    h("p", { class: "lead", text: "The text states of the prompt above turn into those of another "
      + "prompt in a straight line; the noise goes to another seed's along an arc, so that it stays "
      + "as long as noise is." }),
    h("div", { class: "row" }, field("To the prompt", prompt, { class: "field wide" }),
      field("To the seed", seed), button("Draw the way", draw, { class: "primary" })),
    h("div", { class: "way" }, picture.el, h("div", { class: "frames" }, ...small)),
    h("div", { class: "row" }, play, field("Where", way, { class: "field wide" })),
  ];
}
