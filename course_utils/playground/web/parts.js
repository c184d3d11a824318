// The four parts of the system, with the sizes of what passes between them drawn to scale.

import { h } from "./dom.js";

const LARGEST = 116; // pixels of the largest square's side

export function partsPanel(studio) {
  const { side, channels, pixels, tokens, width, numbers } = studio.model;
  const latent = channels * side ** 2, picture = 3 * pixels ** 2;
  const most = Math.max(latent, picture, tokens * width);
  const heaviest = Math.max(...Object.values(numbers));
  const count = (n) => n.toLocaleString("en");
  const millions = (n) => `${(n / 1e6).toFixed(1)} million weights`;
  const square = (n, largest, kind = "") => {
    const length = Math.max(2, LARGEST * Math.sqrt(n / largest));
    const box = h("div", { class: `tensor ${kind}` });
    Object.assign(box.style, { width: `${length}px`, height: `${length}px` });
    return box;
  };
  const part = (name, boxes, text, lesson) => h("div", {}, h("h3", { text: name }),
    h("div", { class: "tensors", "aria-hidden": "true" }, ...boxes),
    h("p", { text }), h("p", { class: "lead", text: lesson }));
  return [
    h("h2", { text: "The four parts, to scale" }),
    h("p", { class: "lead", text: `The picture has ${count(picture)} numbers, its latents `
      + `${count(latent)}: ${picture / latent} times fewer, in ${(pixels / side) ** 2} times fewer `
      + "places. In colour: what passes between the parts; in grey: the weights of each part. Areas "
      + "are to scale within a colour." }),
    h("div", { class: "parts" },
      part("1 Noise", [square(latent, most)],
        `${channels} x ${side} x ${side} = ${count(latent)} random numbers, fixed by the seed.`,
        "Lesson 01 shows why noise can be undone."),
      part("2 Text encoder", [square(tokens * width, most), square(numbers.text, heaviest, "weights")],
        `${tokens} tokens become ${tokens} x ${width} = ${count(tokens * width)} numbers. `
        + `${millions(numbers.text)}.`,
        "Lesson 05 builds it."),
      part("3 U-Net", [square(latent, most), square(numbers.unet, heaviest, "weights")],
        `Takes ${count(latent)} noisy numbers and the words, and says what is noise; asked again at `
        + `every step. ${millions(numbers.unet)}.`,
        "Lesson 03 builds it, lesson 04 asks it step by step."),
      part("4 Decoder", [square(picture, most), square(numbers.vae, heaviest, "weights")],
        `${count(latent)} numbers become 3 x ${pixels} x ${pixels} = ${count(picture)}. `
        + `${millions(numbers.vae)}.`,
        "Lesson 06 builds it.")),
  ];
}
