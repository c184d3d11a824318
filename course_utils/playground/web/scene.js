// The order in a text: noun phrases, the styles and backgrounds asked for, letters to write. The
// twin in Python is course_utils/reader/scene.py; what a bit is, lexicon.js says.

export const NOUNS = ["thing", "near", "word"];

const isNoun = (bit) => NOUNS.includes(bit.kind);
const isLoud = (bit) => bit.kind !== "silent";

/**
 * The bits of a text, sorted:
 *
 *   bits            all of them
 *   phrases         noun phrases in their order, {role, bits}: words in a row, and what stands
 *                   before them: "main", "break", "without", "asks"
 *   styles          bits of styles
 *   backgrounds     bits of colours that are a background's
 *   oddBackgrounds  words for backgrounds that are no colour, such as "starry"
 *   writes          whether letters are asked for
 */
export class Scene {
  constructor(bits) {
    this.bits = bits;
    this.writes = bits.some((bit) => bit.kind === "writing");
    this.backgrounds = [];
    this.oddBackgrounds = [];
    const rest = this.takeBackgrounds(withoutWriting(bits));
    this.styles = rest.filter((bit) => bit.kind === "style");
    this.phrases = phrasesOf(rest.filter((bit) => bit.kind !== "style"));
  }

  /** Take out the colours that are a background's, and the words around them. */
  takeBackgrounds(bits) {
    const kept = [];
    for (let at = 0; at < bits.length; at++) {
      const bit = bits[at], next = bits.slice(at + 1).find(isLoud);
      if (bit.kind === "backgrounds") {
        at = this.takeNamed(bits, at, kept);
      } else if (bit.kind === "colour" && next?.kind === "backgrounds") {
        this.backgrounds.push(bit);
        dropLead(kept);
        at = bits.indexOf(next, at);
      } else if (bit.kind === "colour" && kept.findLast(isLoud)?.kind === "breaks"
        && !(next && (isNoun(next)
          || ["describing", "colour", "numbers", "units"].includes(next.kind)))) { // "on blue"
        this.backgrounds.push(bit);
        dropLead(kept);
      } else {
        kept.push(bit);
      }
    }
    return kept;
  }

  /** At the word "background": take its colour, or what else is said of it. Returns where it ends. */
  takeNamed(bits, at, kept) {
    const colour = colourAfter(bits, at), odd = kept.at(-1);
    const isThing = (bit) => bit.kind === "thing" && bit !== odd;
    if (colour !== null) {
      this.backgrounds.push(bits[colour]);
    } else if (odd && (isNoun(odd) || odd.kind === "describing")
      && (odd.kind !== "thing" || bits.some(isThing))) {
      this.oddBackgrounds.push(odd.typed);
      kept.pop();
    }
    dropLead(kept);
    return colour ?? at;
  }
}

/** Without what is to be written: from "saying" to the next stop. */
function withoutWriting(bits) {
  let skipping = false;
  return bits.filter((bit) => {
    skipping = (skipping && bit.kind !== "stop") || bit.kind === "writing";
    return !skipping;
  });
}

/** Where the colour of "background: green" or "the background is green" stands, or null. */
function colourAfter(bits, at) {
  for (let place = at + 1; place < Math.min(at + 4, bits.length); place++) {
    const bit = bits[place], next = bits[place + 1];
    if (bit.kind === "colour") {
      return next && (isNoun(next) || next.kind === "backgrounds") ? null : place;
    }
    if (bit.kind !== "silent" && ![":", "in", "of"].includes(bit.typed)) return null;
  }
  return null;
}

/** Cut what is left into noun phrases. */
function phrasesOf(bits) {
  const phrases = [{ role: "main", bits: [] }];
  const begin = (role) => phrases.push({ role, bits: [] });
  for (const bit of bits) {
    const { role, bits: now } = phrases.at(-1);
    if (isNoun(bit) || ["describing", "colour", "numbers"].includes(bit.kind)) {
      if (bit.kind === "numbers" && now.some(isNoun)) begin("break");
      phrases.at(-1).bits.push(bit);
    } else if (bit.kind === "wants") {
      for (const phrase of phrases) phrase.role = "asks";
      begin("main");
    } else if (["stop", "asking", "resets"].includes(bit.kind)) {
      begin("main");
    } else if (["joins", "of", "units"].includes(bit.kind)) {
      begin(role);
    } else if (bit.kind === "breaks") {
      begin("break");
    } else if (bit.kind === "without") {
      begin("without");
    } else if (now.some(isNoun)) { // "the robot holds | a balloon"
      begin("break");
    }
  }
  return phrases.filter((phrase) => phrase.bits.length);
}

/** Take "on a", "with a light", "in front of a" off the end. */
function dropLead(kept) {
  while (["silent", "breaks"].includes(kept.at(-1)?.kind)) kept.pop();
}
