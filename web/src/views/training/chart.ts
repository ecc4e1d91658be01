/** What a line chart of training needs: places, ticks, paths. */
import { extent } from "d3-array";

export interface Point {
  step: number;
  value: number;
}

export interface Frame {
  width: number;
  height: number;
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** Where a number stands in the picture, and back. */
export interface Scale {
  (value: number): number;
  invert: (place: number) => number;
  ticks: number[];
}

function scale(from: number, to: number, [start, end]: [number, number], marks: number[], bend = (x: number) => x, unbend = bend): Scale {
  const [low, high] = [bend(from), bend(to)];
  const place = (value: number) => start + ((bend(value) - low) / (high - low)) * (end - start);
  const invert = (at: number) => unbend(low + ((at - start) / (end - start)) * (high - low));
  return Object.assign(place, { invert, ticks: marks });
}

/** Round numbers around everything from `low` to `high`, `n` or a few more: steps of 1, 2 or 5 times a power of ten. */
function ticks(low: number, high: number, n: number): number[] {
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const by = power * [1, 2, 5, 10].find((times) => times * power >= rough * 0.99)!;
  const first = Math.floor(low / by);
  return Array.from({ length: Math.ceil(high / by) - first + 1 }, (_, i) => (first + i) * by);
}

/** Steps from left to right; on a logarithmic axis one is added, so that step 0 has a place. */
export function across(frame: Frame, last: number, log: boolean): Scale {
  const range: [number, number] = [frame.left, frame.width - frame.right];
  if (log) return scale(0, last, range, [0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000].filter((step) => step <= last), Math.log1p, Math.expm1);
  return scale(0, last, range, ticks(0, last, Math.max(Math.floor(frame.width / 130), 2)).filter((step) => Number.isInteger(step) && step <= last));
}

/** Values from bottom to top, with a little air. */
export function upward(frame: Frame, values: number[], fromZero: boolean): Scale {
  let [low = 0, high = 1] = extent(values.filter(Number.isFinite));
  if (fromZero) low = Math.min(low, 0);
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  const marks = ticks(low, high, 5);
  return scale(marks[0], marks.at(-1)!, [frame.height - frame.bottom, frame.top], marks);
}

/** A line through the points; numbers that are not finite leave a gap. */
export function path(points: Point[], x: Scale, y: Scale): string {
  let pen = "M";
  return points.map(({ step, value }) => {
    if (!Number.isFinite(value)) return (pen = "M"), "";
    const piece = `${pen}${x(step).toFixed(1)},${y(value).toFixed(1)}`;
    pen = "L";
    return piece;
  }).join("");
}

/** The mean of each point and as many neighbours on both sides, `wide` together at most. */
export function smooth(points: Point[], wide: number): Point[] {
  return points.map(({ step }, i) => {
    const side = Math.min(Math.floor(wide / 2), i, points.length - 1 - i);
    const near = points.slice(i - side, i + side + 1);
    return { step, value: near.reduce((sum, point) => sum + point.value, 0) / near.length };
  });
}

/** The point whose step is nearest. */
export function nearestPoint(points: Point[], step: number): Point | undefined {
  let best = points[0];
  for (const point of points) if (Math.abs(point.step - step) < Math.abs(best.step - step)) best = point;
  return best;
}
