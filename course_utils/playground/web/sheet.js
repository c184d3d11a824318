// A contact sheet: guidance scales by seeds. Lesson 08.

import { button, field, h } from "./dom.js";
import { paint } from "./pictures.js";
import { cleanNumber } from "./settings.js";

const MOST = 8; // columns

export function sheetPanel(studio) {
  const scales = h("input", { type: "text", value: "1, 2.5, 5, 8", inputmode: "decimal" });
  const count = h("input", { type: "number", min: 1, max: 6, value: 3 });
  const frame = h("div", { class: "sheet-frame" });

  const draw = async () => {
    const columns = [...new Set(scales.value.split(/[^\d.]+/).filter(Boolean)
      .map((text) => cleanNumber("guidance", text)))].slice(0, MOST);
    if (!columns.length) {
      studio.trouble("Guidance is a list of numbers such as 1, 2.5, 5.");
      return;
    }
    const rows = Math.max(1, Math.min(6, Math.round(Number(count.value)) || 1));
    const seeds = Array.from({ length: rows }, (_, i) => studio.settings.seed + i);
    const cells = seeds.map((seed) => columns.map((guidance) => h("button", { type: "button",
      disabled: true, "aria-label": `Guidance ${guidance}, seed ${seed}: use these settings`,
      onclick: () => use(guidance, seed) },
    h("canvas", { class: "empty", width: 64, height: 64 }))));
    frame.replaceChildren(h("table", { class: "sheet" },
      h("thead", {}, h("tr", {}, h("td"), ...columns.map((guidance) =>
        h("th", { scope: "col", text: `guidance ${guidance}` })))),
      h("tbody", {}, ...cells.map((row, i) => h("tr", {},
        h("th", { scope: "row", text: `seed ${seeds[i]}` }),
        ...row.map((cell) => h("td", {}, cell)))))));
    for (const [c, guidance] of columns.entries()) { // a column at a time, side by side
      const done = await studio.draw({ seeds, guidance });
      if (!done) return;
      const n = done.pixels.length / rows;
      seeds.forEach((seed, i) => {
        const cell = cells[i][c];
        paint(cell.firstChild, done.pixels.slice(i * n, (i + 1) * n),
          `Guidance ${guidance}, seed ${seed}`);
        cell.disabled = false;
      });
    }
  };
  const use = (guidance, seed) => {
    location.hash = new URLSearchParams({ ...studio.settings, guidance, seed }).toString();
    document.getElementById("big").scrollIntoView({ block: "center" });
  };
  return [
    h("h2", { text: "Guidance by seeds" }),
    h("p", { class: "lead", text: "Across, the prompt speaks louder; down, the noise is another one. "
      + "Choose a picture to see how it came about." }),
    h("div", { class: "row" }, field("Guidance scales", scales, { class: "field wide" }),
      field("Seeds", count), button("Draw the sheet", draw, { class: "primary" })),
    frame,
  ];
}
