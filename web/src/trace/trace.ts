import { format, KINDS, nameOf, nearest, parse, shortOf, type Address } from "./address";
import type { Formula } from "./formula";
import { DTYPES, Values, type Reader } from "./values";

/** What a value is to a reader; Python's `ops.op.Role`. */
export type Role =
  | "value"
  | "stream"
  | "score"
  | "masked_score"
  | "probability"
  | "normalized"
  | "copy"
  | "intermediate"
  | "change";

/** One recorded value: a row of the step table of a trace file. */
export interface Step {
  address: string;
  op: string | null;
  role: Role | null;
  formula: number | null;
  operands: Record<string, string>;
  consumers: string[];
  /** What JSON has no number for is text: "inf". */
  params: Record<string, number | string>;
  axes: string[];
  shape: number[];
  dtype: string;
  bytes: [number, number] | null;
  edited: boolean;
}

export interface Table {
  format: string;
  version: number;
  tile_bytes: number;
  labels: Record<string, string[]>;
  ops: Record<string, { says: string; source: string }>;
  formulas: Formula[];
  steps: Step[];
}

const LABELLED_AS: Record<string, string> = { query: "pos", key: "pos" };

/** A recorded pass, opened from the documented trace format: a step table and a file of numbers. */
export class Trace {
  readonly steps: Map<string, Step>;
  readonly values: Values;

  constructor(
    readonly table: Table,
    reader: Reader,
  ) {
    if (table.format !== "glassformer-trace" || table.version !== 2) {
      throw new Error(
        `this is ${table.format} version ${table.version}; the page reads glassformer-trace version 2`,
      );
    }
    this.steps = new Map(table.steps.map((step) => [step.address, step]));
    this.values = new Values(reader, table.tile_bytes);
  }

  step(path: string): Step {
    const step = this.steps.get(path);
    if (!step)
      throw new Error(
        `no value is named ${path} in this trace; near it: ${nearest(path, this.steps.keys()).join(", ")}`,
      );
    return step;
  }

  has = (path: string): boolean => this.steps.has(path);

  formula(step: Step): Formula | null {
    return step.formula === null ? null : this.table.formulas[step.formula];
  }

  /** Computed values of one kind, in the order they were computed. */
  ofKind(kind: string): Step[] {
    return this.table.steps.filter((step) => step.address.startsWith(`${kind}/`));
  }

  /** The word that an index of an axis stands for, with its spaces visible; "" where there is none. */
  word(axis: string, index: number): string {
    const words = this.table.labels[LABELLED_AS[axis] ?? axis];
    return words && index < words.length ? visible(words[index]) : "";
  }

  label(axis: string, index: number): string {
    return `${index} ${this.word(axis, index)}`.trimEnd();
  }

  /** One plain sentence about how the value is made. */
  says(step: Step): string {
    if (step.op === null) {
      if (step.address.startsWith("weight/"))
        return "A trained parameter: training changes it, a forward pass does not.";
      return step.address.startsWith("token/") ? "A token id, given with the text." : "A constant.";
    }
    if (step.op === "gradient") {
      return "How fast the loss grows with this number: the sum, over every step that read it, of that step's own gradient times its local derivative.";
    }
    if (step.op === "gradient_norm")
      return "The length of the whole gradient: the root of all its squares, summed.";
    return this.table.ops[step.op]?.says ?? "";
  }

  source = (step: Step): string => (step.op && this.table.ops[step.op]?.source) || "";

  /** Parse an address and fill in the indices that can only be 0; throws an Error with the nearest names. */
  locate(text: string): Address {
    const { path: parsed, index } = parse(text);
    const kinds = text.includes("/") ? [] : KINDS.map((kind) => `${kind}/${nameOf(parsed)}`);
    const path = kinds.find(this.has) ?? parsed; // without a kind, whatever has the name
    const step = this.step(path);
    for (const [axis, i] of Object.entries(index)) {
      const n = step.shape[step.axes.indexOf(axis)];
      if (n === undefined)
        throw new Error(
          `${path} has no axis ${axis}; its axes are ${step.axes.join(", ") || "none: it is one number"}`,
        );
      if (i >= n)
        throw new Error(`${axis}=${i} is outside ${path}: ${axis} goes from 0 to ${n - 1}`);
    }
    const whole: Record<string, number> = {};
    step.axes.forEach((axis, d) => {
      if (axis in index) whole[axis] = index[axis];
      else if (step.shape[d] === 1) whole[axis] = 0;
    });
    return { path, index: whole };
  }

  isCell = (where: Address): boolean =>
    Object.keys(where.index).length === this.step(where.path).axes.length;
}

export const size = (step: Step): number => step.shape.reduce((a, b) => a * b, 1);
export const itemBytes = (step: Step): number => DTYPES[step.dtype].bytes;
export const isWhole = (step: Step): boolean => DTYPES[step.dtype].whole;

/** How far apart neighbours along each axis lie, in elements. */
export function strides(step: Step): number[] {
  const found = step.shape.map(() => 1);
  for (let d = step.shape.length - 2; d >= 0; d--) found[d] = found[d + 1] * step.shape[d + 1];
  return found;
}

/** The place of an element in the row-major value. */
export function flat(step: Step, index: Record<string, number>): number {
  const by = strides(step);
  return step.axes.reduce((sum, axis, d) => sum + (index[axis] ?? 0) * by[d], 0);
}

/** The address of the number at a place of the row-major value. */
export function addressOf(step: Step, place: number): string {
  const by = strides(step);
  return format(
    step.address,
    Object.fromEntries(
      step.axes.map((axis, d) => [axis, Math.floor(place / by[d]) % step.shape[d]]),
    ),
  );
}

/** Whether a value has masked cells: those where a query would look at a later key. */
export const hasMask = (step: Step): boolean =>
  step.role !== null &&
  step.role !== "score" &&
  step.address.startsWith("fwd/") &&
  step.axes.includes("query") &&
  step.axes.includes("key");

/** Whether the element of a value at an index was masked. */
export const isMasked = (step: Step, at: Record<string, number>): boolean =>
  hasMask(step) && at.key > at.query;

/** The address without its axes of length 1, whose only index is understood. */
export function shortAddress(trace: Trace, where: Address): string {
  const step = trace.step(where.path);
  const long = step.axes.filter((axis, d) => step.shape[d] > 1 && axis in where.index);
  return format(where.path, Object.fromEntries(long.map((axis) => [axis, where.index[axis]])));
}

/** The symbol of a value in a formula's left side; a gradient's starts with d_. */
export const symbol = (path: string): string =>
  path.startsWith("bwd/") ? `d_${shortOf(path)}` : shortOf(path);

/** Whether a token stands for no letters, such as <eos>. */
export const isSpecial = (token: string): boolean => /^<.+>$/.test(token);

const CONTROL: Record<string, string> = { "\n": "␊", "\r": "␍", "\t": "␉" };

/** A token as people can see it: spaces at its ends show, control characters are spelled. */
export function visible(token: string): string {
  if (!token) return '""';
  const inner = token.replace(/^ +| +$/g, "");
  const start = token.match(/^ */)![0].length;
  const end = inner ? token.length - start - inner.length : 0;
  const written = inner.replace(/[\p{C}\p{Z}]/gu, (letter) => {
    if (letter === " ") return letter;
    if (CONTROL[letter]) return CONTROL[letter];
    const code = letter.codePointAt(0)!;
    return code < 256
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
  return "␣".repeat(start) + (/^\p{M}/u.test(written) ? "◌" : "") + written + "␣".repeat(end);
}
