/**
 * A formula at one element with its numbers put in: a line of arithmetic that is true as printed.
 * Function by function Python's `formula.arithmetic`, which says the rules; here a printed number also
 * knows its address.
 */
import type { Column } from "./columns";
import type { Env, Evaluation } from "./evaluate";
import { rule, type FunctionName } from "./functions";
import {
  NEGATION,
  PRECEDENCE,
  isCall,
  isReduction,
  sides,
  type Node,
  type Operator,
  type Reduction,
} from "./formula";
import {
  constant,
  fewestDigits,
  fullDigits,
  isShort,
  pairwise,
  spelled,
  type Digits,
} from "./spelling";
import { addressOf } from "./node";
import { OPERATORS } from "./operators";

const SHOWN_TERMS = 6;
const [FIRST, LAST] = [3, 2]; // of a longer reduction

/** A piece of a line: text, and the address of the number that it is, if it is one. */
export interface Piece {
  text: string;
  address?: string;
}

// --- what is printed ---------------------------------------------------------------------------

/** A number; `exact`: written out whatever the line's digits. */
export interface Put {
  is: "put";
  value: number;
  exact: boolean;
  address?: string;
}

/** What the terms that are not shown come to. */
interface Rest {
  is: "rest";
  kind: Reduction[0];
  n: number;
  value: Put;
  /** A select made every one of them the number that changes nothing. */
  dead: boolean;
  /** No other term is shown. */
  alone: boolean;
}

type Printed =
  | Put
  | Rest
  | { is: "applied"; function: FunctionName; x: Printed }
  | { is: "joined"; operator: Operator; a: Printed; b: Printed }
  /** A select at the top of a line: its branch, and the condition that chose it. */
  | { is: "chosen"; condition: Printed; answer: boolean; branch: Printed }
  | { is: "gathered"; kind: Reduction[0]; terms: Printed[]; n: number }
  /** Which index has the largest of some terms: the largest ones, and that of the rest. */
  | { is: "largest"; terms: [index: number, term: Printed][]; rest: Rest | null }
  | { is: "drawn" };

export const put = (value: number, exact = false, address?: string): Put => ({
  is: "put",
  value,
  exact,
  address,
});

/** What is printed of a formula at one element. */
export function putIn(tree: Node, run: Evaluation, at: Env): Printed {
  const branch = printed(tree, run, at);
  if (tree[0] !== "select") return branch;
  const answer = run.quietly(tree[1], at) !== 0;
  return { is: "chosen", condition: printed(tree[1], run, at), answer, branch };
}

export function printed(node: Node, run: Evaluation, env: Env): Printed {
  switch (node[0]) {
    case "read": {
      const value = run.quietly(node, env);
      const exact = !run.real;
      const address = addressOf(run.operands[node[1]], run.offset(node[1], node[2], env));
      return put(value, exact, address);
    }
    case "number":
    case "axis":
    case "size":
    case "param": {
      const value = run.quietly(node, env);
      return put(value, isShort(value));
    }
    case "drawn":
      return { is: "drawn" };
    case "select":
      return printed(run.quietly(node[1], env) ? node[2] : node[3], run, env);
  }
  if (isReduction(node)) return gathered(node, run, env);
  if (isCall(node)) return { is: "applied", function: node[0], x: printed(node[1], run, env) };
  const [operator, a, b] = node;
  return { is: "joined", operator, a: printed(a, run, env), b: printed(b, run, env) };
}

function gathered(node: Reduction, run: Evaluation, env: Env): Printed {
  const kind = node[0];
  const { axes, body } = kind === "sum" ? flattened(node) : { axes: [node[1]], body: node[2] };
  const sizes = axes.map(run.size);
  const n = sizes.reduce((a, b) => a * b, 1);
  const term = (index: number) => printed(body, run, { ...env, ...indices(index, axes, sizes) });
  if (kind === "argmax") return largest(run.valuesOf(axes, body, env), term);
  if (n === 1 && kind !== "mean") return term(0);
  if (n <= SHOWN_TERMS)
    return { is: "gathered", kind, terms: Array.from({ length: n }, (_, i) => term(i)), n };
  const { values, real } = run.valuesOf(axes, body, env);
  const nothing = kind === "max" ? -Infinity : 0;
  const chooses = selects(body);
  const live = chooses ? [...values.keys()].filter((i) => values[i] !== nothing) : ends(n);
  const few = live.length <= SHOWN_TERMS && chooses;
  const [first, last] = few ? [live, []] : [live.slice(0, FIRST), live.slice(-LAST)];
  const left = without(values, [...first, ...last]);
  const total =
    kind === "max" ? left.reduce((most, x) => Math.max(most, x), -Infinity) : pairwise(left);
  const rest: Rest = {
    is: "rest",
    kind,
    n: left.length,
    value: put(total, !real),
    dead: chooses && left.every((value) => value === nothing),
    alone: !live.length,
  };
  return { is: "gathered", kind, terms: [...first.map(term), rest, ...last.map(term)], n };
}

/** What an argmax looks through: the largest terms, of equal ones the first, and that of the rest. */
function largest({ values, real }: Column, term: (index: number) => Printed): Printed {
  const ranked = [...values.keys()].sort((a, b) => values[b] - values[a] || a - b);
  const shown = values.length <= SHOWN_TERMS ? values.length : FIRST + LAST;
  const n = values.length - shown;
  const value = put(values[ranked[shown]], !real);
  const rest: Rest | null = n
    ? { is: "rest", kind: "max", n, value, dead: false, alone: false }
    : null;
  return { is: "largest", terms: ranked.slice(0, shown).map((i) => [i, term(i)]), rest };
}

/** The indices of the first and the last terms of n. */
const ends = (n: number): number[] => [
  ...Array(FIRST).keys(),
  ...Array.from({ length: LAST }, (_, i) => n - LAST + i),
];

/** The numbers but for those at some indices, which rise. */
function without(values: Float64Array, dropped: number[]): Float64Array {
  const result = new Float64Array(values.length - dropped.length);
  let from = 0;
  [...dropped, values.length].forEach((index, i) => {
    result.set(values.subarray(from, index), from - i);
    from = index + 1;
  });
  return result;
}

/** The axes of a sum of sums, and what is summed. */
function flattened(node: Reduction): { axes: string[]; body: Node } {
  const axes = [node[1]];
  let body = node[2];
  while (body[0] === "sum") {
    axes.push(body[1]);
    body = body[2];
  }
  return { axes, body };
}

/** An index of each axis for one of all terms, row-major. */
export function indices(index: number, axes: string[], sizes: number[]): Env {
  const at: Env = {};
  for (let d = axes.length - 1; d >= 0; d--) {
    at[axes[d]] = index % sizes[d];
    index = Math.floor(index / sizes[d]);
  }
  return at;
}

/** Whether a term is chosen by a condition. */
const selects = (node: Node): boolean =>
  node[0] === "+" ? selects(node[1]) && selects(node[2]) : node[0] === "select";

// --- its text and its value --------------------------------------------------------------------

const spell = ({ value, exact }: Put, digits: number): string =>
  exact ? constant(value) : spelled(value, digits);

const enclosed = (pieces: Piece[], level: number, outer: number): Piece[] =>
  level < outer ? [{ text: "(" }, ...pieces, { text: ")" }] : pieces;

/** What is printed, with so many significant digits of every number that is not exact. */
export function text(node: Printed, digits: number, outer = 0): Piece[] {
  switch (node.is) {
    case "put": {
      const piece = { text: spell(node, digits), address: node.address };
      return piece.text.startsWith("-") && outer > 0
        ? [{ text: "(" }, piece, { text: ")" }]
        : [piece];
    }
    case "drawn":
      return [{ text: "drawn" }];
    case "rest":
      return [{ text: restText(node, spell(node.value, digits)) }];
    case "applied":
      if (node.function === "neg")
        return enclosed([{ text: "-" }, ...text(node.x, digits, NEGATION)], NEGATION, outer);
      return [{ text: `${node.function}(` }, ...text(node.x, digits), { text: ")" }];
    case "chosen": {
      const said = node.answer ? "yes" : "no";
      const condition = text(node.condition, digits);
      return [...text(node.branch, digits), { text: "   (" }, ...condition, { text: `: ${said})` }];
    }
    case "joined": {
      const [left, right] = sides(node.operator);
      // a negative number on the right of any operator stands in brackets
      const line = [
        ...text(node.a, digits, left),
        { text: ` ${node.operator} ` },
        ...text(node.b, digits, Math.max(right, 1)),
      ];
      return enclosed(line, PRECEDENCE[node.operator], outer);
    }
    case "gathered":
      return gatheredText(node, digits, outer);
    case "largest": {
      const entries = node.terms.map(([i, x]) => [{ text: `${i}:` }, ...text(x, digits)]);
      if (node.rest) entries.push(text(node.rest, digits));
      const line = entries.flatMap((entry, i) => (i ? [{ text: ", " }, ...entry] : entry));
      return [{ text: "argmax(" }, ...line, { text: ")" }];
    }
  }
}

function gatheredText(
  { kind, terms, n }: Extract<Printed, { is: "gathered" }>,
  digits: number,
  outer: number,
): Piece[] {
  const separator = kind === "max" ? ", " : " + ";
  const line = terms.flatMap((term, i) => [
    ...(i ? [{ text: separator }] : []),
    ...text(term, digits, kind === "max" ? 0 : PRECEDENCE["+"] + 1),
  ]);
  if (kind === "max") return [{ text: "max(" }, ...line, { text: ")" }];
  if (kind === "sum") return enclosed(line, PRECEDENCE["+"], outer);
  const over = enclosed(line, PRECEDENCE["+"], terms.length > 1 ? PRECEDENCE["/"] : 0);
  return enclosed([...over, { text: ` / ${n}` }], PRECEDENCE["/"], outer);
}

function restText({ kind, n, dead, alone }: Rest, number: string): string {
  if (dead) return alone ? `(all ${n} are ${number})` : `(${n} more are ${number})`;
  return kind === "max"
    ? `(the largest of ${n} more is ${number})`
    : `(${n} more sum to ${number})`;
}

/** What a calculator gives for the text; nan where a condition turns out otherwise. */
export function value(node: Printed, digits: number): number {
  switch (node.is) {
    case "put":
      return node.exact ? node.value : plain(spelled(node.value, digits));
    case "drawn":
      throw new Error("a drawn number has no arithmetic");
    case "rest":
      return value(node.value, digits);
    case "applied":
      return rule(node.function).of(value(node.x, digits));
    case "joined":
      return OPERATORS[node.operator](value(node.a, digits), value(node.b, digits));
    case "chosen":
      return (value(node.condition, digits) !== 0) === node.answer
        ? value(node.branch, digits)
        : NaN;
    case "gathered": {
      const values = node.terms.map((term) => value(term, digits));
      if (node.kind === "max") return Math.max(...values);
      const total = values.reduce((sum, term) => sum + term, 0);
      return node.kind === "sum" ? total : total / node.n;
    }
    case "largest": {
      const printed = node.terms.map(([index, term]) => ({ index, value: value(term, digits) }));
      return printed.reduce((a, b) =>
        b.value > a.value || (b.value === a.value && b.index < a.index) ? b : a,
      ).index;
    }
  }
}

const plain = (text: string): number => Number(text.replace("inf", "Infinity"));

/** A line of arithmetic: the numbers put in, = or ≈, and what they come to ("" of a single number). */
export interface Line {
  numbers: Piece[];
  relation: "=" | "≈";
  result: string;
  digits: Digits;
}

/** The line for a result, with the fewest digits with which it is true, or in full. */
export function line(node: Printed, result: number, integer = false, full = false): Line {
  const branch = node.is === "chosen" ? node.branch : node;
  if (branch.is === "drawn")
    return {
      numbers: [{ text: "drawn" }],
      relation: "=",
      result: "",
      digits: { operands: 4, result: 4, holds: true },
    };
  const digits = (full ? fullDigits : fewestDigits)(result, (d) => value(node, d), integer);
  return {
    numbers: text(node, digits.operands),
    relation: digits.holds ? "=" : "≈",
    result: branch.is === "put" ? "" : spelled(result, digits.result, integer),
    digits,
  };
}

export const plainText = (pieces: Piece[]): string => pieces.map((piece) => piece.text).join("");
