// What a reader knows of words: the things of one model, styles, colours, plain English. The twin
// in Python, course_utils/reader/lexicon.py, gathers it from tables and writes it into reader.json.
//
// A bit is some words of a text and what they are:
//   kind   "thing", "near", "style", "colour", "word" (an unknown one), "stop", or a kind of
//          words/grammar.txt in the course
//   typed  the words as they were typed
//   value  the thing's, style's or colour's name; "" where the model has none such
//   weak   the thing that these words mean where the text names nothing else, or ""
//   own    whether a style is asked for in its own words
//   near   for "near", up to three things

import { Slips } from "./slips.js";
import { plain, withoutAccents } from "./spelling.js";

const SIGN = "\\p{Extended_Pictographic}", WORD = "[\\p{L}\\p{M}\\p{N}]+";
const BEFORE_WORD = "(?<![\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}])";
// Emoji, of one sign or of several that U+200D joins; words of any script; "&"; stops.
const PIECE = new RegExp(
  `(?<word>${SIGN}(?:\\u200d${SIGN})*|${WORD}(?:'${WORD})*|[&+])`
  + `|(?<stop>(?<!${BEFORE_WORD}(?:mrs?|ms|dr|st))\\.`
  + "|[,;:!?()\\[\\]{}|/\\n#\\u2013\\u2014\\u3001\\u3002]|--)", "gu");
const LONGEST = 5; // words of a phrase
const KINDS = ["animal", "bird", "bug", "fish", "flower", "fruit", "tree", "vegetable"];

export class Lexicon {
  /** index: the content of reader.json. */
  constructor(index) {
    this.names = index.things.map(([name]) => name);
    this.spoken = new Map(index.things.map(([name, spoken]) => [name, spoken]));
    this.said = new Map(index.things.map(([name, , said]) => [name, said])); // with its article
    this.styles = new Map(index.styles);           // name -> as captions say it
    this.backgrounds = new Map(index.backgrounds); // name -> with its article
    this.subgroups = new Map(index.subgroups);
    this.emoji = new Map(index.emoji);
    this.plurals = new Map(index.plurals);
    this.weak = new Map(index.weak);
    this.meanings = new Map(index.phrases.map(([phrase, kind, value, own, near]) =>
      [phrase, { kind, value, own, near }]));
    this.words = new Set([...this.meanings.keys(), ...this.weak.keys()]
      .flatMap((phrase) => phrase.split(" ")));
    this.slips = new Slips(index.likely, index.real);
  }

  // --- a text, bit by bit ----------------------------------------------------------------------

  /**
   * Cut a text into bits: the longest phrase that is known, from left to right. `spelt` are words
   * that are no slips of spelling, whatever they look like.
   */
  bits(text, spelt = new Set()) {
    const tokens = [...this.tokens(text)].map((token) =>
      (spelt.has(token.word) ? token : this.mended(token)));
    const bits = [];
    for (let at = 0; at < tokens.length;) {
      const [bit, length] = this.longest(tokens, at);
      bits.push(bit);
      at += length;
    }
    return bits;
  }

  /** Words and stops; an emoji becomes its name, with a stop before and behind it. */
  * tokens(text) {
    const stop = { word: "", typed: "", stop: true };
    for (const piece of pieces(text)) {
      const name = this.emoji.get(piece.word) ?? this.emoji.get(piece.word.split("\u200d")[0]);
      if (name === undefined) {
        yield piece;
        continue;
      }
      yield stop;
      for (const word of keys(name)) yield { word, typed: piece.typed, stop: false };
      yield stop;
    }
  }

  /** The token with a slip of spelling put right. */
  mended(token) {
    if (token.stop || this.knows(token.word)) return token;
    return { ...token, word: this.meant(token.word) ?? token.word };
  }

  /** Whether a word, or what it is the plural of, stands in a table. */
  knows(word) {
    return this.forms(word).some((form) => this.words.has(form));
  }

  /** The word of a table that an unknown one is a slip of, or null. */
  meant(word) {
    if (/[^\0-\x7f]/.test(word)) return null;
    for (const form of this.forms(word)) {
      const found = this.slips.meant(form);
      if (found !== null) return found;
    }
    return null;
  }

  /** A word, and what it may be the plural or the genitive of. */
  forms(word) {
    const forms = [word, withoutAccents(word)];
    word = word.replace(/'s$/, "").replace(/s'$/, "");
    forms.push(word);
    if (this.plurals.has(word)) {
      forms.push(this.plurals.get(word));
    } else if (word.endsWith("s") && !word.endsWith("ss") && length(word) > 3) {
      forms.push(word.slice(0, -1));
      if (word.endsWith("ies")) forms.push(`${word.slice(0, -3)}y`);
      else if (/(?:ches|shes|xes|sses|zes|oes)$/.test(word)) forms.push(word.slice(0, -2));
      else if (word.endsWith("ves")) forms.push(`${word.slice(0, -3)}f`, `${word.slice(0, -3)}fe`);
    }
    return [...new Set(forms)];
  }

  /** The bit that begins at a token, and how many tokens it takes. */
  longest(tokens, at) {
    if (tokens[at].stop) return [makeBit("stop", tokens[at].typed), 1];
    const run = tokens.slice(at, at + LONGEST), end = run.findIndex((token) => token.stop);
    for (let count = end < 0 ? run.length : end; count > 0; count--) {
      const typed = [...new Set(run.slice(0, count).map((token) => token.typed))].join(" ");
      for (const phrase of this.phrases(run.slice(0, count))) {
        const meaning = this.meanings.get(phrase), weak = this.weak.get(phrase) ?? "";
        if (meaning) return [{ ...meaning, typed, weak }, count];
        if (weak) return [makeBit("word", typed, weak), count];
      }
    }
    return [makeBit("word", run[0].typed), 1];
  }

  /** What some tokens in a row may be in a table: the last of them in each of its forms. */
  phrases(tokens) {
    const words = tokens.map((token) => token.word), last = words.pop();
    const phrases = this.forms(last).map((form) => [...words, form].join(" "));
    if (words.length === 1 && length(words[0]) > 2 && length(last) > 2) {
      // "pop corn", and "father christmas" the other way round
      phrases.push(words[0] + last, `${last} ${words[0]}`);
    }
    return phrases;
  }

  /** The thing that a phrase names, or null. */
  named(phrase) {
    const meaning = this.meanings.get(keys(phrase).join(" "));
    return meaning?.kind === "thing" ? meaning.value : null;
  }

  /** Whether one thing only says more of another: "rose" in "rose flower". */
  isKindOf(bit, kind) {
    if (bit.value === kind.value || !this.forms(kind.typed).some((form) => KINDS.includes(form))) {
      return false;
    }
    return (this.subgroups.get(bit.value) ?? "") === this.subgroups.get(kind.value);
  }

  // --- what is near ----------------------------------------------------------------------------

  /** The things whose names look most like one of some words: by shared pairs of letters. */
  nearest(words, count = 3) {
    if (!words.length) return this.names.slice(0, count);
    this.namePairs ??= new Map(this.names.map((name) => [name, pairs(this.spoken.get(name))]));
    const mine = words.map((word) => pairs(plain(word)));
    const scores = new Map(this.names.map((name) =>
      [name, Math.max(...mine.map((some) => likeness(some, this.namePairs.get(name))))]));
    return [...this.names].sort((a, b) => scores.get(b) - scores.get(a)).slice(0, count);
  }
}

function makeBit(kind, typed, weak = "") {
  return { kind, typed, value: "", weak, own: false, near: [] };
}

/** Whether two bits say the same, wherever they stand. */
export function sameBit(a, b) {
  return a.kind === b.kind && a.typed === b.typed && a.value === b.value && a.weak === b.weak
    && a.own === b.own && a.near.join() === b.near.join();
}

/** Words, emoji and stops of a text, {word, typed, stop}; other signs are passed over. */
function pieces(text) {
  return Array.from(plain(text).matchAll(PIECE), ({ 0: typed, groups: { word } }) =>
    ({ word: word ?? "", typed, stop: word === undefined }));
}

/** The plain words of a phrase. */
function keys(phrase) {
  return pieces(phrase).filter((piece) => !piece.stop).map((piece) => piece.word);
}

/** How many signs a word has; an emoji is one. */
function length(word) {
  return Array.from(word).length;
}

/** The pairs of neighbouring letters in a word, with its ends. */
function pairs(word) {
  const signs = Array.from(word);
  return new Set([...signs.slice(1).map((sign, i) => signs[i] + sign), `^${signs[0] ?? ""}`]);
}

/** The share of pairs that two sets have in common (Dice 1945). */
function likeness(mine, theirs) {
  const shared = [...mine].filter((pair) => theirs.has(pair)).length;
  return 2 * shared / (mine.size + theirs.size);
}
