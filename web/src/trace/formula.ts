/** A formula tree as trace files hold it: nested lists, `["*", ["number", 2], ["read", "x", [["axis", "i"]]]]`. */
export type Node = [string, ...any[]];

export interface Formula {
  name: string;
  axes: string[];
  tree: Node;
  text: string;
  latex: string;
}

export const REDUCTIONS = new Set(["sum", "mean", "max"]);
export const FUNCTIONS = new Set(["exp", "log", "sqrt", "tanh", "erf", "sin", "cos", "sign", "abs", "neg"]);
export const COMPARISONS = new Set(["<", "<=", ">", ">=", "==", "!="]);

export function children(node: Node): Node[] {
  const [kind] = node;
  if (kind === "read") return node[2];
  if (kind === "select") return [node[1], node[2], node[3]];
  if (REDUCTIONS.has(kind)) return [node[2]];
  if (FUNCTIONS.has(kind)) return [node[1]];
  if (["number", "axis", "size", "param", "drawn"].includes(kind)) return [];
  return [node[1], node[2]];
}

export function* walk(node: Node): Generator<Node> {
  yield node;
  for (const child of children(node)) yield* walk(child);
}

/** A number of a trace file; infinities are text there. */
export const plainNumber = (value: number | string): number => Number(String(value).replace("inf", "Infinity"));

export const constant = (node: Node): number => plainNumber(node[1]);

/** How tightly an operator binds; more binds tighter. */
export const PRECEDENCE: Record<string, number> = {
  "<": 0, "<=": 0, ">": 0, ">=": 0, "==": 0, "!=": 0,
  "+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "**": 4,
};
export const NEGATION = 3;

/** What each side of an operator must bind like to stand without brackets. */
export function sides(operator: string): [number, number] {
  const level = PRECEDENCE[operator];
  if (operator === "**") return [level + 1, level];
  return level === 0 ? [1, 1] : [level, level + 1];
}
