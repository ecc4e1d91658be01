/** Numbers as a dtype holds them. Arrays are float64 throughout; what is stored in one is rounded to its value's dtype. */

/** Round the numbers [from, to) of an array in place. */
export type Rounding = (numbers: Float64Array, from: number, to: number) => void;

const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

const ROUNDINGS: Record<string, Rounding> = {
  float64: () => {},
  int64: () => {},
  float32: (numbers, from, to) => {
    for (let i = from; i < to; i++) numbers[i] = Math.fround(numbers[i]);
  },
  bfloat16: (numbers, from, to) => {
    for (let i = from; i < to; i++) {
      single[0] = numbers[i];
      // to the nearest, of two equally near ones to that with an even last bit; NaN stays NaN
      if (single[0] === single[0]) bits[0] = (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & ~0xffff;
      numbers[i] = single[0];
    }
  },
};

export function rounding(dtype: string): Rounding {
  const found = ROUNDINGS[dtype];
  if (!found) throw new Error(`this page does not compute in ${dtype}`);
  return found;
}
