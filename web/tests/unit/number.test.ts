import { describe, expect, test } from "vitest";
import { bytes, chance, count, digitsFor, full, signed } from "../../src/trace/number";
import { constant, number, spelled } from "../../src/trace/spelling";

describe("a number for people", () => {
  test.each([
    [0.30000000000000004, "0.3000"],
    [-1234567, "-1.235e+06"],
    [-Infinity, "-inf"],
    [NaN, "nan"],
    [0, "0"],
    [-0, "0"],
    [0.00001234, "1.234e-05"],
    [99994, "99994"],
    [99999, "1.000e+05"],
    [1e-4, "0.0001000"],
  ])("%s is written %s", (value, text) => expect(number(value)).toBe(text));

  test("a count has no decimals", () => expect(number(7, 4, true)).toBe("7"));

  test("a half-way case goes to the even digit, as in Python", () => {
    expect(number(0.125, 2)).toBe("0.12");
    expect(number(0.375, 2)).toBe("0.38");
    expect(number(2.5e-7, 1)).toBe("2e-07");
  });
});

test("zeros at the end say that something was rounded", () => {
  expect(spelled(0.5, 4)).toBe("0.5");
  expect(spelled(0.50001, 4)).toBe("0.5000");
  expect(spelled(1234000, 4)).toBe("1.234e+06");
});

test("a constant is written exactly", () => {
  expect([Math.PI, 1e-5, 0.044715, 64].map(constant)).toEqual(["pi", "1e-05", "0.044715", "64"]);
});

describe("a chance", () => {
  test.each([
    [0.9996, "99.96%"],
    [0.9999999, "99.99999%"],
    [0.5, "50.0%"],
    [0.0123, "1.2%"],
    [0.00234, "0.23%"],
    [5.966e-5, "1\u00a0in\u00a017,000"],
    [4e-8, "1\u00a0in\u00a025 million"],
    [3e-20, "1\u00a0in\u00a010^20"],
    [0, "0%"],
    [1, "100%"],
  ])("of %s is %s", (p, text) => expect(chance(p)).toBe(text));
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
