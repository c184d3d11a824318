// One spelling for what looks the same, so that words can be compared. The twin in Python is
// course_utils/spelling.py.

/** White space as Python has it: JavaScript's \s differs in a few signs. For a class in a RegExp. */
export const SPACE = "\\p{White_Space}\\x1c-\\x1f";

const TONES = /[\u{1f3fb}-\u{1f3ff}]/gu; // skin tones, which follow an emoji

/**
 * Lower case, accents composed (NFC), a straight apostrophe; emoji without the variation selector
 * U+FE0F and without skin tones.
 */
export function plain(text) {
  return text.toLowerCase().normalize("NFC").replaceAll("’", "'").replaceAll("\ufe0f", "")
    .replace(TONES, "");
}

/** The text with accents taken off its letters: "piñata" becomes "pinata". */
export function withoutAccents(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, (sign) => (isCombining(sign) ? "" : sign));
}

/**
 * Whether a mark's combining class is not 0. JavaScript does not tell the class, but NFD puts marks
 * into its order: before U+0345 (class 240) go those from 1 to 239, behind U+0334 (class 1) those
 * from 2 on.
 */
function isCombining(mark) {
  return !`\u0345${mark}`.normalize("NFD").startsWith("\u0345")
    || `${mark}\u0334`.normalize("NFD").startsWith("\u0334");
}
