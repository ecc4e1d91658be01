/**
 * The execution plan of a model: the nodes of a trace, without their numbers, for any number of
 * texts and tokens. Python's `trace.plan` writes it; every node has its tree.
 */
import { plainNumber, type Formula } from "../trace/formula";
import type { Role } from "../trace/node";

/** A count that may grow with the number of texts or of tokens: "pos", or ["pos", -1] for one less. */
export type Count = number | Length | [Length, number];
type Length = "batch" | "pos";

/** How many texts there are, and how many tokens each has. */
export type Lengths = Record<Length, number>;

export interface PlanNode {
  address: string;
  /** What computes it, by which formula of the plan; null for a leaf. */
  op: string | null;
  role: Role | null;
  formula: number | null;
  operands: Record<string, string>;
  params: Record<string, Count | "inf" | "-inf" | "nan">;
  axes: string[];
  shape: Count[];
  dtype: string;
}

export interface Plan {
  format: string;
  version: number;
  ops: Record<string, { says: string; source: string }>;
  formulas: Formula[];
  nodes: PlanNode[];
  /** By the axes of a value, "batch,pos": the formulas of an edit of it, and of the gradient that passes the edit. */
  edits: Record<string, [number, number]>;
}

const isLength = (count: unknown): count is Length => count === "batch" || count === "pos";

export function counted(count: Count, lengths: Lengths): number {
  if (typeof count === "number") return count;
  return isLength(count) ? lengths[count] : lengths[count[0]] + count[1];
}

export function paramsOf(node: PlanNode, lengths: Lengths): Record<string, number> {
  const known = Object.entries(node.params).map(([name, value]) => [
    name,
    typeof value === "string" && !isLength(value)
      ? plainNumber(value)
      : counted(value as Count, lengths),
  ]);
  return Object.fromEntries(known);
}

export const shapeOf = (node: PlanNode, lengths: Lengths): number[] =>
  node.shape.map((count) => counted(count, lengths));
