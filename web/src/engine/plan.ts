/**
 * The execution plan of a model: the nodes of a trace, without their numbers, for any number of
 * texts and tokens. Python's `trace.plan` writes it; every node has its tree.
 */
import { plainNumber, type Formula } from "../trace/formula";
import type { Role } from "../trace/node";
import { kindOf } from "../trace/address";

/** A count that may grow with the number of texts or of tokens: "pos", or ["pos", -1] for one less. */
type Count = number | Length | [Length, number];
type Length = keyof Lengths;

/** How many texts there are, how many tokens each has, and how many its source has where it has one. */
export interface Lengths {
  batch: number;
  pos: number;
  source_pos?: number;
}

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

const isLength = (count: unknown): count is Length =>
  count === "batch" || count === "pos" || count === "source_pos";

export function counted(count: Count, lengths: Lengths): number {
  if (typeof count === "number") return count;
  const [length, added] = isLength(count) ? [count, 0] : count;
  return lengths[length]! + added;
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

/** The plan of the same model with another vocabulary. */
export const withVocabulary = (plan: Plan, size: number): Plan => ({
  ...plan,
  nodes: plan.nodes.map((node) => ({
    ...node,
    shape: node.shape.map((count, d) => (node.axes[d] === "vocab" ? size : count)),
  })),
});

/** The plan with another update in place of its optimizer's; `update` reads the nodes that stay. */
export function withUpdate(plan: Plan, update: Plan): Plan {
  const before = plan.formulas.length;
  const kept = plan.nodes.filter(
    ({ address }) => kindOf(address) !== "opt" && !/^const\/.*\.[mv]_prev$/.test(address),
  );
  const others = update.nodes.map((node) => ({ ...node, formula: node.formula! + before }));
  return {
    ...plan,
    ops: { ...plan.ops, ...update.ops },
    formulas: [...plan.formulas, ...update.formulas],
    nodes: [...kept, ...others],
  };
}

/** The nodes that do not follow from targets, and are not only on the way to what does. */
export function withoutTargets({ nodes }: Plan): Set<string> {
  const asked = new Set(["token/targets"]);
  for (const { address, operands } of nodes)
    if (Object.values(operands).some((path) => asked.has(path))) asked.add(address);
  const read = new Set<string>(); // by any node
  const result = new Set<string>();
  for (const { address, op, operands } of nodes.toReversed()) {
    if (!asked.has(address) && (op === null || !read.has(address) || result.has(address))) {
      result.add(address);
      for (const path of Object.values(operands)) result.add(path);
    }
    for (const path of Object.values(operands)) read.add(path);
  }
  return result;
}

/** Some nodes and all that they are computed from. */
export function needed({ nodes }: Plan, addresses: string[]): Set<string> {
  const result = new Set(addresses);
  for (const { address, operands } of nodes.toReversed())
    if (result.has(address)) for (const path of Object.values(operands)) result.add(path);
  return result;
}
