/** Principal components: the two directions along which the rows of a table differ most. */
import { dot, norm } from "./space";

export interface Places {
  x: Float64Array;
  y: Float64Array;
}

export interface Picture extends Places {
  /** The share of the rows' variance that each direction holds. */
  shares: [number, number];
}

interface Plane2 extends Picture {
  /** Where the rows of another table of the same width lie in this picture. */
  project: (values: Float64Array, rows: number) => Places;
}

const ROUNDS = 3000;
const SETTLED = 1e-11; // how little a direction moves in its last round

/** Rows of `width` numbers, seen along their first two principal components. The same table always gives the same picture. */
export function twoDirections(values: Float64Array, rows: number, width: number): Plane2 {
  const center = Float64Array.from({ length: width }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < rows; i++) sum += values[i * width + k];
    return sum / rows;
  });
  const covariance = outer(
    values.slice(0, rows * width).map((value, i) => value - center[i % width]),
    rows,
    width,
  );
  const total = covariance.reduce((sum, row, k) => sum + row[k], 0) || 1;
  const first = strongest(covariance, null);
  const second = strongest(covariance, first.direction);
  const project = (table: Float64Array, n: number): Places => {
    const along = (direction: Float64Array) => {
      const zero = dot(center, direction);
      return Float64Array.from(
        { length: n },
        (_, i) => dot(table.subarray(i * width, (i + 1) * width), direction) - zero,
      );
    };
    return { x: along(first.direction), y: along(second.direction) };
  };
  return {
    ...project(values, rows),
    project,
    shares: [first.strength / total, second.strength / total],
  };
}

/** The sum over rows of each row's products with itself: n times the covariance. */
function outer(centered: Float64Array, rows: number, width: number): Float64Array[] {
  const sums = Array.from({ length: width }, () => new Float64Array(width));
  for (let i = 0; i < rows; i++) {
    const row = centered.subarray(i * width, (i + 1) * width);
    for (let a = 0; a < width; a++) {
      for (let b = 0; b < width; b++) sums[a][b] += row[a] * row[b];
    }
  }
  return sums;
}

/** The eigenvector of largest eigenvalue at right angles to `without`, by power iteration; its largest entry is positive. */
function strongest(
  matrix: Float64Array[],
  without: Float64Array | null,
): { direction: Float64Array; strength: number } {
  const start = matrix.reduce(
    (best, row, k) => (free(row, without) > free(matrix[best], without) ? k : best),
    0,
  );
  let direction = unit(apart(matrix[start], without));
  for (let round = 0; round < ROUNDS; round++) {
    const next = unit(apart(times(matrix, direction), without));
    const moved = Math.max(...next.map((value, k) => Math.abs(value - direction[k])));
    direction = next;
    if (moved < SETTLED) break;
  }
  const strength = dot(direction, times(matrix, direction));
  const peak = direction.reduce(
    (best, value) => (Math.abs(value) > Math.abs(best) ? value : best),
    0,
  );
  return { direction: peak < 0 ? direction.map((value) => -value) : direction, strength };
}

const times = (matrix: Float64Array[], vector: Float64Array) =>
  Float64Array.from(matrix, (row) => dot(row, vector));
const free = (vector: Float64Array, without: Float64Array | null) => norm(apart(vector, without));

function apart(vector: Float64Array, without: Float64Array | null): Float64Array {
  if (!without) return vector;
  const along = dot(vector, without);
  return vector.map((value, k) => value - along * without[k]);
}

function unit(vector: Float64Array): Float64Array {
  const length = norm(vector) || 1;
  return vector.map((value) => value / length);
}
