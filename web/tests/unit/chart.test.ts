import { expect, test } from "vitest";
import {
  across,
  digitsOf,
  nearestPoint,
  path,
  smooth,
  upward,
} from "../../src/views/training/chart";
import { number } from "../../src/trace/number";

const frame = { width: 700, height: 280, left: 50, right: 30, top: 10, bottom: 30 };

test("a loss stands between round numbers, and step 0 has a place on a log axis", () => {
  const y = upward(frame, [1.93, 0.42, NaN], false);
  expect(y.ticks).toEqual([0, 0.5, 1, 1.5, 2]);
  expect([y.at(0), y.at(2)]).toEqual([250, 10]);
  const x = across(frame, 600, true);
  expect(x.ticks).toEqual([0, 1, 10, 100]);
  expect([x.at(0), x.at(600)]).toEqual([50, 670]);
  expect(x.invert(x.at(37))).toBeCloseTo(37, 9);
});

test("steps are whole, and one value or none has an axis too", () => {
  expect(across(frame, 3, false).ticks).toEqual([0, 1, 2, 3]);
  expect(upward(frame, [2, 2], false).at(2)).toBeCloseTo(130, 9);
  expect(upward(frame, [], true).ticks.at(-1)).toBe(1);
});

test("marks that are near each other are written with digits that tell them apart", () => {
  expect(digitsOf([0, 0.5, 1, 1.5, 2])).toBe(3);
  const { ticks } = upward(frame, [2.0779, 2.0786], false);
  expect(new Set(ticks.map((tick) => number(tick, digitsOf(ticks)))).size).toBe(ticks.length);
});

test("a loss that is not finite leaves a gap in the line", () => {
  const values = [2, 1.5, NaN, 1, 0.5];
  const points = values.map((value, step) => ({ step, value }));
  const drawn = path(points, across(frame, 4, false), upward(frame, values, true));
  expect(drawn.match(/M/g)).toHaveLength(2);
  expect(drawn).not.toContain("NaN");
});

test("a running mean does not lag, and a pointer finds the nearest step", () => {
  const points = [0, 1, 2, 3, 4].map((step) => ({ step, value: 2 * step }));
  expect(smooth(points, 3)).toEqual(points);
  expect(nearestPoint(points, 2.6)).toBe(points[3]);
  expect(nearestPoint([], 1)).toBeUndefined();
});
