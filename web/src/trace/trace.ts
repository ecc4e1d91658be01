import { format, KINDS, nameOf, nearest, parse, shortOf, type Address } from "./address";
import type { Formula } from "./formula";
import { tellMasks } from "./masks";
import type { TraceNode } from "./node";
import { Values, type Reader } from "./values";

export interface Table {
  format: string;
  version: number;
  tile_bytes: number;
  labels: Record<string, string[]>;
  ops: Record<string, { summary: string; source: string }>;
  formulas: Formula[];
  nodes: TraceNode[];
}

const LABELED_AS: Record<string, string> = {
  query: "pos",
  key: "pos",
  source_query: "source_pos",
  source_key: "source_pos",
};

/** A recorded pass, opened from the documented trace format: a node table and a file of numbers. */
export class Trace {
  readonly nodes: Map<string, TraceNode>;
  readonly values: Values;

  constructor(
    readonly table: Table,
    reader: Reader,
  ) {
    if (table.format !== "glassformer-trace" || table.version !== 3) {
      throw new Error(
        `this is ${table.format} version ${table.version}; the page reads glassformer-trace version 3`,
      );
    }
    tellMasks(table.nodes, (node) => this.formula(node)?.tree);
    this.nodes = new Map(table.nodes.map((node) => [node.address, node]));
    this.values = new Values(reader, table.tile_bytes);
  }

  node(path: string): TraceNode {
    const node = this.nodes.get(path);
    if (!node)
      throw new Error(
        `no value is named ${path} in this trace; near it: ${nearest(path, this.nodes.keys()).join(", ")}`,
      );
    return node;
  }

  has = (path: string): boolean => this.nodes.has(path);

  formula(node: TraceNode): Formula | null {
    return node.formula === null ? null : this.table.formulas[node.formula];
  }

  /** Computed values of one kind, in the order they were computed. */
  ofKind(kind: string): TraceNode[] {
    return this.table.nodes.filter((node) => node.address.startsWith(`${kind}/`));
  }

  /** The word that an index of an axis stands for, with its spaces visible; "" where there is none. */
  word(axis: string, index: number): string {
    const words = this.table.labels[LABELED_AS[axis] ?? axis];
    return words && index < words.length ? visible(words[index]) : "";
  }

  label(axis: string, index: number): string {
    return `${index} ${this.word(axis, index)}`.trimEnd();
  }

  /** One plain sentence about how the value is made. */
  summary(node: TraceNode): string {
    if (node.op !== null) return this.table.ops[node.op]?.summary ?? "";
    if (node.address.startsWith("weight/"))
      return "A trained parameter: training changes it, a forward pass does not.";
    return node.address.startsWith("token/") ? "A token id, given with the text." : "A constant.";
  }

  source = (node: TraceNode): string => (node.op && this.table.ops[node.op]?.source) || "";

  /** Parse an address and fill in the indices that can only be 0; throws an Error with the nearest names. */
  locate(text: string): Address {
    const { path: parsed, index } = parse(text);
    const kinds = text.includes("/") ? [] : KINDS.map((kind) => `${kind}/${nameOf(parsed)}`);
    const path = kinds.find(this.has) ?? parsed; // without a kind, whatever has the name
    const node = this.node(path);
    for (const [axis, i] of Object.entries(index)) {
      const n = node.shape[node.axes.indexOf(axis)];
      if (n === undefined)
        throw new Error(
          `${path} has no axis ${axis}; its axes are ${node.axes.join(", ") || "none: it is one number"}`,
        );
      if (i >= n)
        throw new Error(`${axis}=${i} is outside ${path}: ${axis} goes from 0 to ${n - 1}`);
    }
    const full: Record<string, number> = {};
    node.axes.forEach((axis, d) => {
      if (axis in index) full[axis] = index[axis];
      else if (node.shape[d] === 1) full[axis] = 0;
    });
    return { path, index: full };
  }

  isCell = (where: Address): boolean =>
    Object.keys(where.index).length === this.node(where.path).axes.length;
}

/** The address without its axes of length 1, whose only index is understood. */
export function shortAddress(trace: Trace, where: Address): string {
  const node = trace.node(where.path);
  const long = node.axes.filter((axis, d) => node.shape[d] > 1 && axis in where.index);
  return format(where.path, Object.fromEntries(long.map((axis) => [axis, where.index[axis]])));
}

/** The symbol of a value in a formula's left side; a gradient's starts with d_. */
export const symbol = (path: string): string =>
  path.startsWith("bwd/") ? `d_${shortOf(path)}` : shortOf(path);

/** Whether a token stands for no letters, such as <eos>. */
export const isSpecial = (token: string): boolean => /^(<.+>|\[[A-Z]+\])$/.test(token);

const CONTROL: Record<string, string> = { "\n": "⏎", "\r": "\\r", "\t": "⇥" };

/** A token as people can see it: spaces at its ends show, control characters are spelled. */
export function visible(token: string): string {
  if (!token) return '""';
  const inner = token.replace(/^ +| +$/g, "");
  const start = token.match(/^ */)![0].length;
  const end = inner ? token.length - start - inner.length : 0;
  const written = inner.replace(/[\p{C}\p{Z}]/gu, (letter) => {
    if (letter === " ") return letter;
    if (CONTROL[letter]) return CONTROL[letter];
    const code = letter.codePointAt(0)!;
    return code < 256
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
  return "␣".repeat(start) + (/^\p{M}/u.test(written) ? "◌" : "") + written + "␣".repeat(end);
}
