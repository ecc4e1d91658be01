/** A pass as a trace: the node table and the file of numbers that a trace of Python's has. */
import { BYTES } from "../trace/dtype";
import type { TraceNode } from "../trace/node";
import type { Table } from "../trace/trace";
import { paramsOf, shapeOf, type Lengths, type Plan, type PlanNode } from "./plan";
import type { Values } from "./program";

const TILE_BYTES = 65536;

const ENCODE: Record<string, (numbers: Float64Array) => ArrayBufferView> = {
  float32: (numbers) => Float32Array.from(numbers),
  float64: (numbers) => numbers,
  bfloat16: (numbers) => {
    const bits = new Uint32Array(Float32Array.from(numbers).buffer);
    return Uint16Array.from(bits, (wide) => wide >>> 16);
  },
  int64: (numbers) => BigInt64Array.from(numbers, BigInt),
  uint8: (numbers) => Uint8Array.from(numbers),
};

/** Plans whose nodes follow each other in one pass, their numbers, and what is told beside them. */
export interface Recorded {
  plans: Plan[];
  values: Values;
  lengths: Lengths;
  params: Record<string, Record<string, number>>;
  labels: Record<string, string[]>;
}

/** The table of a pass and its numbers, but for those that come `later`: these follow, each part to its end. */
export function encode(
  pass: Recorded,
  later: PlanNode[][],
): { table: Table; bytes: ArrayBuffer; ends: number[] } {
  const unmade = new Set(later.flat().map(({ address }) => address));
  const rows = new Map<string, TraceNode>();
  let before = 0;
  for (const plan of pass.plans) {
    for (const node of plan.nodes) {
      const { address } = node;
      if (rows.has(address) || !(pass.values.has(address) || unmade.has(address))) continue;
      const row = rowOf(node, before, pass);
      rows.set(address, { ...row, bytes: null, edited: node.op === "edit" });
    }
    before += plan.formulas.length;
  }
  for (const { address, operands } of rows.values())
    for (const path of new Set(Object.values(operands))) rows.get(path)?.consumers.push(address);
  let nbytes = 0;
  const here = [...rows.values()].filter(({ address }) => !unmade.has(address));
  const append = (row: TraceNode) => {
    const size = row.shape.reduce((a, b) => a * b, 1) * BYTES[row.dtype];
    row.bytes = [nbytes, (nbytes += size)];
  };
  here.forEach(append);
  const ends = later.map((part) => {
    part.forEach(({ address }) => append(rows.get(address)!));
    return nbytes;
  });
  const nodes = [...rows.values()];
  const ops = Object.assign({}, ...pass.plans.map((plan) => plan.ops)) as Table["ops"];
  const table: Table = {
    format: "glassformer-trace",
    version: 3,
    tile_bytes: TILE_BYTES,
    labels: pass.labels,
    ops: Object.fromEntries(nodes.flatMap(({ op }) => (op ? [[op, ops[op]]] : []))),
    formulas: pass.plans.flatMap((plan) => plan.formulas),
    nodes: [...nodes.filter(({ op }) => op === null), ...nodes.filter(({ op }) => op !== null)],
  };
  return { table, bytes: bytesOf(here, pass.values), ends };
}

/** The numbers of some nodes, one after another. */
export function bytesOf(nodes: Pick<PlanNode, "address" | "dtype">[], values: Values): ArrayBuffer {
  const parts = nodes.map(({ address, dtype }) => ENCODE[dtype](values.get(address)!));
  const bytes = new Uint8Array(parts.reduce((n, part) => n + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  }
  return bytes.buffer;
}

/** JSON has no number for what is infinite, and a trace's table is JSON. */
const written = (value: number): number | string =>
  Number.isFinite(value) ? value : String(value).replace("Infinity", "inf").toLowerCase();

function rowOf(node: PlanNode, before: number, { lengths, params }: Recorded) {
  const values = { ...paramsOf(node, lengths), ...params[node.address] };
  return {
    ...node,
    formula: node.formula === null ? null : node.formula + before,
    params: Object.fromEntries(Object.entries(values).map(([name, x]) => [name, written(x)])),
    shape: shapeOf(node, lengths),
    consumers: [] as string[],
  };
}
