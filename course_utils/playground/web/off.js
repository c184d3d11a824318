// Switch off one part of the U-Net and see what it was for. Lessons 03 and 05.

import { button, field, figure, h } from "./dom.js";
import { paint, paintDifference } from "./pictures.js";

export function offPanel(studio) {
  const { skips, attentions } = studio.model;
  const option = ([value, text]) => h("option", { value: JSON.stringify(value), text });
  const choice = h("select", {},
    h("optgroup", { label: "Skips: what the way down hands to the way up" },
      ...skips.map(({ C, side }, i) =>
        option([{ skips: [i] }, `skip ${i + 1}: ${C} channels of ${side} x ${side}`]))),
    h("optgroup", { label: "Attention" }, ...attentions.map((name) =>
      option([{ attentions: [name] }, inWords(name)]))),
    h("optgroup", { label: "Many at once" },
      option([{ skips: skips.map((_, i) => i) }, "all skips"]),
      option([{ attentions: attentions.filter((name) => name.endsWith("attn2")) },
        "all cross-attention: no words reach the picture"]),
      option([{ attentions: attentions.filter((name) => name.endsWith("attn1")) },
        "all self-attention: no place looks at another"])));
  const [whole, without, between] = [figure("Whole"), figure("Without it"), figure("Difference")];

  const draw = async () => {
    const off = { skips: [], attentions: [], ...JSON.parse(choice.value) };
    const all = await studio.draw({});
    const less = all && await studio.draw({ off });
    if (!less) return;
    paint(whole.canvas, all.pixels, "The whole U-Net's picture");
    paint(without.canvas, less.pixels, "The picture without this part");
    const mean = paintDifference(between.canvas, all.pixels, less.pixels);
    between.text.textContent = `${(100 * mean).toFixed(1)} % on average`;
    without.text.textContent = choice.selectedOptions[0].textContent;
  };
  return [
    h("h2", { text: "Switch off a part" }),
    h("p", { class: "lead", text: "A skip that is off hands on zeros; an attention layer that is off "
      + "adds nothing. The network was never trained for that, so the picture shows what it relied "
      + "on." }),
    h("div", { class: "row" }, field("Off", choice, { class: "field wide" }),
      button("Draw with and without", draw, { class: "primary" })),
    h("div", { class: "three" }, whole.el, without.el, between.el),
  ];
}

/** "down_blocks.0.attentions.0.transformer_blocks.0.attn2" in words. */
function inWords(name) {
  const [block, ...rest] = name.split(".");
  const kind = rest.at(-1) === "attn1" ? "self-attention" : "cross-attention";
  const number = (text) => Number(text) + 1;
  if (block === "mid_block") return `${kind} in the middle`;
  const where = block === "down_blocks" ? "down" : "up";
  return `${kind} on the way ${where}, level ${number(rest[0])}, layer ${number(rest[2])}`;
}
