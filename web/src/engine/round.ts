/** Numbers as a dtype holds them. Arrays are float64 throughout; what is stored in one is rounded to its value's dtype. */
import { bfloat16 } from "../trace/dtype";

/** Round the numbers [from, to) of an array in place. */
type Rounding = (numbers: Float64Array, from: number, to: number) => void;

const ROUNDINGS: Record<string, Rounding> = {
  float64: () => {},
  int64: () => {},
  float32: (numbers, from, to) => {
    for (let i = from; i < to; i++) numbers[i] = Math.fround(numbers[i]);
  },
  bfloat16: (numbers, from, to) => {
    for (let i = from; i < to; i++) numbers[i] = bfloat16(numbers[i]);
  },
};

export function rounding(dtype: string): Rounding {
  const result = ROUNDINGS[dtype];
  if (!result) throw new Error(`this page does not compute in ${dtype}`);
  return result;
}
