import { FUNCTIONS, type FunctionName } from "./functions";

/**
 * A formula tree as trace files hold it: nested lists,
 * `["*", ["number", 2], ["read", "x", [["axis", "i"]]]]`.
 */
export type Node = Leaf | Read | Select | Reduction | Call | Binary;
type Leaf =
  ["number", number | string] | ["axis", string] | ["size", string] | ["param", string] | ["drawn"];
export type Read = ["read", string, Node[]];
export type Select = ["select", Node, Node, Node];
export type Reduction = ["sum" | "mean" | "max" | "argmax", string, Node];
export type Call = [FunctionName, Node];
export type Binary = [Operator, Node, Node];

export interface Formula {
  name: string;
  axes: string[];
  tree: Node;
  text: string;
  latex: string;
}

/** How tightly an operator binds; more binds tighter. */
export const PRECEDENCE = {
  "<": 0,
  "<=": 0,
  ">": 0,
  ">=": 0,
  "==": 0,
  "!=": 0,
  "+": 1,
  "-": 1,
  "*": 2,
  "/": 2,
  "//": 2,
  "%": 2,
  "**": 4,
} as const;
export const NEGATION = 3;
export type Operator = keyof typeof PRECEDENCE;

export const isReduction = (node: Node): node is Reduction =>
  node[0] === "sum" || node[0] === "mean" || node[0] === "max" || node[0] === "argmax";
export const isCall = (node: Node): node is Call => Object.hasOwn(FUNCTIONS, node[0]);
export const isBinary = (node: Node): node is Binary => node[0] in PRECEDENCE;
export const isComparison = (operator: Operator): boolean => PRECEDENCE[operator] === 0;

export function children(node: Node): Node[] {
  if (node[0] === "read") return node[2];
  if (node[0] === "select") return [node[1], node[2], node[3]];
  if (isReduction(node)) return [node[2]];
  if (isCall(node)) return [node[1]];
  return isBinary(node) ? [node[1], node[2]] : [];
}

export function* walk(node: Node): Generator<Node> {
  yield node;
  for (const child of children(node)) yield* walk(child);
}

/** The length of every axis that indexes some operand directly. */
export function axisSizes(
  tree: Node,
  shape: (operand: string) => number[],
): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const node of walk(tree)) {
    if (node[0] !== "read") continue;
    node[2].forEach((index, d) => {
      if (index[0] === "axis") sizes[index[1]] = shape(node[1])[d];
    });
  }
  return sizes;
}

/** A number of a trace file; infinities are text there. */
export const plainNumber = (value: number | string): number =>
  Number(String(value).replace("inf", "Infinity"));

/** What each side of an operator must bind like to stand without brackets. */
export function sides(operator: Operator): [number, number] {
  const level = PRECEDENCE[operator];
  if (operator === "**") return [level + 1, level];
  return level === 0 ? [1, 1] : [level, level + 1];
}
