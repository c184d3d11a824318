// Numbers onto canvases: pixels, latents as shades, differences, attention.

const STOPS = [[255, 255, 255], [246, 227, 218], [180, 69, 31], [34, 34, 34]]; // light is small

/** Pixels (3, side, side) in [-1, 1] as an ImageData. */
export function toImage(pixels) {
  const n = pixels.length / 3, side = Math.sqrt(n), image = new ImageData(side, side);
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round(pixels[c * n + i] * 127.5 + 127.5);
    image.data[4 * i + 3] = 255;
  }
  return image;
}

/** Show pixels on a canvas, which says in words what it shows. */
export function paint(canvas, pixels, words) {
  const image = toImage(pixels);
  Object.assign(canvas, { width: image.width, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.classList.remove("empty");
  canvas.setAttribute("aria-label", words);
}

/** A number from 0 to 1 as a shade from white over the accent to ink; it reads in grey, too. */
export function shade(value) {
  const at = Math.max(0, Math.min(1, value)) * (STOPS.length - 1);
  const i = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[i].map((from, c) => Math.round(from + (at - i) * (STOPS[i + 1][c] - from)));
}

/** Planes (C, side, side), two in a row, as shades between low and high. */
export function paintPlanes(canvas, numbers, side, words, low = -3, high = 3) {
  const planes = numbers.length / side ** 2, columns = Math.min(2, planes);
  const gap = columns > 1 ? 1 : 0, rows = Math.ceil(planes / columns);
  Object.assign(canvas, { width: columns * (side + gap) - gap, height: rows * (side + gap) - gap });
  const context = canvas.getContext("2d");
  for (let p = 0; p < planes; p++) {
    const image = new ImageData(side, side);
    for (let i = 0; i < side ** 2; i++) {
      const colour = shade((numbers[p * side ** 2 + i] - low) / (high - low));
      image.data.set([...colour, 255], 4 * i);
    }
    context.putImageData(image, (p % columns) * (side + 1), Math.floor(p / columns) * (side + 1));
  }
  canvas.classList.remove("empty");
  canvas.classList.add("pixels");
  canvas.setAttribute("aria-label", words);
}

/** Where two pictures differ, (side, side): the mean over colours of |a - b|, from 0 to 1. */
export function difference(a, b) {
  const n = a.length / 3;
  return Float32Array.from({ length: n }, (_, i) => {
    let total = 0;
    for (let c = 0; c < 3; c++) total += Math.abs(a[c * n + i] - b[c * n + i]) / 6;
    return total;
  });
}

export function paintDifference(canvas, a, b) {
  const plane = difference(a, b), mean = plane.reduce((sum, d) => sum + d, 0) / plane.length;
  paintPlanes(canvas, plane, Math.sqrt(plane.length),
    `Difference: ${(100 * mean).toFixed(1)} % on average`, 0, 0.7);
  return mean;
}

/** An attention map (side, side) as a veil over a picture: dark where nothing is looked for. */
export function paintVeil(canvas, map, side) {
  const most = Math.max(...map, 1e-9), image = new ImageData(side, side);
  map.forEach((value, i) => (image.data[4 * i + 3] = Math.round(215 * (1 - value / most))));
  const small = new OffscreenCanvas(side, side);
  small.getContext("2d").putImageData(image, 0, 0);
  Object.assign(canvas, { width: 32 * side, height: 32 * side });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

/** A canvas enlarged, as a PNG's bytes. */
export async function enlarged(canvas, times) {
  const large = new OffscreenCanvas(canvas.width * times, canvas.height * times);
  const context = large.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, large.width, large.height);
  return new Uint8Array(await (await large.convertToBlob({ type: "image/png" })).arrayBuffer());
}
