/** What a line chart of training needs: places, ticks, paths. */
import { extent } from "../../parts/space";

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

function scale(
  from: number,
  to: number,
  [start, end]: [number, number],
  marks: number[],
  bend = (x: number) => x,
  unbend = bend,
): Scale {
  const [low, high] = [bend(from), bend(to)];
  const place = (value: number) => start + ((bend(value) - low) / (high - low)) * (end - start);
  const invert = (at: number) => unbend(low + ((at - start) / (end - start)) * (high - low));
  return Object.assign(place, { invert, ticks: marks });
}

/** Steps from left to right; on a logarithmic axis one is added, so that step 0 has a place. */
export function across(frame: Frame, last: number, log: boolean): Scale {
  const range: [number, number] = [frame.left, frame.width - frame.right];
  if (log)
    return scale(
      0,
      last,
      range,
      [0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000].filter((step) => step <= last),
      Math.log1p,
      Math.expm1,
    );
  return scale(
    0,
    last,
    range,
    ticks(0, last, Math.max(Math.floor(frame.width / 130), 2)).filter(Number.isInteger),
  );
}

/** One, two or five times a power of ten: what leads from one number to another in about `count` steps. */
function stepOf(from: number, to: number, count: number): number {
  const rough = (to - from) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const digits = rough / power;
  return power * (digits > 7.07 ? 10 : digits > 3.16 ? 5 : digits > 1.41 ? 2 : 1);
}

function ticks(from: number, to: number, count: number): number[] {
  const step = stepOf(from, to, count);
  const first = Math.ceil(from / step);
  // a division by a whole number ends where a product with 0.1 does not
  return Array.from({ length: Math.floor(to / step) - first + 1 }, (_, i) =>
    step < 1 ? (first + i) / Math.round(1 / step) : (first + i) * step,
  );
}

/** Values from bottom to top, with a little air. */
export function upward(frame: Frame, values: number[], fromZero: boolean): Scale {
  let [low, high] = extent(values.filter(Number.isFinite));
  if (low > high) [low, high] = [0, 1];
  if (fromZero) low = Math.min(low, 0);
  if (low === high)
    [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  const step = stepOf(low, high, 5);
  [low, high] = [Math.floor(low / step) * step, Math.ceil(high / step) * step];
  return scale(low, high, [frame.height - frame.bottom, frame.top], ticks(low, high, 5));
}

/** A line through the points; numbers that are not finite leave a gap. */
export function path(points: Point[], x: Scale, y: Scale): string {
  let pen = "M";
  return points
    .map(({ step, value }) => {
      if (!Number.isFinite(value)) return ((pen = "M"), "");
      const piece = `${pen}${x(step).toFixed(1)},${y(value).toFixed(1)}`;
      pen = "L";
      return piece;
    })
    .join("");
}

/** The mean of each point and as many neighbors on both sides, `wide` together at most. */
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
  for (const point of points)
    if (Math.abs(point.step - step) < Math.abs(best.step - step)) best = point;
  return best;
}
