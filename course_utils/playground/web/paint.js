// Paint on the latents of a step, and let the drawing go on from there. Lessons 06 and 07.

import { button, field, figure, h, slider } from "./dom.js";
import { paint, paintPlanes } from "./pictures.js";

const SEEN = 3; // latents beyond it look like it

export function paintPanel(studio, stage) {
  const { side, channels } = studio.model;
  const grid = h("canvas", { class: "pixels grid", tabindex: 0, role: "application",
    "aria-label": "Latents: arrow keys move, space paints", width: side, height: side });
  const channel = h("select", {}, h("option", { value: "all", text: "all channels" }),
    ...Array.from({ length: channels }, (_, c) =>
      h("option", { value: c, text: `channel ${c + 1}` })));
  const value = slider("Paint with", { min: -SEEN, max: SEEN, step: 0.5, value: SEEN }, String,
    () => {});
  const middle = Math.floor((stage.count ?? 2) / 2);
  const from = slider("At step", { min: 0, max: 2 * middle, value: middle }, String, () => take());
  const [before, after] = [figure("As it was drawn"), figure("With your paint")];
  let latents = null, cursor = { x: 0, y: 0 };

  /** Take the latents of the chosen step of the drawing on the stage. */
  const take = () => {
    const { steps, count } = stage;
    const step = steps[from.value];
    from.input.max = Math.max(0, (count ?? 1) - 1);
    latents = step ? Float32Array.from(step.x) : null;
    const end = steps[count]?.pixels.x;
    if (end) paint(before.canvas, end, "The picture as it was drawn");
    show();
  };
  const chosen = () => (channel.value === "all" ? Array.from({ length: channels }, (_, c) => c)
    : [Number(channel.value)]);
  const show = () => {
    if (!latents) return;
    const planes = chosen().map((c) => latents.subarray(c * side ** 2, (c + 1) * side ** 2));
    const mean = planes[0].map((_, i) =>
      planes.reduce((sum, plane) => sum + plane[i], 0) / planes.length);
    paintPlanes(grid, mean, side, `Latents, ${channel.selectedOptions[0].textContent}, row `
      + `${cursor.y + 1}, column ${cursor.x + 1}: ${mean[cursor.y * side + cursor.x].toFixed(1)}`,
    -SEEN, SEEN);
    if (document.activeElement === grid) mark();
  };
  const mark = () => { // the keyboard's place: one pixel of the canvas is one number
    const context = grid.getContext("2d");
    context.fillStyle = "rgba(127, 127, 127, 0.6)";
    context.fillRect(cursor.x, cursor.y, 1, 1);
  };
  const dab = () => {
    if (!latents) return;
    for (const c of chosen()) latents[(c * side + cursor.y) * side + cursor.x] = value.value;
    show();
  };
  const place = (event) => {
    const box = grid.getBoundingClientRect();
    const inside = (share) => Math.max(0, Math.min(side - 1, Math.floor(share * side)));
    cursor = { x: inside((event.clientX - box.left) / box.width),
      y: inside((event.clientY - box.top) / box.height) };
  };
  grid.addEventListener("pointerdown", (event) => {
    grid.setPointerCapture(event.pointerId);
    place(event);
    dab();
  });
  grid.addEventListener("pointermove", (event) => {
    if (!grid.hasPointerCapture(event.pointerId)) return;
    place(event);
    dab();
  });
  grid.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === " ") dab();
    else if (move[event.key]) {
      const [dx, dy] = move[event.key];
      cursor = { x: (cursor.x + dx + side) % side, y: (cursor.y + dy + side) % side };
      show();
    } else return;
    event.preventDefault();
  });
  grid.addEventListener("focus", show);
  grid.addEventListener("blur", show);
  channel.addEventListener("change", show);

  const resume = async () => {
    if (!latents) {
      studio.trouble("There is no drawing to paint on yet; press Draw first.");
      return;
    }
    const done = await studio.draw({ x: latents, start: from.value, count: stage.count });
    if (done) paint(after.canvas, done.pixels, "The picture with your paint");
  };
  stage.onFinished = take;
  take();
  return [
    h("h2", { text: "Paint the latents" }),
    h("p", { class: "lead", text: `${channels} channels of ${side} x ${side} numbers are all that `
      + "the network works on. Change some at a step and let it go on: early it mends almost "
      + "anything, late it keeps what you did." }),
    h("div", { class: "paint" }, grid, h("div", {},
      h("div", { class: "row" }, from.el, field("Which numbers", channel), value.el),
      h("div", { class: "row" }, button("Take the latents anew", take),
        button("Go on from here", resume, { class: "primary" })),
      h("div", { class: "three" }, before.el, after.el))),
  ];
}
