// What a denoiser's output means. x_t = alpha * x0 + sigma * epsilon, so that a network which
// predicts epsilon, x0 or v = alpha * epsilon - sigma * x0 predicts the other two as well.
// Lesson 02; the twin in Python is predictions.py.

/** The clean picture that an output stands for. All are numbers of one shape. */
export function toX0(output, x, alpha, sigma, type) {
  if (type === "sample") return output;
  if (type === "v_prediction") return x.map((number, i) => alpha * number - sigma * output[i]);
  return x.map((number, i) => (number - sigma * output[i]) / alpha);
}

/** The noise that an output stands for. */
export function toEpsilon(output, x, alpha, sigma, type) {
  if (type === "epsilon") return output;
  if (type === "v_prediction") return x.map((number, i) => alpha * output[i] + sigma * number);
  return x.map((number, i) => (number - alpha * output[i]) / sigma);
}
