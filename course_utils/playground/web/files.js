// Where the files of a model come from: beside the page, or packed into it.
//
//   {base: "models/emoji-64/"}              fetched, with progress
//   {inline: {path: text or base64, ...}}   the whole page is one HTML file

import { CONFIGS, MERGES, WEIGHTS } from "./pipeline.js";

export const WORDS = "concepts.json"; // what the model was taught to draw; a model may lack it
export const READER = "reader.json"; // what typed words mean to it, where its prompts are read

/** All files of a model, as `Pipeline` takes them. tell(bytes so far, bytes in all) meanwhile. */
export async function readFiles(source, tell) {
  const read = source.inline ? unpack(source.inline) : fetcher(source, tell);
  const files = {};
  for (const path of Object.values(CONFIGS)) files[path] = parse(await read(path), path);
  files[MERGES] = new TextDecoder().decode(await read(MERGES));
  const words = await read(WORDS).catch(() => null);
  files[WORDS] = words && parse(words, WORDS);
  files[READER] = isRead(files[WORDS]) ? parse(await read(READER), READER) : null;
  for (const path of Object.values(WEIGHTS)) files[path] = (await read(path)).buffer;
  return files;
}

/** Whether prompts are read for a model; captions of scenes are as people type. */
function isRead(taught) {
  return taught !== null && (taught.kind ?? "emoji") === "emoji";
}

function parse(bytes, path) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Error(`${path} is not readable; it was not copied whole.`);
  }
}

function fetcher({ base, bytes: total }, tell) {
  let soFar = 0;
  return async (path) => {
    let answer;
    try {
      answer = await fetch(base + path);
    } catch {
      throw new Error(`${path} could not be fetched: there is no connection to the place that this `
        + "page came from. It works without one after the first complete visit.");
    }
    if (!answer.ok) {
      throw new Error(`${path} is missing where this page came from (status ${answer.status}), so `
        + "there is nothing to draw with. Whoever put the page there must copy all its files.");
    }
    const pieces = [], reader = answer.body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        pieces.push(value);
        tell(soFar += value.length, total);
      }
    } catch {
      throw new Error(`The connection ended while ${path} was on its way; load the page again.`);
    }
    const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  };
}

function unpack(inline) {
  return async (path) => {
    if (!(path in inline)) throw new Error(`${path} is not in this file.`);
    const packed = inline[path];
    if (!path.endsWith(".safetensors")) return new TextEncoder().encode(packed);
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(packed);
    const signs = atob(packed), bytes = new Uint8Array(signs.length);
    for (let i = 0; i < signs.length; i++) bytes[i] = signs.charCodeAt(i);
    return bytes;
  };
}
