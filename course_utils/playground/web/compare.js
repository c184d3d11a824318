// Two prompts from the same noise, and where their pictures differ. Lessons 08 and 09.

import { button, field, figure, h } from "./dom.js";
import { paint, paintDifference } from "./pictures.js";
import { shownSteps } from "./studio.js";

export function comparePanel(studio) {
  const other = h("input", { type: "text", dir: "auto", spellcheck: "false",
    value: "a dog face, 3d style, on a blue background" });
  const [one, two, between] = [figure("The prompt above"), figure("The other prompt"),
    figure("Difference", "mean over the three colours")];
  const way = h("input", { type: "range", min: 0, max: 0, value: 0, disabled: true });
  let frames = [];
  const show = (i) => {
    const frame = frames[i];
    if (!frame?.pair) return;
    paint(one.canvas, frame.pair[0], `The prompt above, step ${frame.step}`);
    paint(two.canvas, frame.pair[1], `The other prompt, step ${frame.step}`);
    const mean = paintDifference(between.canvas, ...frame.pair);
    between.text.textContent = `${(100 * mean).toFixed(1)} % on average, step ${frame.step}`;
    way.setAttribute("aria-valuetext", `step ${frame.step}`);
  };
  way.addEventListener("input", () => show(Number(way.value)));

  const draw = async () => {
    const prompts = [studio.caption, await studio.captionOf(other.value)];
    if (prompts[1] === null) return;
    one.text.textContent = prompts[0];
    two.text.textContent = prompts[1];
    frames = [];
    way.disabled = true;
    const done = await studio.draw({ prompts }, async (step) => {
      if (!shownSteps(studio.settings.steps, 6).includes(step.step)) return;
      const n = step.x.length / 2, frame = { step: step.step };
      frames.push(frame);
      frame.pair = await studio.decode([step.x.slice(0, n), step.x.slice(n)]);
      Object.assign(way, { max: frames.length - 1, value: frames.indexOf(frame) });
      show(frames.indexOf(frame));
    });
    way.disabled = !done;
  };
  return [
    h("h2", { text: "Two prompts, one noise" }),
    h("p", { class: "lead", text: "Both begin with the same noise, so that what differs comes from "
      + "the words. Change one word and see what else changes." }),
    h("div", { class: "row" }, field("The other prompt", other, { class: "field wide" }),
      button("Draw both", draw, { class: "primary" })),
    h("div", { class: "three" }, one.el, two.el, between.el),
    h("div", { class: "row" }, field("Step", way)),
  ];
}
