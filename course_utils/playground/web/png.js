// Text in a PNG file: how a picture was made, as `course draw --info` reads it.
//
// A chunk is its length, its type, its data and a check sum (PNG specification, sections 5.3 and
// 11.3.3.4); an iTXt chunk holds a keyword and UTF-8 text.

/** The file's bytes with an iTXt chunk for each entry, after its header. */
export function withText(png, entries) {
  const chunks = Object.entries(entries).map(([key, text]) => {
    const encode = (part) => new TextEncoder().encode(part);
    return chunk("iTXt", [...encode(key), 0, 0, 0, 0, 0, ...encode(text)]);
  });
  const header = 8 + 25; // the signature and the chunk IHDR
  return new Blob([png.slice(0, header), ...chunks, png.slice(header)], { type: "image/png" });
}

function chunk(type, data) {
  const bytes = new Uint8Array(12 + data.length), view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, checkSum(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

/** CRC-32 (PNG specification, annex D). */
export function checkSum(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}
