/** Numbers as people read them; those of arithmetic are spelled in `spelling`. */
import { compared, number, type Compared } from "./spelling";

export { number };

/** Names of powers of a thousand, from a million on. */
const LARGE = ["million", "billion", "trillion"];

/** A probability for people: in per cent, or as one in so many where that would be a long fraction; “1 in 12,000” stays on one line. */
export function chance(p: number): string {
  if (!(p > 0)) return p === 0 ? "0%" : number(p);
  if (p === 1) return "100%";
  if (p >= 0.001) {
    const percent = 100 * p;
    // as many decimals as it takes to be less than all of it
    const most = Math.ceil(-Math.log10(100 - percent) - 1e-6);
    const decimals = percent >= 1 ? Math.min(Math.max(most, 1), 9) : 2;
    return `${percent.toFixed(decimals)}%`;
  }
  const of = Number((1 / p).toPrecision(2));
  const group = Math.floor(Math.log10(of) / 3) - 2;
  if (group < 0) return `1\u00a0in\u00a0${count(of)}`;
  if (group >= LARGE.length) return `1\u00a0in\u00a010^${Math.round(-Math.log10(p))}`;
  return `1\u00a0in\u00a0${Number((of / 10 ** (3 * group + 6)).toPrecision(2))} ${LARGE[group]}`;
}

/** Probabilities before and after in per cent, and their difference in points, which adds up as printed. */
export const comparedChances = (pairs: [before: number, after: number][]): Compared[] =>
  compared(pairs.map(([before, after]) => [100 * before, 100 * after])).map(
    ([before, after, difference]): Compared => [`${before}%`, `${after}%`, difference],
  );

/** A change for people: its sign is always told. */
export const signed = (value: number): string => (value > 0 ? "+" : "") + number(value);

/** As many significant digits as it takes to see that a value changed by so much. */
export const digitsFor = (value: number, change: number): number =>
  change ? Math.min(Math.max(4, Math.floor(Math.log10(Math.abs(value / change))) + 3), 9) : 4;

/** The class in whose color a signed number is written. */
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
