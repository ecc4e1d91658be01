/** A formula with its numbers put in, in the same words as Python's `ops.render.with_numbers`. */
import type { Evaluation } from "./evaluate";
import {
  NEGATION,
  PRECEDENCE,
  isBinary,
  isCall,
  isReduction,
  sides,
  type Node,
  type Reduction,
} from "./formula";
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
  switch (node[0]) {
    case "read": {
      const step = run.operands[node[1]];
      const text = number(run.quietly(node, env), 4, isWhole(step));
      const address = addressOf(step, run.place(node[1], node[2], env));
      return signed([{ text, address }], outer);
    }
    case "number":
    case "axis":
    case "size":
    case "param": {
      const value = run.quietly(node, env);
      return signed([{ text: Number.isInteger(value) ? plain(value) : number(value) }], outer);
    }
    case "drawn":
      return [{ text: "drawn" }];
    case "neg":
      return bracket([{ text: "-" }, ...numbers(node[1], run, env, NEGATION)], NEGATION, outer);
    case "select":
      return numbers(run.quietly(node[1], env) ? node[2] : node[3], run, env, outer);
  }
  if (isReduction(node)) return reduced(node, run, env, outer);
  if (!isBinary(node))
    return [{ text: `${node[0]}(` }, ...numbers(node[1], run, env, 0), { text: ")" }];
  const [operator, a, b] = node;
  const [left, right] = sides(operator);
  // a negative number on the right of any operator stands in brackets
  const line = [
    ...numbers(a, run, env, left),
    { text: ` ${operator} ` },
    ...numbers(b, run, env, Math.max(right, 1)),
  ];
  return bracket(line, PRECEDENCE[operator], outer);
}

const signed = (pieces: Piece[], outer: number): Piece[] =>
  pieces[0].text.startsWith("-") && outer > 0 ? [{ text: "(" }, ...pieces, { text: ")" }] : pieces;

function reduced([kind, axis, body]: Reduction, run: Evaluation, env: Env, outer: number): Piece[] {
  const n = run.size(axis);
  if (n === 1 && kind !== "mean") return numbers(body, run, { ...env, [axis]: 0 }, outer);
  const shown =
    n <= SHOWN_TERMS ? Array.from({ length: n }, (_, i) => i) : [0, 1, 2, null, n - 2, n - 1];
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
  if (isBinary(node)) return outermostSum(node[1]) ?? outermostSum(node[2]);
  return isCall(node) ? outermostSum(node[1]) : null;
}
