/** A snippet that recomputes a shown number from the run's folder and asserts it. */
import type { RunInfo } from "../api";
import type { About } from "../source";
import { isBinary, isReduction, plainNumber, walk, type Node } from "./formula";
import type { Explanation } from "./explain";
import { number } from "./number";
import { isInteger } from "./node";
import type { Trace } from "./trace";

/**
 * Runnable Python for an explained number of the forward pass, a gradient or an update; "" where there
 * is none: of a run that is not open, a pass patched from another, or a choice that was drawn.
 */
export function pytorch(
  explanation: Explanation,
  about: About,
  run: RunInfo | null,
  trace: Trace,
): string {
  const isPatched = Object.values(about.edits).some((edit) => typeof edit !== "number");
  const isDrawn = explanation.node.address.startsWith("choose/") && about.sampling !== null;
  if (run === null || isPatched || isDrawn || about.added?.length) return "";
  const folder = run.path ?? run.name;
  const lines = [
    "import torch",
    "import glassformer as gf",
    "",
    ...opened(about, folder),
    "whole = lambda path: trace.value_of(trace.node(path)).detach()",
  ];
  const { formula, node } = explanation;
  const index = node.axes.map((axis) => explanation.at[axis]).join(", ");
  lines.push(`recorded = whole("${node.address}")${index ? `[${index}]` : ""}`);
  if (!formula || formula.tree[0] === "drawn")
    return [
      ...lines,
      `assert recorded.item() == ${spell(explanation.value)}`,
      "print(recorded.item())",
    ].join("\n");
  for (const [name, path] of Object.entries(node.operands))
    lines.push(`${name} = whole("${path}")${isInteger(trace.node(path)) ? "" : ".double()"}`);
  for (const [name, value] of Object.entries(node.params))
    if (used(formula.tree, name)) lines.push(`${name} = ${spell(plainNumber(value))}`);
  for (const axis of node.axes)
    lines.push(
      `${axis}, size_${axis} = ${explanation.at[axis]}, ${node.shape[node.axes.indexOf(axis)]}`,
    );
  lines.push(
    `recomputed = torch.as_tensor(${code(formula.tree, node.operands)}).double()`,
    `torch.testing.assert_close(recomputed, recorded.double(), rtol=0, atol=${spell(Math.max(explanation.bound, Number.MIN_VALUE))})`,
    "print(recomputed.item(), recorded.item())",
  );
  return lines.join("\n");
}

/** Record the prompt again, with whatever was changed by hand. */
function opened(about: About, folder: string): string[] {
  const options = [JSON.stringify(folder), JSON.stringify(about.prompt)];
  if (about.target !== null) options.push(`target=${JSON.stringify(about.target)}`);
  if (about.at_step !== null) options.push(`at_step=${about.at_step}`);
  if (Object.keys(about.edits).length) options.push(`edits=${JSON.stringify(about.edits)}`);
  return [`trace = gf.watch(${options.join(", ")})`];
}

const used = (tree: Node, name: string): boolean =>
  [...walk(tree)].some((node) => node[0] === "param" && node[1] === name);
const spell = (value: number): string =>
  Number.isFinite(value) ? String(value) : `float("${number(value)}")`;

function code(node: Node, operands: Record<string, string>): string {
  const inner = (part: Node) => code(part, operands);
  switch (node[0]) {
    case "number":
      return spell(plainNumber(node[1]));
    case "axis":
    case "param":
      return node[1];
    case "size":
      return `size_${node[1]}`;
    case "read":
      return node[2].length ? `${node[1]}[${node[2].map(inner).join(", ")}]` : node[1];
    case "select":
      return `(${inner(node[2])} if ${inner(node[1])} else ${inner(node[3])})`;
    case "drawn":
      throw new Error("a drawn number has no arithmetic");
    case "neg":
      return `-(${inner(node[1])})`;
  }
  if (isReduction(node)) {
    const [kind, axis, body] = node;
    const length = lengthOf(axis, body);
    if (kind === "argmax") return `max(range(${length}), key=lambda ${axis}: ${inner(body)})`;
    const items = `${inner(body)} for ${axis} in range(${length})`;
    if (kind === "max") return `max(${items})`;
    return kind === "sum" ? `sum(${items})` : `(sum(${items}) / ${length})`;
  }
  if (isBinary(node)) return `(${inner(node[1])} ${node[0]} ${inner(node[2])})`;
  return `torch.${node[0]}(torch.as_tensor(${inner(node[1])}))`;
}

/** The length of a summed axis, read off the first operand that it indexes. */
function lengthOf(axis: string, body: Node): string {
  for (const node of walk(body)) {
    if (node[0] !== "read") continue;
    const d = node[2].findIndex((index) => index[0] === "axis" && index[1] === axis);
    if (d >= 0) return `${node[1]}.shape[${d}]`;
  }
  return `size_${axis}`;
}
