/** The types of numbers that a trace holds. */

export type Numbers = Float32Array | Float64Array;

export const BYTES: Record<string, number> = {
  float32: 4,
  float64: 8,
  bfloat16: 2,
  float16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
};

const integers =
  (kind: new (buffer: ArrayBuffer) => ArrayLike<number | bigint>) => (buffer: ArrayBuffer) =>
    Float64Array.from(new kind(buffer) as ArrayLike<number>, Number);

/** From little-endian bytes, which is how every machine with a browser holds numbers. */
export const READ: Record<string, (buffer: ArrayBuffer) => Numbers> = {
  float32: (buffer) => new Float32Array(buffer),
  float64: (buffer) => new Float64Array(buffer),
  bfloat16: (buffer) =>
    new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer),
  float16: (buffer) => Float32Array.from(new Uint16Array(buffer), float16),
  int64: integers(BigInt64Array),
  int32: integers(Int32Array),
  int16: integers(Int16Array),
  int8: integers(Int8Array),
  uint8: integers(Uint8Array),
  bool: integers(Uint8Array),
};

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** The nearest bfloat16, of two equally near ones that with an even last bit; NaN stays NaN. */
export function bfloat16(x: number): number {
  single[0] = x;
  if (x === x) singleBits[0] = (singleBits[0] + 0x7fff + ((singleBits[0] >>> 16) & 1)) & ~0xffff;
  return single[0];
}

function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent
    ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024)
    : sign * 2 ** -14 * (fraction / 1024);
}

/** The half distance from 1 to the next larger number of a dtype; whole numbers, which are exact, have none. */
export const ROUNDOFF: Record<string, number> = {
  float64: 2 ** -53,
  float32: 2 ** -24,
  float16: 2 ** -11,
  bfloat16: 2 ** -8,
};
/** The smallest normal number of a dtype. */
export const TINY: Record<string, number> = {
  float64: 2 ** -1022,
  float32: 2 ** -126,
  float16: 2 ** -14,
  bfloat16: 2 ** -126,
};
