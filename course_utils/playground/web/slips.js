// Slips of spelling: which known word was meant by one that nobody knows. The twin in Python is
// course_utils/reader/slips.py.

const SHORTEST = 4; // shorter words are too near to each other
const LONG = 7;     // from here on two slips are forgiven, if the first letter is right
const ENDINGS = ["", "s", "es", "ed", "d", "ing", "er", "r", "ers", "rs", "ly", "y"]; // of a real word

/**
 * How many slips lie between two words, up to `most`: optimal string alignment distance. A slip is
 * a letter too many, one too few, a wrong one, or two neighbours in the wrong order (Damerau 1964).
 * Returns `most + 1` where there are more.
 */
export function edits(a, b, most) {
  if (Math.abs(a.length - b.length) > most) return most + 1;
  let before = [], row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const twoBefore = before;
    [before, row] = [row, [i]];
    for (let j = 1; j <= b.length; j++) {
      const wrong = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(before[j] + 1, row[j - 1] + 1, before[j - 1] + wrong);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, twoBefore[j - 2] + 1);
      }
      row.push(cost);
    }
    if (Math.min(...row) > most) return most + 1;
  }
  return Math.min(row.at(-1), most + 1);
}

export class Slips {
  /** known: the words that may be meant, the likelier first. real: words that are never a slip. */
  constructor(known, real) {
    this.real = new Set(real);
    this.byLetter = new Map();
    for (const word of known) {
      for (const sign of new Set(word.slice(0, 2))) {
        if (!this.byLetter.has(sign)) this.byLetter.set(sign, []);
        this.byLetter.get(sign).push([word, sound(word), letters(sound(word))]);
      }
    }
  }

  /** The known word nearest to `word`; null where none is near or the word is a real one. */
  meant(word) {
    if (word.length < SHORTEST || !/^[a-z]+$/.test(word) || isReal(word, this.real)) return null;
    word = sound(word);
    const most = word.length >= LONG ? 2 : 1, mine = letters(word);
    let best = Infinity, found = null;
    for (const sign of new Set(word.slice(0, 2))) {
      for (const [known, itsSound, its] of this.byLetter.get(sign) ?? []) {
        if (bitCount(mine ^ its) > 2 * most) continue;
        const other = known[0] === word[0] ? 0 : 1, count = edits(word, itsSound, most);
        const allowed = most === 2 ? most - other : most, rank = 2 * count + other;
        if (count <= allowed && rank < best) [best, found] = [rank, known];
      }
    }
    return found;
  }
}

/** Whether a word is one of `real`, or one of them with an ending: "hopes", "hoping". */
export function isReal(word, real) {
  return ENDINGS.some((ending) => {
    if (!word.endsWith(ending)) return false;
    const stem = word.slice(0, word.length - ending.length);
    const twice = stem.length > 3 && stem.at(-1) === stem.at(-2) ? stem.slice(0, -1) : stem;
    return real.has(stem) || real.has(`${stem}e`) || real.has(twice);
  });
}

/** Spelt as it sounds, where that is what people slip on: "elephant" as "elefant". */
function sound(word) {
  return word.replaceAll("ph", "f");
}

/** Which letters a word holds, as bits: two words n slips apart differ in 2n of them at most. */
function letters(word) {
  let bits = 0;
  for (let i = 0; i < word.length; i++) bits |= 1 << (word.charCodeAt(i) & 31);
  return bits;
}

function bitCount(bits) {
  let count = 0;
  for (; bits; bits &= bits - 1) count++;
  return count;
}
