// From what a person typed to a caption that a model was taught. The twin in Python is
// course_utils/reader/reading.py; both say the same of every text, word for word.

import { sameBit } from "./lexicon.js";
import { NOUNS, Scene } from "./scene.js";
import { plain, SPACE } from "./spelling.js";

const LONGEST = 1000; // signs of a text that are read
const MOST_WORDS = 8; // unknown words for which a thing that looks like them is looked for
const ADDRESS = new RegExp(`(?<![\\p{L}\\p{N}_])(?:https?://|www\\.)[^${SPACE}]+`
  + "|(?<![\\p{L}\\p{N}_])@[\\p{L}\\p{N}_]+", "giu");
// "Ada Lovelace" is no slip of spelling
const NAME = new RegExp("(?<![\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}])"
  + "\\p{Lu}\\p{Ll}+(?: \\p{Lu}\\p{Ll}+)+", "gu");
const SILENT = ["silent", "stop", "breaks", "joins", "of", "units", "backgrounds", "wants", "resets"];

/**
 * Read what a person typed as a caption that the model was taught: known is its Lexicon.
 *
 * The longest names that are known are looked up; the last noun of the first noun phrase decides
 * ("red sports car" is a car). Returns
 *
 *   caption      what the model is given instead; without a thing it names style and background
 *                alone, or nothing, and the noise decides what appears
 *   leftOut      the typed words that it does not say
 *   replaced     pairs [typed words, what the caption says instead], where they differ
 *   unsure       what a person should know before the picture: half a sentence each
 */
export function read(text, known) {
  const signs = Array.from(text), unsure = [];
  if (signs.length > LONGEST) {
    unsure.push("the text is long, and only its first 1,000 signs are read");
  }
  const cut = signs.slice(0, LONGEST).join(""), shown = cut.replace(ADDRESS, " ");
  if (shown !== cut) unsure.push("addresses are not read");
  const people = new Set((shown.match(NAME) ?? []).flatMap((name) => plain(name).split(" ")));
  const scene = new Scene(known.bits(shown, people));
  return putTogether(text, choose(scene, known), scene, known, unsure);
}

/** One sentence for the person who typed the text. */
export function describe({ caption, leftOut, replaced, unsure }) {
  const parts = [`read as: ${caption || "no words, so that the noise decides"}`];
  const told = replaced.filter(([typed, said]) => tells(typed, said))
    .map(([typed, said]) => `"${typed}" as ${said}`);
  if (told.length) parts.push(`taking ${some(told, 4)}`);
  if (leftOut.length) parts.push(`left out: ${some(leftOut, 8)}`);
  return [...parts, ...unsure].join("; ");
}

// --- the choice --------------------------------------------------------------------------------
//
// What is found: {thing, bits, unsure, near}: the thing that is drawn, the words that name it, what
// to say of the choice, and things that come near where it was not taught.

/** The one thing to draw: what is asked for before what stands around it, sure before vague. */
function choose(scene, known) {
  const order = [[strong, "main"], [near, "main"], [strong, "break"], [near, "break"],
    [strong, "asks"], [weak, "main"], [weak, "break"]];
  for (const [pick, role] of order) {
    for (const phrase of scene.phrases.filter((one) => one.role === role)) {
      const found = pick(phrase, known);
      if (found) return found;
    }
  }
  const words = scene.bits.filter(isVague).map((bit) => bit.typed);
  return find(null, [], [], known.nearest(words.slice(0, MOST_WORDS)));
}

function find(thing, bits, unsure = [], near = []) {
  return { thing, bits, unsure, near };
}

const isVague = (bit) => bit.kind === "word" || bit.kind === "near";

/** The last thing of a noun phrase; with its colour where that is another thing. */
function strong({ bits }, known) {
  const last = bits.findLastIndex((bit) => bit.kind === "thing");
  if (last < 0) return null;
  const before = bits.slice(0, last).findLast((bit) => bit.kind === "thing");
  const head = before && known.isKindOf(before, bits[last]) ? before : bits[last];
  for (const bit of bits.filter(({ kind }) => kind === "colour")) {
    const coloured = known.named(`${bit.value || bit.typed} ${head.typed}`);
    if (coloured !== null) return find(coloured, [bit, head]);
  }
  const unknown = bits.slice(last + 1).filter((bit) => isVague(bit) && !isDoing(bit.typed));
  if (!unknown.length) return find(head.value, [head]);
  const whole = [head, ...unknown].map((bit) => bit.typed).join(" ");
  return find(head.value, [head], [`"${whole}" is not known, only "${head.typed}"`]);
}

/** What comes near the last noun of a phrase that the model was not taught. */
function near({ bits }) {
  const bit = bits.findLast(({ kind }) => kind === "near");
  if (!bit) return null;
  const also = bit.near.length > 1 ? `; as near are ${some(bit.near.slice(1), 2)}` : "";
  return find(bit.value, [bit], [`"${bit.typed}" itself was not taught${also}`], bit.near);
}

/** What words that rarely name a thing can mean: "sad" is a face where there is nothing else. */
function weak({ bits }) {
  const bit = bits.findLast((one) => one.weak);
  return bit ? find(bit.weak, [bit]) : null;
}

/** Whether a word behind a noun says what it does or how, as far as its ending tells. */
function isDoing(word) {
  return /(?:ing|ed|ly)$/.test(word);
}

// --- the caption -------------------------------------------------------------------------------

/** Put the caption together, and account for each word. */
function putTogether(text, found, scene, known, notes) {
  const unsure = [...notes, ...found.unsure];
  const style = chooseStyle(scene, unsure), background = chooseBackground(scene, unsure);
  if (scene.writes) unsure.push("letters cannot be drawn");
  if (found.thing && namesAnother(scene, found)) unsure.push("a picture shows one thing");
  const parts = []; // [the typed bits, what is said for them]
  if (found.thing) parts.push([found.bits, known.said.get(found.thing)]);
  if (style) parts.push([[style], known.styles.get(style.value)]);
  if (background) parts.push([[background], background.value]);
  const kept = new Set(parts.flatMap(([bits]) => bits.map((bit) => bit.typed)));
  const leftOut = scene.bits.filter(({ kind, typed }) => !SILENT.includes(kind) && !kept.has(typed))
    .map((bit) => bit.typed);
  if (!found.thing) unsure.push(nothing(text, found.near, scene, known));
  return {
    caption: makeCaption(found.thing, style?.value, background?.value, known),
    leftOut: [...new Set(leftOut)],
    replaced: parts
      .map(([bits, said]) => [[...new Set(bits.map((bit) => bit.typed))].join(" "), said])
      .filter(([typed, said]) => typed !== said),
    unsure,
  };
}

/** Whether what is asked for names a thing beside the one that is drawn. */
function namesAnother(scene, found) {
  const isFound = (bit) => found.bits.some((one) => sameBit(one, bit));
  return scene.phrases.filter(({ role, bits }) => role === "main" && !bits.some(isFound))
    .some(({ bits }) => bits.some(({ kind, value }) => kind === "thing" && value !== found.thing));
}

/** The style: one in its own words first, else the first that can be had; or null. */
function chooseStyle({ styles }, notes) {
  const can = styles.filter((bit) => bit.value);
  const chosen = can.find((bit) => bit.own) ?? can[0] ?? null;
  if (!chosen && styles.length) notes.push(`the style "${styles[0].typed}" is not known`);
  if (can.some((bit) => bit.own && bit.value !== chosen.value)) {
    notes.push(`of two styles it takes ${chosen.value}`);
  }
  return chosen;
}

/** The background: the first colour that can be had, or null. */
function chooseBackground({ backgrounds, oddBackgrounds }, notes) {
  const can = backgrounds.filter((bit) => bit.value), chosen = can[0] ?? null;
  for (const bit of backgrounds) if (!bit.value) notes.push(`no background is ${bit.typed}`);
  if (oddBackgrounds.length) {
    notes.push(`backgrounds are plain colours, not "${oddBackgrounds[0]}"`);
  }
  if (can.some((bit) => bit.value !== chosen.value)) {
    notes.push(`of two backgrounds it takes ${chosen.value}`);
  }
  return chosen;
}

/** What training captions say of a picture, in the order of the full caption. */
function makeCaption(thing, style, background, known) {
  const parts = thing ? [known.said.get(thing)] : [];
  if (style) parts.push(known.styles.get(style));
  if (!background) return parts.join(", ");
  const ground = `on ${known.backgrounds.get(background)} background`;
  if (style) return [...parts, ground].join(", ");
  return thing ? `${parts[0]} ${ground}` : `${background} background`;
}

/** What to say where no thing is named. */
function nothing(text, near, scene, known) {
  const such = `try ${some(near.map((name) => known.spoken.get(name)), 3, "or")}`;
  const kinds = scene.bits.map((bit) => bit.kind);
  if (!new RegExp(`[^${SPACE}]`, "u").test(text)) return `the text is empty; ${such}`;
  const isForeign = (sign) => /\p{L}/u.test(sign) && sign.codePointAt(0) > 0x24f;
  if (kinds.includes("foreign") || Array.from(text).some(isForeign)) {
    return `only English is read; ${such}`;
  }
  if (!kinds.some((kind) => NOUNS.includes(kind))) return `it names no thing; ${such}`;
  return `it names nothing that this model was taught; ${such}`;
}

/** Whether it is news that one stands for the other: "cat" for "a cat face" is none. */
function tells(typed, said) {
  const words = said.split(/[ -]/);
  return !typed.split(" ").every((word) => words.includes(word));
}

/** A list for a sentence: the first few, and how many more there are. */
function some(texts, most, last = "") {
  const shown = texts.slice(0, most), more = texts.length - shown.length;
  if (last && shown.length > 1) return `${shown.slice(0, -1).join(", ")} ${last} ${shown.at(-1)}`;
  return shown.join(", ") + (more ? ` and ${more} more` : "");
}
