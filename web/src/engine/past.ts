/** The weights at earlier steps, which a file holds as differences on a grid (Python's `server.past`). */
import type { PackedSnapshots } from "../api";
import { unpackWhole } from "./pack";

/** Of every step the plan's weights one after another; `weights` are those the file opens with. */
export async function unpackSnapshots(
  { steps, grids }: PackedSnapshots,
  weights: Float64Array[],
): Promise<Map<number, Float64Array>> {
  const each = weights.flatMap((weight, i) => Array<number>(weight.length).fill(grids[i]));
  let multiples = weights.flatMap((weight, i) =>
    Array.from(weight, (w) => Math.floor(w / grids[i] + 0.5)),
  );
  const latestFirst = Object.keys(steps)
    .map(Number)
    .sort((a, b) => b - a);
  const result = new Map<number, Float64Array>();
  for (const step of latestFirst) {
    const differences = await unpackWhole(steps[step]);
    multiples = multiples.map((n, i) => n + differences[i]);
    result.set(
      step,
      Float64Array.from(multiples, (n, i) => n * each[i]),
    );
  }
  return result;
}
