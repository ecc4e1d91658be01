/** What a line chart of training needs: scales, ticks, paths. */
import { bisectCenter, mean } from "d3-array";
import { scaleLinear, scaleSymlog } from "d3-scale";
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

/** Steps from left to right; logarithmic ones still hold step 0. */
export function across(frame: Frame, last: number, log: boolean) {
  const range = [frame.left, frame.width - frame.right];
  return log ? scaleSymlog().constant(1).domain([0, Math.max(last, 1)]).range(range) : scaleLinear().domain([0, Math.max(last, 1)]).range(range);
}

export function stepTicks(frame: Frame, last: number, log: boolean): number[] {
  if (!log) return scaleLinear().domain([0, Math.max(last, 1)]).ticks(Math.max(Math.floor(frame.width / 130), 2)).filter(Number.isInteger);
  return [0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000].filter((step) => step <= last);
}

/** Values from bottom to top, with a little air. */
export function upward(frame: Frame, values: number[], fromZero: boolean) {
  const finite = values.filter(Number.isFinite);
  let [low, high] = [Math.min(...finite), Math.max(...finite)];
  if (!finite.length) [low, high] = [0, 1];
  if (fromZero) low = Math.min(low, 0);
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  return scaleLinear().domain([low, high]).nice(5).range([frame.height - frame.bottom, frame.top]);
}

export const path = (points: Point[], x: (step: number) => number, y: (value: number) => number): string =>
  line<Point>((p) => x(p.step), (p) => y(p.value)).defined((p) => Number.isFinite(p.value))(points) ?? "";

/** The mean of each point and its neighbours, `wide` together; shorter at the ends. */
export function smooth(points: Point[], wide: number): Point[] {
  const half = Math.floor(wide / 2);
  return points.map(({ step }, i) => ({ step, value: mean(points.slice(Math.max(i - half, 0), i + half + 1), (p) => p.value)! }));
}

/** The point whose step is nearest. */
export const nearestPoint = (points: Point[], step: number): Point | undefined => points[bisectCenter(points.map((p) => p.step), step)];
