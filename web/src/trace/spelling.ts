/**
 * How numbers are written, and with how many digits, so that printed arithmetic is true as printed:
 * function by function Python's `formula.spelling`, which says the rules.
 */
const OPERAND_DIGITS = [4, 5, 6, 7, 8, 9];
const MOST = 9;
const RESULT_DIGITS = [6, 5, 4];
/** Digits that tell any double from its neighbors; `spelled` then takes the fewest that do. */
export const FULL = 17;

/**
 * A number for people: `digits` significant digits, whole numbers of integer values, e-notation
 * beyond 1e-4 and 10^(digits+1).
 */
export function number(value: number, digits = 4, integer = false): string {
  if (integer) return String(value);
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return "0";
  const written = scientific(value, digits);
  const exponent = exponentOf(written);
  if (exponent < -4 || exponent > digits) return written;
  const decimals = Math.max(digits - 1 - exponent, 0);
  return halfToEven(value.toFixed(decimals), value.toFixed(EXACT));
}

const exponentOf = (written: string): number => Number(written.slice(written.indexOf("e") + 1));

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

/** A number to calculate with: `number` without zeros that say nothing. */
export function spelled(value: number, digits: number, integer = false): string {
  if (digits >= FULL && Number.isFinite(value)) {
    const significant = String(value).replace(/e.*$/, "").replace(/[-.]/g, "");
    digits = Math.max(significant.replace(/^0+|0+$/g, "").length, 1);
  }
  const text = number(value, digits, integer);
  const [mantissa, exponent] = text.split("e");
  if (!mantissa.includes(".") || Number(text) !== value) return text;
  return mantissa.replace(/\.?0+$/, "") + (exponent === undefined ? "" : `e${exponent}`);
}

/** A formula's own constant, exactly. */
export function constant(value: number): string {
  if (value === Math.PI) return "pi";
  return Number.isSafeInteger(value) ? String(value + 0) : spelled(value, FULL);
}

/** Whether a constant is written exactly; one that was computed may have too many digits. */
export const isShort = (value: number): boolean =>
  value === Math.PI || !Number.isFinite(value) || Number(spelled(value, MOST)) === value;

/** Whether a value is the result, rounded to so many digits; a whole result is it exactly. */
const same = (value: number, result: number, digits: number, integer = false): boolean =>
  integer ? value === result : number(value, digits) === number(result, digits);

/** Significant digits of a line's operands and of its result; whether the line then holds. */
export interface Digits {
  operands: number;
  result: number;
  holds: boolean;
}

/**
 * With how many digits a line must be printed to be true as printed. `evaluated(d)` is the line's
 * value when its operands are spelled with d digits.
 */
export function fewestDigits(
  result: number,
  evaluated: (digits: number) => number,
  integer = false,
): Digits {
  const values = new Map<number, number>();
  for (const digits of RESULT_DIGITS) {
    for (const operands of OPERAND_DIGITS) {
      const value = values.get(operands) ?? evaluated(operands);
      values.set(operands, value);
      if (same(value, result, digits, integer)) return { operands, result: digits, holds: true };
    }
  }
  return { operands: MOST, result: RESULT_DIGITS.at(-1)!, holds: false };
}

/** As `fewestDigits`, with every operand in full and the most digits of the result. */
export function fullDigits(
  result: number,
  evaluated: (digits: number) => number,
  integer = false,
): Digits {
  const value = evaluated(FULL);
  for (let digits = FULL; digits >= RESULT_DIGITS.at(-1)!; digits--) {
    if (same(value, result, digits, integer))
      return { operands: FULL, result: digits, holds: true };
  }
  return { operands: FULL, result: RESULT_DIGITS.at(-1)!, holds: false };
}

/** The digits, of those that an operand may have, with which `holds` is true; else the most. */
export const enough = (holds: (digits: number) => boolean): number =>
  OPERAND_DIGITS.find(holds) ?? MOST;

/** How the numbers of one column are written: all with the same places, so that they add up. */
export class Fixed {
  private readonly one: number;
  private readonly other: number;

  constructor(
    readonly places: number,
    readonly exponent = 0,
    readonly holds = true,
  ) {
    const half = Math.floor(places / 2);
    this.one = power(half);
    this.other = power(places - half);
  }

  /** The fewest places with which the terms as printed add up to their sum, rounded. */
  static ofSum(terms: Float64Array): Fixed {
    const finite = terms.every(Number.isFinite) ? terms : terms.filter(Number.isFinite);
    const total = pairwise(finite);
    const columns = Fixed.columns(finite);
    const sums = new Map<Fixed, number>();
    for (const digits of RESULT_DIGITS) {
      for (const column of columns) {
        const units = sums.get(column) ?? column.summed(finite);
        sums.set(column, units);
        if (same(column.value(units), total, digits)) return column;
      }
    }
    const { places, exponent } = columns.at(-1)!;
    return new Fixed(places, exponent, false);
  }

  /** The fewest places with which before + difference = after, 3 digits of it at least. */
  static ofDifference(before: number, after: number): Fixed {
    const difference = after - before;
    const columns = Fixed.columns([before, after]);
    const holds = (column: Fixed) => {
      const change = column.units(difference);
      const adds = column.units(after) - column.units(before) === change;
      return adds && (difference === 0 || Math.abs(change) >= 100);
    };
    return columns.find(holds) ?? columns.at(-1)!;
  }

  /** Columns in which the largest of these numbers has 4, 5, ... 9 significant digits. */
  static columns(values: number[] | Float64Array): Fixed[] {
    let largest = 0;
    for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]));
    const e = largest ? exponentOf(largest.toExponential(6)) : 0;
    const exponent = e >= -4 && e <= 5 ? 0 : e;
    const decimals = OPERAND_DIGITS.map((digits) => Math.max(digits - 1 - e, -exponent));
    return [...new Set(decimals)].map((at) => new Fixed(at, exponent));
  }

  /** How many units a number is; a tie is the even one, 0 for what is not finite. */
  units(value: number): number {
    return Number.isFinite(value) ? evenRound(value * this.one * this.other) : 0;
  }

  private summed(values: Float64Array): number {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += this.units(values[i]);
    return sum;
  }

  /** The number that `text` writes. */
  value(units: number): number {
    return Number(this.text(units));
  }

  /** So many units as a decimal number. */
  text(units: number): string {
    const decimals = this.places + this.exponent;
    const digits = String(Math.abs(units)).padStart(decimals + 1, "0");
    const written = decimals ? `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}` : digits;
    const { exponent: e } = this;
    const by = e ? `e${e < 0 ? "-" : "+"}${String(Math.abs(e)).padStart(2, "0")}` : "";
    return `${units < 0 ? "-" : ""}${written}${by}`;
  }
}

/** Numbers before and after and their difference as printed: before + difference = after. */
export type Compared = [before: string, after: string, difference: string];

/** Rows of two numbers and their difference, all with the places that the largest one needs. */
export function compared(pairs: [before: number, after: number][]): Compared[] {
  const known = (pair: number[]) => pair.every(Number.isFinite);
  const distance = ([before, after]: number[]) => Math.abs(after - before);
  const widest = pairs.filter(known).reduce<[number, number] | null>((most, pair) => {
    return most && distance(most) >= distance(pair) ? most : pair;
  }, null);
  const column = widest ? Fixed.ofDifference(...widest) : new Fixed(0);
  return pairs.map((pair): Compared => {
    const [before, after] = pair;
    if (!known(pair)) return [number(before), number(after), number(after - before)];
    const [start, end] = pair.map((value) => column.units(value));
    const difference = column.text(end - start);
    return [column.text(start), column.text(end), end > start ? `+${difference}` : difference];
  });
}

/** 10^n as the nearest double, which JavaScript's own power need not be. */
const power = (n: number): number => Number(`1e${n}`);

/** Added to a number below 2^51 it leaves no room for a fraction: the sum is rounded to a whole one, a tie to the even. */
const NO_FRACTION = 1.5 * 2 ** 52;

function evenRound(x: number): number {
  if (Math.abs(x) < 2 ** 51) return x + NO_FRACTION - NO_FRACTION;
  const floor = Math.floor(x);
  const over = x - floor;
  return over < 0.5 || (over === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

const BLOCK = 128;
const lanes = new Float64Array(8); // of the block that is being added

/** The sum as NumPy adds: in blocks, halves of halves (Higham 1993), so that the last digits are the same. */
export function pairwise(values: number[] | Float64Array, from = 0, to = values.length): number {
  const n = to - from;
  if (n < 8) {
    let sum = 0;
    for (let i = from; i < to; i++) sum += values[i];
    return sum;
  }
  if (n > BLOCK) {
    const half = Math.floor(n / 2);
    const middle = from + half - (half % 8);
    return pairwise(values, from, middle) + pairwise(values, middle, to);
  }
  const r = lanes;
  for (let j = 0; j < 8; j++) r[j] = values[from + j];
  let i = from + 8;
  for (; i + 8 <= to; i += 8) for (let j = 0; j < 8; j++) r[j] += values[i + j];
  let sum = r[0] + r[1] + (r[2] + r[3]) + (r[4] + r[5] + (r[6] + r[7]));
  for (; i < to; i++) sum += values[i];
  return sum;
}
