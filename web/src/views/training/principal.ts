/** The two directions in which the rows of a table differ most, and where rows lie along them. */
export interface PrincipalPlane {
  mean: Float64Array;
  directions: [Float64Array, Float64Array];
}

const ROUNDS = 100; // of the power iteration; the picture no longer changes by then

/** Power iteration on the covariance [d, d]; each direction's largest entry is positive. Source: Pearson 1901. */
export function principalPlane(table: Float64Array, d: number): PrincipalPlane {
  const rows = table.length / d;
  const mean = new Float64Array(d);
  for (let i = 0; i < table.length; i++) mean[i % d] += table[i] / rows;
  const covariance = new Float64Array(d * d);
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < d; i++) {
      const own = table[r * d + i] - mean[i];
      for (let j = i; j < d; j++) covariance[i * d + j] += own * (table[r * d + j] - mean[j]);
    }
  }
  for (let i = 0; i < d; i++) for (let j = 0; j < i; j++) covariance[i * d + j] = covariance[j * d + i];
  const first = leading(covariance, d, null);
  return { mean, directions: [first, leading(covariance, d, first)] };
}

/** Where each row lies: its coordinates along the two directions, one pair after the other. */
export function project(table: Float64Array, plane: PrincipalPlane): Float64Array {
  const d = plane.mean.length;
  const found = new Float64Array((2 * table.length) / d);
  for (let i = 0; i < table.length; i++) {
    const [r, c] = [Math.floor(i / d), i % d];
    for (const k of [0, 1]) found[2 * r + k] += (table[i] - plane.mean[c]) * plane.directions[k][c];
  }
  return found;
}

function leading(matrix: Float64Array, d: number, without: Float64Array | null): Float64Array {
  let at = Float64Array.from({ length: d }, (_, i) => 1 + i / d);
  for (let round = 0; round < ROUNDS; round++) {
    const next = new Float64Array(d);
    for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) next[i] += matrix[i * d + j] * at[j];
    if (without) {
      const along = next.reduce((sum, value, i) => sum + value * without[i], 0);
      next.forEach((value, i) => (next[i] = value - along * without[i]));
    }
    const length = Math.hypot(...next) || 1;
    at = next.map((value) => value / length);
  }
  const largest = at.reduce((best, value, i) => (Math.abs(value) > Math.abs(at[best]) ? i : best), 0);
  return at[largest] < 0 ? at.map((value) => -value) : at;
}
