/** A trace that the page makes beside the one that Python recorded of the same request. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import type { TraceAbout as About } from "../../src/api";
import type { Made, Model } from "../../src/engine/model";
import type { Request } from "../../src/source";
import { kindOf } from "../../src/trace/address";
import { READ } from "../../src/trace/dtype";
import { explain } from "../../src/trace/explain";
import type { TraceNode } from "../../src/trace/node";
import { Trace, type Table } from "../../src/trace/trace";

/** A request, and Python's trace of it. */
export interface Asked {
  request: Request;
  folder: string;
  about: About;
}

/** What a trace's table says of every value; a value that is handed on is read by either name. */
function byAddress({ formulas, nodes }: Table) {
  const rows = new Map(nodes.map((node) => [node.address, node]));
  const source = (path: string): string =>
    rows.get(path)!.op === "carry" ? source(rows.get(path)!.operands.x) : path;
  const summary = ({ bytes: _, consumers: __, operands, formula, ...node }: TraceNode) => ({
    ...node,
    operands: Object.entries(operands).map(([name, path]) => [name, source(path)]),
    formula: formula === null ? null : formulas[formula],
  });
  return Object.fromEntries(nodes.map((node) => [node.address, summary(node)]));
}

export function numbers(node: TraceNode, bytes: (begin: number, end: number) => ArrayBuffer) {
  return READ[node.dtype](bytes(...node.bytes!));
}

/** float32 passes of two programs: of the largest number of the pass's own kind, rounded some hundred times. */
const TOGETHER = 1e-5;

/** The values that are further from Python's than rounding takes them. */
function apart(made: Made, folder: string, table: Table): string[] {
  const file = readFileSync(`${folder}/values.safetensors`);
  const rows = new Map(made.table.nodes.map((node) => [node.address, node]));
  const largest: Record<string, number> = {};
  const errors = table.nodes.map((node): [number, string, string] => {
    const wanted = numbers(node, (...at) => new Uint8Array(file.subarray(...at)).buffer);
    const computed = numbers(rows.get(node.address)!, (...at) => made.bytes.slice(...at));
    let error = 0;
    wanted.forEach((x, i) => {
      const kind = kindOf(node.address);
      if (Number.isFinite(x)) largest[kind] = Math.max(largest[kind] ?? 0, Math.abs(x));
      if (x !== computed[i]) error = Math.max(error, Math.abs(x - computed[i]));
    });
    return [error, kindOf(node.address), node.address];
  });
  return errors
    .filter(([error, kind]) => !(error <= TOGETHER * largest[kind]))
    .map(([error, , address]) => `${address}: ${error}`);
}

/** A trace with the numbers that it leaves for later. */
export async function complete(model: Model, request: Request) {
  const made = model.trace(request);
  const later = made.ends.map((_, part) => model.later(request, made.about.id, part));
  const all = await new Blob([made.bytes, ...later]).arrayBuffer();
  expect(made.ends).toEqual([made.bytes.byteLength + later[0].byteLength, all.byteLength]);
  return { ...made, bytes: all };
}

// AdamW makes a whole step of a gradient that is zero but for rounding (that of a key's bias), and
// Muon's bfloat16 jumps: how updates follow from gradients is held in float64, in engine.test.ts
const UNSTEADY = ["opt"];

/** The page's trace has the nodes, the words and, but for rounding, the numbers of Python's. */
export async function isPythons(model: Model, { request, folder, about }: Asked): Promise<void> {
  const made = await complete(model, request);
  const table = JSON.parse(readFileSync(`${folder}/trace.json`, "utf8")) as Table;
  const { id: _, nbytes: __, edits: ___, run: ____, ...wanted } = about;
  expect(made.about).toMatchObject(wanted);
  expect(made.table.labels).toEqual(table.labels);
  expect(byAddress(made.table)).toEqual(byAddress(table));
  expect(made.table.ops).toEqual(table.ops);
  const steady = table.nodes.filter(({ address }) => !UNSTEADY.includes(kindOf(address)));
  expect(apart(made, folder, { ...table, nodes: steady })).toEqual([]);
}

/** How many numbers at both ends of every value are explained; each is within its bound. */
export async function explained(model: Model, request: Request): Promise<number> {
  const { table, about, bytes: all } = await complete(model, request);
  expect(all.byteLength).toBe(about.nbytes);
  const trace = new Trace(table, { bytes: async (begin, end) => all.slice(begin, end) });
  let count = 0;
  for (const node of table.nodes) {
    for (const end of [0, 1]) {
      const index = node.axes.map((axis, d) => [axis, end * (node.shape[d] - 1)]);
      const where = { path: node.address, index: Object.fromEntries(index) };
      const explanation = await explain(trace, where);
      expect(
        explanation.agrees,
        `${explanation.address}: ${explanation.error} > ${explanation.bound}`,
      ).toBe(true);
      count += Number(explanation.line !== null);
    }
  }
  return count;
}
