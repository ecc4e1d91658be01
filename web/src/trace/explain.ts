/** One number explained from the trace file and the formula trees alone. */
import { format, type Address } from "./address";
import { derivatives } from "./derive";
import { Evaluation } from "./evaluate";
import { children, type Formula, type Node } from "./formula";
import { number } from "./number";
import { line, putIn, type Line } from "./arithmetic";
import { addressOf, flat, isInteger, isMasked, type TraceNode } from "./node";
import type { ByOffset } from "./offsets";
import { symbol, type Trace } from "./trace";
import { terms, type Terms } from "./terms";

/** One number that went in. */
interface Operand {
  address: string;
  value: number;
  text: string;
  /** How much the number moves for a small move of this operand. */
  derivative: number;
}

/** The elements of one value that went in; of a sum over a vocabulary there are many, so each is made when asked for. */
class Operands {
  constructor(
    private node: TraceNode,
    private reads: ByOffset,
    private slopes: ByOffset,
  ) {}

  get length(): number {
    return this.reads.size;
  }

  at(i: number): Operand {
    const offset = this.reads.offset(i);
    const value = this.reads.at(i);
    return {
      address: addressOf(this.node, offset),
      value,
      text: number(value, 4, isInteger(this.node)),
      derivative:
        this.slopes.offset(i) === offset ? this.slopes.at(i) : (this.slopes.get(offset) ?? 0),
    };
  }

  first(n: number): Operand[] {
    return Array.from({ length: Math.min(n, this.length) }, (_, i) => this.at(i));
  }
}

export interface Explanation {
  address: string;
  node: TraceNode;
  at: Record<string, number>;
  value: number;
  text: string;
  formula: Formula | null;
  symbol: string;
  /** The arithmetic, true as printed; null where nothing was computed. */
  line: Line | null;
  /** The same with every operand to its last digit. */
  inFull: () => Line | null;
  terms: Terms | null;
  /** Operands by the value they are elements of, in reading order. */
  groups: { path: string; operands: Operands }[];
  recomputed: number;
  error: number;
  bound: number;
  agrees: boolean;
  flags: string[];
}

/** How the number at an address was made; the address gives an index for every axis. */
export async function explain(trace: Trace, where: Address): Promise<Explanation> {
  const node = trace.node(where.path);
  const at = where.index;
  const formula = trace.formula(node);
  const operands = Object.fromEntries(
    Object.entries(node.operands).map(([name, path]) => [name, trace.node(path)]),
  );
  const evaluation = () => new Evaluation(trace, operands, node.params, formula!.tree, node);
  const computed = formula && formula.tree[0] !== "drawn";
  const [value] = await Promise.all([
    trace.values.one(node, flat(node, at)),
    computed && evaluation().fetch(formula.tree, at),
  ]);
  const result: Explanation = {
    address: format(node.address, Object.fromEntries(node.axes.map((axis) => [axis, at[axis]]))),
    node,
    at,
    value,
    text: number(value, 6, isInteger(node)),
    formula,
    symbol: symbol(node.address),
    line: null,
    inFull: () => null,
    terms: null,
    groups: [],
    recomputed: value,
    error: 0,
    bound: 0,
    agrees: true,
    flags: flags(value, node, at),
  };
  if (!computed) return result;
  const { run } = await whenHere(trace, evaluation, (run) => {
    result.recomputed = run.run(formula.tree, at);
    // PyTorch may arrange an equal formula otherwise and round each factor once more
    result.bound = run.bound * (/^(bwd|opt)/.test(node.address) ? 2 : 1);
  });
  result.error =
    Object.is(value, result.recomputed) || value === result.recomputed
      ? 0
      : Math.abs(value - result.recomputed);
  if (Number.isNaN(value) && Number.isNaN(result.recomputed)) result.error = 0;
  result.agrees = result.error <= result.bound;
  result.terms = terms(formula.tree, run, at);
  const printed = putIn(formula.tree, run, at);
  const write = (full: boolean) => line(printed, result.recomputed, isInteger(node), full);
  result.line = write(false);
  result.inFull = () => write(true);
  result.groups = grouped(run, formula.tree, at);
  if (node.edited && [...run.reads.get("edited")!].some(([, edited]) => edited === 1))
    result.flags.push("edited: this number was set by hand");
  if (run.kinks) result.flags.push("kink: exactly at the corner, where the slope is not unique");
  return result;
}

function flags(value: number, node: TraceNode, at: Record<string, number>): string[] {
  const result: string[] = [];
  if (node.address === "token/targets" && value < 0) result.push("masked: not asked for");
  if (isMasked(node, at)) result.push("masked: this query may not look at this key");
  else if (!Number.isFinite(value) && !Number.isNaN(value))
    result.push("infinite: follow the operands to where it first appears");
  if (Number.isNaN(value))
    result.push("not a number: follow the operands to where it first appears");
  return result;
}

function grouped(run: Evaluation, tree: Node, at: Record<string, number>): Explanation["groups"] {
  const slopes = derivatives(run, tree, at);
  const groups = new Map<string, { node: TraceNode; reads: ByOffset; slopes: ByOffset }>();
  for (const [operand, reads] of run.reads) {
    const node = run.operands[operand];
    const known = groups.get(node.address);
    if (!known) groups.set(node.address, { node, reads, slopes: slopes.get(operand)! });
    else {
      // one value under two names
      for (const [offset, value] of reads) known.reads.set(offset, value);
      for (const [offset, slope] of slopes.get(operand)!)
        known.slopes.set(offset, (known.slopes.get(offset) ?? 0) + slope);
    }
  }
  return [...groups].map(([path, { node, reads, slopes }]) => ({
    path,
    operands: new Operands(node, reads, slopes),
  }));
}

/** Where a number goes: every node that read it, with the axes that are decided by its own index. */
export function consumers(trace: Trace, where: Address): { node: TraceNode; address: string }[] {
  const node = trace.node(where.path);
  return node.consumers.filter(trace.has).map((path) => {
    const consumer = trace.node(path);
    return { node: consumer, address: format(path, decided(trace, consumer, where)) };
  });
}

function decided(trace: Trace, consumer: TraceNode, where: Address): Record<string, number> {
  const formula = trace.formula(consumer);
  const index: Record<string, number> = {};
  if (!formula) return index;
  const names = Object.keys(consumer.operands).filter(
    (name) => consumer.operands[name] === where.path,
  );
  const axes = trace.node(where.path).axes;
  const visit = (node: Node): void => {
    if (node[0] === "read" && names.includes(node[1])) {
      node[2].forEach((part, d) => {
        const at = where.index[axes[d]];
        if (part[0] === "axis" && consumer.axes.includes(part[1]) && at !== undefined)
          index[part[1]] = at;
      });
    }
    children(node).forEach(visit);
  };
  visit(formula.tree);
  consumer.axes.forEach((axis, d) => {
    if (consumer.shape[d] === 1) index[axis] = 0;
  });
  return index;
}

const ROUNDS = 6; // an index may itself be read from a tile that has to come first

/** Run `work` until every number that it read is here. */
async function whenHere<T>(
  trace: Trace,
  evaluation: () => Evaluation,
  work: (run: Evaluation) => T,
): Promise<{ run: Evaluation; result: T }> {
  for (let round = 0; round < ROUNDS; round++) {
    const run = evaluation();
    const result = work(run);
    if (!run.missing.length) return { run, result };
    await trace.values.fetchEach(run.missing);
  }
  throw new Error("the operands of this number could not be read");
}
