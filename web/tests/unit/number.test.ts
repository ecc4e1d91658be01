import { describe, expect, test } from "vitest";
import { bytes, count, digitsFor, full, number, plain, signed } from "../../src/trace/number";

describe("a number for people", () => {
  test.each([
    [0.30000000000000004, "0.3000"],
    [-1234567, "-1.235e+06"],
    [-Infinity, "-inf"],
    [NaN, "nan"],
    [0, "0"],
    [-0, "0"],
    [0.00001234, "1.234e-05"],
    [99999, "99999"],
    [1e-4, "0.0001000"],
  ])("%s is written %s", (value, text) => expect(number(value)).toBe(text));

  test("a count has no decimals", () => expect(number(7, 4, true)).toBe("7"));

  test("a half-way case goes to the even digit, as in Python", () => {
    expect(number(0.125, 2)).toBe("0.12");
    expect(number(0.375, 2)).toBe("0.38");
    expect(number(2.5e-7, 1)).toBe("2e-07");
  });
});

test("a constant is written as Python's %g writes it", () => {
  expect([1e-5, 0.044715, 100000, 1234567, 2.5].map(plain)).toEqual([
    "1e-05",
    "0.044715",
    "100000",
    "1.23457e+06",
    "2.5",
  ]);
});

test("a change tells its sign", () => {
  expect(signed(0.5)).toBe("+0.5000");
  expect(signed(-0.5)).toBe("-0.5000");
});

test("as many digits as it takes to see the change, at most nine", () => {
  expect(digitsFor(1, 0.5)).toBe(4);
  expect(digitsFor(1, 1e-5)).toBe(8);
  expect(digitsFor(1, 1e-12)).toBe(9);
});

test("a number in full reads back the same double", () => {
  for (const value of [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0])
    expect(Object.is(Number(full(value)), value)).toBe(true);
});

test("counts have separators and bytes have units", () => {
  expect(count(110592)).toBe("110,592");
  expect([999, 1234567].map(bytes)).toEqual(["999 bytes", "1.23 MB"]);
});
