// Byte-pair encoding: text to token ids, as CLIP does it. Any text can be encoded: a word that the
// captions never held falls into smaller known pieces.
//
// Source: Sennrich et al. 2016, algorithm 1; Radford et al. 2021, section 2.4. The files are those
// of transformers' `CLIPTokenizer`. Lesson 05; the twin in Python is models/tokenizer.py.

const START = "<|startoftext|>", FINISH = "<|endoftext|>", WORD_END = "</w>";
const SPECIAL = "<\\|startoftext\\|>|<\\|endoftext\\|>";
// CLIP's split: contractions, runs of letters, single digits, runs of other signs. JavaScript's \s
// differs from Python's in two signs, so white space goes by its Unicode name.
const SPLIT = "'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|[^\\p{White_Space}\\p{L}\\p{N}]+";

export class Tokenizer {
  /** vocab: token -> id. merges: the text of merges.txt, a pair a line in the order of learning. */
  constructor(vocab, merges, length) {
    for (const token of [START, FINISH]) {
      if (!(token in vocab)) throw new Error(`tokenizer/vocab.json lacks ${token}.`);
    }
    this.vocab = new Map(Object.entries(vocab));
    this.length = length;
    this.first = vocab[START];
    this.last = vocab[FINISH];
    const pairs = merges.split("\n").map((line) => line.trim().split(/\s+/))
      .filter((pair) => pair.length === 2 && pair[0] !== "#version:");
    this.rank = new Map(); // left -> right -> when the pair was learned
    pairs.forEach(([left, right], i) => {
      if (!this.rank.has(left)) this.rank.set(left, new Map());
      this.rank.get(left).set(right, i);
    });
    this.known = new Map(); // word -> tokens
  }

  /** A row of L ids: start, tokens, end, then end again as padding; what is too long is cut. */
  row(text) {
    const ids = this.encode(text);
    const kept = ids.length > this.length ? [...ids.slice(0, this.length - 1), this.last] : ids;
    return [...kept, ...Array(this.length - kept.length).fill(this.last)];
  }

  /** Ids of one text with start and end, neither padded nor cut. */
  encode(text) {
    const tokens = splitWords(text).flatMap((word) => this.merge(word));
    return [this.first, ...tokens.map((token) => this.vocab.get(token) ?? this.last), this.last];
  }

  /** Byte-pair encoding of one word: join the earliest-learned pair until none is left. */
  merge(word) {
    if (!this.known.has(word)) {
      if (this.known.size > 10000) this.known.clear();
      let symbols = toSymbols(word);
      for (;;) {
        let best = Infinity, at = -1;
        for (let i = 0; i + 1 < symbols.length; i++) {
          const rank = this.rank.get(symbols[i])?.get(symbols[i + 1]) ?? Infinity;
          if (rank < best) [best, at] = [rank, i];
        }
        if (at < 0) break;
        symbols = join(symbols, symbols[at], symbols[at + 1]);
      }
      this.known.set(word, symbols);
    }
    return this.known.get(word);
  }

  /** Which places of a row spell which word: [{text, tokens: [place, ...]}], words that fit. */
  words(text) {
    const found = [];
    let place = 1;
    for (const word of splitWords(text)) {
      const end = Math.min(place + this.merge(word).length, this.length - 1);
      const tokens = Array.from({ length: Math.max(0, end - place) }, (_, i) => place + i);
      if (tokens.length) found.push({ text: word, tokens });
      place += this.merge(word).length;
    }
    return found;
  }

  /** The words at the end of a long prompt that do not fit into a row in full. */
  dropped(text) {
    const words = splitWords(text);
    let room = this.length - 2; // start and end take one place each
    const first = words.findIndex((word) => (room -= this.merge(word).length) < 0);
    return first < 0 ? [] : words.slice(first);
  }
}

/** Lower case, then CLIP's split into words, digits and signs; special tokens stay whole. */
export function splitWords(text) {
  const words = [];
  for (const part of text.split(new RegExp(`(${SPECIAL})`))) {
    if (part === START || part === FINISH) {
      words.push(part);
      continue;
    }
    // Sign by sign: a whole word's lower case has another sigma at its end.
    const lower = Array.from(part.normalize("NFC"), (sign) => sign.toLowerCase()).join("");
    // What only now looks like a special token is none; still no signs join at its ends.
    for (const [run] of lower.matchAll(new RegExp(`${SPECIAL}|${SPLIT}`, "gu"))) {
      words.push(...(run.match(new RegExp(SPLIT, "gu")) ?? []));
    }
  }
  return words;
}

/** A word as one sign a byte, the last one marked as the end of the word. */
function toSymbols(word) {
  if (word === START || word === FINISH) return [word];
  const symbols = Array.from(new TextEncoder().encode(word), (byte) => SIGNS[byte]);
  symbols[symbols.length - 1] += WORD_END;
  return symbols;
}

/** Join each occurrence of the pair, from left to right. */
function join(symbols, left, right) {
  const joined = [];
  for (let i = 0; i < symbols.length; i++) {
    const both = symbols[i] === left && symbols[i + 1] === right;
    joined.push(both ? left + right : symbols[i]);
    if (both) i++;
  }
  return joined;
}

/** A printable sign for each byte: itself where it prints, else one from U+0100 on (GPT-2). */
const SIGNS = (() => {
  const prints = (byte) => (byte >= 33 && byte < 127) || (byte >= 161 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(prints(byte) ? byte : next++));
})();
