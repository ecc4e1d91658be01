/** What a line chart of training needs: axes, lines, a running mean. */
import { extent, nice, ticks } from "d3-array";
import { line } from "d3-shape";

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
interface Axis {
  at: (value: number) => number;
  invert: (pixel: number) => number;
  ticks: number[];
}

const same = (x: number) => x;
const POWERS = [0, ...Array.from({ length: 7 }, (_, k) => 10 ** k)];
const LINES = 5; // across the picture, about

/** An axis along which `bend` of the numbers is even. d3-scale would do it, with 10 KB of formats and colors. */
function axis(
  domain: [number, number],
  [start, end]: [number, number],
  marks: number[],
  bend = same,
  unbend = same,
): Axis {
  const [low, high] = domain.map(bend);
  return {
    at: (value) => start + ((bend(value) - low) / (high - low)) * (end - start),
    invert: (pixel) => unbend(low + ((pixel - start) / (end - start)) * (high - low)),
    ticks: marks,
  };
}

/** Steps from left to right; a logarithmic axis is that of log(1 + step), so that step 0 has an x. */
export function across(frame: Frame, last: number, log: boolean): Axis {
  const range: [number, number] = [frame.left, frame.width - frame.right];
  if (log) {
    const powers = POWERS.filter((step) => step <= last);
    return axis([0, last], range, powers, Math.log1p, Math.expm1);
  }
  const some = Math.max(Math.floor(frame.width / 130), 2);
  return axis([0, last], range, ticks(0, last, some).filter(Number.isInteger));
}

/** Values from bottom to top, between the lines about them. */
export function upward(frame: Frame, values: number[], fromZero: boolean): Axis {
  let [low = 0, high = 1] = extent(values.filter(Number.isFinite));
  if (fromZero) low = Math.min(low, 0);
  if (low === high)
    [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  [low, high] = nice(low, high, LINES);
  const range: [number, number] = [frame.height - frame.bottom, frame.top];
  return axis([low, high], range, ticks(low, high, LINES));
}

/** As many significant digits as it takes to tell an axis's marks apart, and 3 at least. */
export function digitsOf(marks: number[]): number {
  const [apart, largest] = [marks[1] - marks[0], Math.max(...marks.map(Math.abs))];
  return Math.max(3, Math.ceil(Math.log10(largest / apart)) + 1 || 0);
}

/** A line through the points; numbers that are not finite leave a gap. */
export const path = (points: Point[], x: Axis, y: Axis): string =>
  line<Point>()
    .defined(({ value }) => Number.isFinite(value))
    .x(({ step }) => x.at(step))
    .y(({ value }) => y.at(value))
    .digits(1)(points)!;

/** The mean of each point and as many neighbors on both sides, `wide` together at most. */
export function smooth(points: Point[], wide: number): Point[] {
  return points.map(({ step }, i) => {
    const side = Math.min(Math.floor(wide / 2), i, points.length - 1 - i);
    const around = points.slice(i - side, i + side + 1).filter(({ value }) => !Number.isNaN(value));
    return { step, value: around.reduce((sum, { value }) => sum + value, 0) / around.length };
  });
}

/** The point whose step is nearest. */
export const nearestPoint = (points: Point[], step: number): Point | undefined =>
  points.toSorted((a, b) => Math.abs(a.step - step) - Math.abs(b.step - step))[0];
