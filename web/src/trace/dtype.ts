/** The types of numbers that a trace holds. */

export type Numbers = Float32Array | Float64Array;

interface Dtype {
  bytes: number;
  whole: boolean;
  /** From little-endian bytes, which is how every machine with a browser holds numbers. */
  read: (buffer: ArrayBuffer) => Numbers;
}

const integers = (kind: {
  BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBuffer): ArrayLike<number | bigint>;
}): Dtype => ({
  bytes: kind.BYTES_PER_ELEMENT,
  whole: true,
  read: (buffer) => Float64Array.from(new kind(buffer) as ArrayLike<number>, Number),
});

export const DTYPES: Record<string, Dtype> = {
  float32: { bytes: 4, whole: false, read: (buffer) => new Float32Array(buffer) },
  float64: { bytes: 8, whole: false, read: (buffer) => new Float64Array(buffer) },
  bfloat16: {
    bytes: 2,
    whole: false,
    read: (buffer) =>
      new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer),
  },
  float16: {
    bytes: 2,
    whole: false,
    read: (buffer) => Float32Array.from(new Uint16Array(buffer), float16),
  },
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

/** The half distance from 1 to the next larger number of a dtype; 0 for whole numbers, which are exact. */
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
