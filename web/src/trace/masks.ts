/** Which cells of attention are masked: those where a formula of masked scores gives minus infinity. */
import { children, isBinary, isCall, plainNumber, walk, type Node } from "./formula";
import { rule } from "./functions";
import type { TraceNode } from "./node";
import { OPERATORS } from "./operators";

type OfCell = (query: number, key: number) => number;

/** What a formula gives for a query and a key as far as their places tell it: what it reads counts as 0. */
function ofCell(tree: Node, node: TraceNode): OfCell {
  if (tree[0] === "axis")
    return tree[1] === "query" ? (query) => query : tree[1] === "key" ? (_, key) => key : () => 0;
  if (tree[0] === "read") return () => 0;
  const [one, other, third] = children(tree).map((part) => ofCell(part, node));
  if (tree[0] === "select")
    return [...walk(tree[1])].some(([kind]) => kind === "read")
      ? () => 0 // such as padding
      : (query, key) => (one(query, key) ? other(query, key) : third(query, key));
  if (isCall(tree)) {
    const { of } = rule(tree[0]);
    return (query, key) => of(one(query, key));
  }
  if (isBinary(tree)) {
    const of = OPERATORS[tree[0]];
    return (query, key) => of(one(query, key), other(query, key));
  }
  const name = String(tree[1]);
  const value = plainNumber(
    tree[0] === "size" ? node.shape[node.axes.indexOf(name)] : (node.params[name] ?? name),
  );
  return () => value;
}

/** Tell the values of every attention which of their cells are masked, as the formulas among them say. */
export function tellMasks(nodes: TraceNode[], treeOf: (node: TraceNode) => Node | undefined): void {
  const masks = new Map<string, OfCell[]>();
  for (const node of nodes) {
    const scope = node.address.replace(/\w+$/, "");
    const tree = node.role === "masked_score" && treeOf(node);
    if (tree) masks.set(scope, [...(masks.get(scope) ?? []), ofCell(tree, node)]);
    const all = masks.get(scope);
    if (all && node.role && node.role !== "score" && node.axes.includes("key"))
      node.mask = (query, key) => all.some((of) => of(query, key) === -Infinity);
  }
}
