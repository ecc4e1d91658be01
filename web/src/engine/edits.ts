/** A pass with edits: what is computed where a value is edited, as Python's tape records it. */
import { kindOf } from "../trace/address";
import { shapeOf, type Lengths, type Plan, type PlanNode } from "./plan";
import { rounding } from "./round";

/** Numbers that are put in place of others, by their offsets in the row-major value. */
export interface Change {
  offsets: number[];
  numbers: ArrayLike<number>;
}

export type Edits = ReadonlyMap<string, Change[]>;

interface Edited {
  plan: Plan;
  /** Where each value is edited (1, elsewhere 0), and what it is there. */
  leaves: Map<string, Float64Array>;
}

/** The name of a value as it was computed, where it is edited. */
const unedited = (path: string) => `${path}_unedited`;

/** The plan with an edit after each value that is edited; no gradient passes where it was put. */
export function withEdits(plan: Plan, edits: Edits, lengths: Lengths): Edited {
  const leaves: Edited["leaves"] = new Map();
  const nodes = plan.nodes.flatMap((node) => {
    const kind = kindOf(node.address);
    const name = node.address.slice(kind.length + 1);
    const changes = edits.get(`fwd/${name}`);
    if (kind === "bwd") return gradients(node, plan, edits, changes ? name : null);
    if (kind !== "fwd" || !changes) return [node];
    const [edited, fresh] = [leaf(node, `${name}_edited`, "uint8"), leaf(node, `${name}_new`)];
    const size = shapeOf(node, lengths).reduce((a, b) => a * b, 1);
    const blank = new Float64Array(size);
    leaves.set(
      edited.address,
      put(blank, changes, () => 1),
    );
    leaves.set(fresh.address, changed(blank, changes, node.dtype));
    const computed = { ...node, address: unedited(node.address) };
    const operands = { computed: computed.address, edited: edited.address, new: fresh.address };
    const [formula] = plan.edits[node.axes.join()];
    return [edited, fresh, computed, { ...node, op: "edit", formula, operands, params: {} }];
  });
  return { plan: { ...plan, nodes }, leaves };
}

/** A gradient is that of values as they were computed; after that of an edited one comes what passes the edit. */
function gradients(node: PlanNode, plan: Plan, edits: Edits, name: string | null): PlanNode[] {
  const of = `fwd/${node.address.slice(4)}`;
  const read = Object.values(node.operands);
  // the output of what read the value, and of nothing else that did: it is read as it was computed
  const isOutput = (path: string) =>
    read.includes(`bwd/${path.slice(4)}`) &&
    !plan.nodes.some(({ address, operands }) => {
      const paths = kindOf(address) === "fwd" ? Object.values(operands) : [];
      return paths.includes(path) && paths.includes(of);
    });
  const before = (path: string) =>
    edits.has(`fwd/${path.slice(4)}`) && (kindOf(path) === "bwd" || isOutput(path));
  const operands = Object.fromEntries(
    Object.entries(node.operands).map(([operand, path]) => [
      operand,
      before(path) ? unedited(path) : path,
    ]),
  );
  const redirected = { ...node, operands };
  if (name === null) return [redirected];
  const passed: PlanNode = {
    ...node,
    address: unedited(node.address),
    formula: plan.edits[node.axes.join()][1],
    operands: { d_value: node.address, edited: `const/${name}_edited` },
    params: {},
  };
  return [redirected, passed];
}

const leaf = (node: PlanNode, name: string, dtype = node.dtype): PlanNode => ({
  ...node,
  address: `const/${name}`,
  op: null,
  role: null,
  formula: null,
  operands: {},
  params: {},
  dtype,
});

/** A value with its changes, rounded to its type. */
export function changed(numbers: Float64Array, changes: Change[], dtype: string): Float64Array {
  const result = put(numbers, changes, ({ numbers }, i) => numbers[i]);
  rounding(dtype)(result, 0, result.length);
  return result;
}

function put(
  numbers: Float64Array,
  changes: Change[],
  number: (change: Change, i: number) => number,
): Float64Array {
  const result = numbers.slice();
  for (const change of changes) change.offsets.forEach((at, i) => (result[at] = number(change, i)));
  return result;
}
