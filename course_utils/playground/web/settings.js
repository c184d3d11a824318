// What a drawing is made of, and how it travels in a link.
//
// A link is untrusted: every value is checked, what does not fit becomes the default, and nothing
// but a drawing follows from it.

import { SAMPLERS } from "./samplers.js";

export const DEFAULTS = {
  prompt: "a cat face, 3d style, on a blue background",
  negative: "",
  steps: 25,
  guidance: 2.5, // higher is more saturated than the data; see the model card
  sampler: "dpm++2m",
  seed: 7,
};
export const LONGEST = 2000; // signs of a prompt that are read
export const LIMITS = { steps: [1, 1000], guidance: [0, 100], seed: [0, 2 ** 32 - 65] };

/** A text that can be encoded, cut to LONGEST signs. */
export function cleanText(text) {
  const cut = Array.from(String(text)).slice(0, LONGEST).join("");
  return cut.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "�");
}

/** A number inside its limits; the default where it is none. */
export function cleanNumber(name, value) {
  const number = value === null || String(value).trim() === "" ? NaN : Number(value);
  if (!Number.isFinite(number)) return DEFAULTS[name];
  const [low, high] = LIMITS[name], inside = Math.max(low, Math.min(high, number));
  return name === "guidance" ? inside : Math.round(inside);
}

/** Settings from anything: a link's parameters, a form. */
export function cleanSettings(given, models) {
  const sampler = Object.hasOwn(SAMPLERS, given.sampler) ? given.sampler : DEFAULTS.sampler;
  return {
    model: models.includes(given.model) ? given.model : models[0],
    prompt: cleanText(given.prompt ?? DEFAULTS.prompt),
    literal: String(given.literal) === "true", // whether the prompt is taken as it stands
    negative: cleanText(given.negative ?? ""),
    steps: cleanNumber("steps", given.steps ?? null),
    guidance: cleanNumber("guidance", given.guidance ?? null),
    sampler,
    seed: cleanNumber("seed", given.seed ?? null),
  };
}

/** What stands behind the # of an address; an address stays in the browser, no server sees it. */
export function fromLink(hash, models) {
  return cleanSettings(Object.fromEntries(new URLSearchParams(hash.replace(/^#/, ""))), models);
}

export function toLink(settings) {
  return `#${new URLSearchParams(Object.entries(settings))}`;
}

/** What `course draw` writes into a PNG file; `prompt` is what the model was given. */
export function metadata(settings, caption) {
  return {
    prompt: caption,
    typed: settings.prompt,
    negative_prompt: settings.negative,
    seed: String(settings.seed),
    num_steps: String(settings.steps),
    guidance_scale: String(settings.guidance),
    guidance_rescale: "0.0",
    sampler: settings.sampler,
    model: settings.model,
    software: "Sculpting Noise, playground",
  };
}

/** The same picture from a terminal and from a notebook: both take the caption as it stands. */
export function inPython(settings, caption) {
  const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);
  const python = JSON.stringify; // a text of JSON's is one of Python's
  const { negative, steps, guidance, sampler, seed, model } = settings;
  const words = ["course", "draw", caption, "--literal", ...(negative ? ["--negative", negative] : []),
    "--steps", `${steps}`, "--guidance", `${guidance}`, "--sampler", sampler, "--seed", `${seed}`,
    "--model", model];
  return [
    words.map(shell).join(" "),
    "",
    "# or in a notebook of the course",
    "from course_utils.images import to_pil",
    "from course_utils.pipeline import Pipeline",
    "",
    `pipeline = Pipeline.load(${JSON.stringify(model)}, device="cpu")`,
    "pictures = pipeline.draw(",
    `    ${python(caption)},`,
    ...(negative ? [`    negative=${python(negative)},`] : []),
    `    num_steps=${steps}, guidance_scale=${guidance}, sampler="${sampler}", seed=${seed},`,
    ")",
    "to_pil(pictures.pixels[0])",
  ].join("\n");
}
