/** An embedding table as a space: cosines and analogies, as `glassformer.lab.embeddings` computes them. */
import type { Neighbor as Named } from "../api";

/** cosine = dot / (length * that of the vector asked about). */
export type Neighbor = Omit<Named, "token">;

const TINY = 1e-300; // stands for a length of zero in a division

export class Space {
  readonly lengths: Float64Array;

  /** values: `tokens` rows of `width` numbers each. */
  constructor(
    readonly values: Float64Array,
    readonly tokens: number,
    readonly width: number,
  ) {
    this.lengths = Float64Array.from({ length: tokens }, (_, i) => norm(this.row(i)));
  }

  row = (token: number): Float64Array =>
    this.values.subarray(token * this.width, (token + 1) * this.width);

  /** The tokens nearest to one token, itself left out. */
  nearest(token: number, count: number): Neighbor[] {
    return this.along(this.row(token), count, [token]);
  }

  /** The tokens nearest to a - b + c, each brought to length 1 first; the three are left out. */
  analogy(a: number, b: number, c: number, count: number): Neighbor[] {
    const [ua, ub, uc] = [a, b, c].map((token) =>
      this.row(token).map((value) => value / Math.max(this.lengths[token], TINY)),
    );
    return this.along(
      ua.map((value, k) => value - ub[k] + uc[k]),
      count,
      [a, b, c],
    );
  }

  private along(vector: Float64Array, count: number, without: number[]): Neighbor[] {
    const asked = norm(vector);
    const all = Array.from(this.lengths, (length, id) => {
      const product = dot(this.row(id), vector);
      return { id, cosine: product / Math.max(length * asked, TINY), dot: product, length };
    });
    return all
      .filter(({ id }) => !without.includes(id))
      .sort((one, other) => other.cosine - one.cosine)
      .slice(0, count);
  }
}

export function dot(one: Float64Array, other: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < one.length; k++) sum += one[k] * other[k];
  return sum;
}

export const norm = (vector: Float64Array): number => Math.sqrt(dot(vector, vector));
