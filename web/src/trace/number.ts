/**
 * A number for people, spelled as Python's `ops.render.number` does: `digits` significant digits,
 * whole numbers of integer values, e-notation beyond 1e-4 and 10^(digits+1).
 */
export function number(value: number, digits = 4, whole = false): string {
  if (whole) return String(value);
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return "0";
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  if (exponent >= -4 && exponent < digits + 1) {
    const places = Math.max(digits - 1 - exponent, 0);
    return halfToEven(value.toFixed(places), value.toFixed(EXACT));
  }
  return scientific(value, digits);
}

const EXACT = 60; // places: a float64 from 1e-4 on that ends in a 5 to be rounded has fewer

/** JavaScript rounds a number half-way between two away from zero, Python to the even one. */
function halfToEven(rounded: string, exact: string): string {
  const at = rounded.includes(".") ? rounded.length : rounded.length + 1;
  const last = Number(rounded.at(-1));
  return last % 2 === 1 && /^50*$/.test(exact.slice(at))
    ? rounded.slice(0, -1) + (last - 1)
    : rounded;
}

/** As Python's `%e`: at least two digits of exponent. */
function scientific(value: number, digits: number): string {
  const [rounded, exponent] = value.toExponential(digits - 1).split("e");
  const mantissa = halfToEven(rounded, value.toExponential(EXACT).split("e")[0]);
  const power = Math.abs(Number(exponent));
  return `${mantissa}e${Number(exponent) < 0 ? "-" : "+"}${power < 10 ? "0" : ""}${power}`;
}

/** A constant of a formula, as Python's `%g`. */
export function plain(value: number): string {
  if (!Number.isFinite(value)) return number(value);
  const exponent = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)));
  if (exponent < -4 || exponent >= 6) {
    return scientific(value, 6).replace(/\.?0+e/, "e");
  }
  return String(Number(value.toPrecision(6)));
}

/** A change for people: its sign is always told. */
export const signed = (value: number): string => (value > 0 ? "+" : "") + number(value);

/** As many significant digits as it takes to see that a value changed by so much. */
export const digitsFor = (value: number, change: number): number =>
  change ? Math.min(Math.max(4, Math.floor(Math.log10(Math.abs(value / change))) + 3), 9) : 4;

/** The class in whose colour a signed number is written. */
export const tone = (value: number): string =>
  value > 0 ? "positive" : value < 0 ? "negative" : "";

/** A number in full: the shortest spelling that reads back the same double. */
export function full(value: number): string {
  if (Object.is(value, -0)) return "-0";
  return Number.isFinite(value) ? String(value) : number(value);
}

/** A count for people: 110,592. */
export const count = (n: number): string => n.toLocaleString("en");

/** Bytes for people: 1.2 MB. */
export function bytes(n: number): string {
  const units = ["bytes", "KB", "MB", "GB"];
  const power = n < 1000 ? 0 : Math.min(Math.floor(Math.log10(n) / 3), 3);
  return `${Number((n / 1000 ** power).toPrecision(3))} ${units[power]}`;
}
