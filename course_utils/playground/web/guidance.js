// Classifier-free guidance (Ho and Salimans 2022): say twice what is in the picture, without and
// with the words, and go further in the direction from the first to the second. Lesson 08; the
// twin in Python is guidance.py. A scale of 1 is off, as in diffusers.

/** without + scale * (withPrompt - without), numbers of one shape. */
export function combine(withPrompt, without, scale) {
  return without.map((number, i) => number + scale * (withPrompt[i] - number));
}

/** Which halves are needed at a scale: 1 needs only the prompt's, 0 only the negative one's. */
export function halves(scale) {
  return { negative: scale !== 1, positive: scale !== 0 };
}
