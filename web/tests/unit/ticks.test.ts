import * as d3 from "d3-array";
import { expect, test } from "vitest";
import { extent, nice, ticks } from "../../src/parts/ticks";

test("an axis has the marks of d3-array, whatever it spans", () => {
  for (let i = 1; i < 3000; i++) {
    const [from, wide] = [Math.sin(i) * 10 ** (i % 5), 10 ** (((i * 7) % 11) - 4)];
    const [low, high] = [from, from + wide * (1 + (i % 10) / 10)];
    const count = 2 + (i % 9);
    expect([low, high, ...ticks(low, high, count)]).toEqual([
      low,
      high,
      ...d3.ticks(low, high, count),
    ]);
    const widened = nice(low, high, count);
    expect([low, high, ...widened]).toEqual([low, high, ...d3.nice(low, high, count)]);
    expect([low, high, ...ticks(...widened, count)]).toEqual([
      low,
      high,
      ...d3.ticks(...widened, count),
    ]);
  }
});

test("the ends of numbers pass over what is no number", () => {
  expect(extent([2, NaN, -1, 5])).toEqual([-1, 5]);
});
