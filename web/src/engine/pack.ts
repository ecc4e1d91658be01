/** What an exported file holds packed: compressed with gzip, in base 85 (Python's `server.packing`). */

const LETTERS =
  "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%.()*+-;,=>?@^_`{|}~";

/** The bytes of a text in base 85: four bytes are five letters, and what is missing of the last five is cut off. */
function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const digits = new Uint8Array(128);
  for (let i = 0; i < LETTERS.length; i++) digits[LETTERS.charCodeAt(i)] = i;
  const n = Math.ceil(text.length / 5);
  const words = new DataView(new ArrayBuffer(4 * n));
  for (let i = 0; i < n; i++) {
    let word = 0;
    for (let k = 5 * i; k < 5 * i + 5; k++)
      word = word * 85 + (k < text.length ? digits[text.charCodeAt(k)] : 84);
    words.setUint32(4 * i, word);
  }
  return new Uint8Array(words.buffer, 0, 4 * n - (5 * n - text.length));
}

export async function unpack(packed: string): Promise<ArrayBuffer> {
  const stream = new Blob([bytesOf(packed)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

export async function unpackJson<T>(packed: string): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await unpack(packed))) as T;
}

/** 32-bit words, which lie there byte by byte: first the lowest byte of every word. */
async function unpackWords(packed: string): Promise<ArrayBuffer> {
  const planes = new Uint8Array(await unpack(packed));
  const n = planes.length / 4;
  const bytes = new Uint8Array(planes.length);
  for (let plane = 0; plane < 4; plane++)
    for (let i = 0; i < n; i++) bytes[4 * i + plane] = planes[plane * n + i];
  return bytes.buffer;
}

export const unpackNumbers = async (packed: string): Promise<Float64Array> =>
  Float64Array.from(new Float32Array(await unpackWords(packed)));

/** Whole numbers 0, -1, 1, -2, ..., packed as words 0, 1, 2, 3, ... */
export const unpackWhole = async (packed: string): Promise<Float64Array> =>
  Float64Array.from(new Uint32Array(await unpackWords(packed)), (word) =>
    word % 2 ? -(word + 1) / 2 : word / 2,
  );
