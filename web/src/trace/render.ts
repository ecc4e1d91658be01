/** A formula with its numbers put in, in the same words as Python's `ops.render.with_numbers`. */
import type { Evaluation } from "./evaluate";
import { FUNCTIONS, NEGATION, PRECEDENCE, REDUCTIONS, sides, type Node } from "./formula";
import { number, plain } from "./number";
import { addressOf, isWhole } from "./trace";

type Env = Record<string, number>;
/** A piece of a line: text, and the address of the number that it is, if it is one. */
export interface Piece {
  text: string;
  address?: string;
}

const SHOWN_TERMS = 6;

export function withNumbers(tree: Node, run: Evaluation, at: Env): Piece[] {
  const pieces = numbers(tree, run, at, 0);
  if (tree[0] === "select") {
    const answer = run.quietly(tree[1], at) ? "yes" : "no";
    pieces.push({ text: "   (" }, ...numbers(tree[1], run, at, 0), { text: `: ${answer})` });
  }
  return pieces;
}

export const spelled = (pieces: Piece[]): string => pieces.map((piece) => piece.text).join("");

const bracket = (pieces: Piece[], level: number, outer: number): Piece[] =>
  level < outer ? [{ text: "(" }, ...pieces, { text: ")" }] : pieces;

function numbers(node: Node, run: Evaluation, env: Env, outer: number): Piece[] {
  const kind = node[0];
  if (kind === "read") {
    const step = run.operands[node[1]];
    const text = number(run.quietly(node, env), 4, isWhole(step));
    return signed([{ text, address: addressOf(step, run.place(node[1], node[2], env)) }], outer);
  }
  if (kind === "number" || kind === "axis" || kind === "size" || kind === "param") {
    const value = run.quietly(node, env);
    return signed([{ text: Number.isInteger(value) ? plain(value) : number(value) }], outer);
  }
  if (kind === "drawn") return [{ text: "drawn" }];
  if (kind === "neg") return bracket([{ text: "-" }, ...numbers(node[1], run, env, NEGATION)], NEGATION, outer);
  if (kind === "select") return numbers(run.quietly(node[1], env) ? node[2] : node[3], run, env, outer);
  if (REDUCTIONS.has(kind)) return reduced(node, run, env, outer);
  if (FUNCTIONS.has(kind)) return [{ text: `${kind}(` }, ...numbers(node[1], run, env, 0), { text: ")" }];
  const level = PRECEDENCE[kind];
  const [left, right] = sides(kind);
  // a negative number on the right of any operator stands in brackets
  const line = [...numbers(node[1], run, env, left), { text: ` ${kind} ` }, ...numbers(node[2], run, env, Math.max(right, 1))];
  return bracket(line, level, outer);
}

const signed = (pieces: Piece[], outer: number): Piece[] =>
  pieces[0].text.startsWith("-") && outer > 0 ? [{ text: "(" }, ...pieces, { text: ")" }] : pieces;

function reduced(node: Node, run: Evaluation, env: Env, outer: number): Piece[] {
  const [kind, axis, body] = node;
  const n = run.size(axis);
  if (n === 1 && kind !== "mean") return numbers(body, run, { ...env, [axis]: 0 }, outer);
  const shown = n <= SHOWN_TERMS ? Array.from({ length: n }, (_, i) => i) : [0, 1, 2, null, n - 2, n - 1];
  const line: Piece[] = [];
  shown.forEach((i, place) => {
    if (place) line.push({ text: kind === "max" ? ", " : " + " });
    if (i === null) line.push({ text: `… ${n - 5} more …` });
    else line.push(...numbers(body, run, { ...env, [axis]: i }, kind === "max" ? 0 : 2));
  });
  if (kind === "max") return [{ text: "max(" }, ...line, { text: ")" }];
  const total = bracket(line, 1, kind === "sum" ? outer : 2);
  return kind === "sum" ? total : bracket([...total, { text: ` / ${n}` }], 2, outer);
}

/** The terms of a sum, row-major over the summed axes, and the sum after each. */
export interface Terms {
  axes: string[];
  sizes: number[];
  values: number[];
  running: number[];
}

/** The terms of a formula's outermost sum (or mean) at one element; none where nothing is summed. */
export function terms(tree: Node, run: Evaluation, at: Env): Terms {
  const axes: string[] = [];
  const found: Terms = { axes, sizes: [], values: [], running: [] };
  let node = outermostSum(tree);
  if (!node) return found;
  while (node[0] === "sum" || node[0] === "mean") {
    axes.push(node[1]);
    node = node[2] as Node;
  }
  found.sizes = axes.map(run.size);
  let running = 0;
  run.each(axes, at, (inner) => {
    const value = run.quietly(node!, inner);
    found.values.push(value);
    found.running.push((running += value));
  });
  return found;
}

function outermostSum(node: Node): Node | null {
  if (node[0] === "sum" || node[0] === "mean") return node;
  if (node[0] in PRECEDENCE) return outermostSum(node[1]) ?? outermostSum(node[2]);
  return FUNCTIONS.has(node[0]) ? outermostSum(node[1]) : null;
}
