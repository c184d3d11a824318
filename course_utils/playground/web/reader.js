// What a person typed -> the caption that the model is given, and what to say about it.
//
// Models differ in what they were taught. `known` is the Lexicon of a model for which prompts are
// read as `course draw` reads them, else null; `taught` is the model's concepts.json, or null.

import { describe, read } from "./reading.js";

/**
 * Returns {caption, said, notes}: the text for the tokenizer, a sentence on how the prompt was read
 * ("" where it is taken as it stands), and one for each thing that a person should know before the
 * picture.
 */
export function readPrompt(text, { known, taught, tokenizer }, literal = false) {
  if (literal || !known) {
    return { caption: text, said: "", notes: notesOn(text, taught, tokenizer) };
  }
  const reading = read(text, known), sentence = describe(reading);
  return { caption: reading.caption, said: `${sentence[0].toUpperCase()}${sentence.slice(1)}.`,
    notes: [] };
}

function notesOn(text, taught, tokenizer) {
  if (!text.trim()) return ["The prompt is empty, so this is drawn without words."];
  const notes = [], dropped = tokenizer.dropped(text);
  if (dropped.length) {
    notes.push(`The prompt is longer than the ${tokenizer.length - 2} tokens that the model reads; `
      + `it does not see: ${some(dropped)}.`);
  }
  if (!taught) return notes;
  const words = [...new Set(wordsOf(text))], known = knownWords(taught);
  const unknown = words.filter((word) => !known.has(word) && !known.has(word.replace(/'s$/, "")));
  if (!words.length) {
    notes.push("The prompt holds no word, so the model has nothing to go by; it draws anyway.");
  } else if (unknown.length === words.length) {
    notes.push(`The model knows no word of this prompt: ${some(unknown)}. It was taught English `
      + `names of ${taught.concepts.length} things; it draws anyway.`);
  } else if (unknown.length) {
    notes.push(`The model has never met ${some(unknown)}; it reads such a word piece by piece and `
      + "may take a piece for another word.");
  }
  return notes;
}

/** The words of a text, lower case: runs of letters and digits, and each emoji as a word. */
export function wordsOf(text) {
  const letters = "[\\p{L}\\p{M}\\p{N}]+";
  const emoji = "\\p{Extended_Pictographic}(?:\\uFE0F|\\u200D\\p{Extended_Pictographic}"
    + "|\\p{Emoji_Modifier})*";
  const word = new RegExp(`${letters}(?:'${letters})*|${emoji}`, "gu");
  return text.toLowerCase().replaceAll("’", "'").match(word) ?? [];
}

const KNOWN = new WeakMap(); // concepts.json -> every word of its captions

function knownWords(taught) {
  if (!KNOWN.has(taught)) {
    const names = taught.concepts.flatMap(({ name, synonyms = [] }) => [name, ...synonyms]);
    KNOWN.set(taught, new Set([...names, ...(taught.words ?? [])].flatMap(wordsOf)));
  }
  return KNOWN.get(taught);
}

function some(words) {
  const more = words.length - 8, shown = words.slice(0, 8).map((word) => `“${word.slice(0, 30)}”`);
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}
