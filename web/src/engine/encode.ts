/** A pass as a trace: the node table and the file of numbers that a trace of Python's has. */
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
    return Uint16Array.from(bits, (whole) => whole >>> 16);
  },
  int64: (numbers) => BigInt64Array.from(numbers, BigInt),
};

/** Plans whose nodes follow each other in one pass, their numbers, and what is told beside them. */
export interface Recorded {
  plans: Plan[];
  values: Values;
  lengths: Lengths;
  params: Record<string, Record<string, number>>;
  edited: Iterable<string>;
  labels: Record<string, string[]>;
}

export function encode(pass: Recorded): { table: Table; bytes: ArrayBuffer } {
  const edited = new Set(pass.edited);
  const rows: TraceNode[] = [];
  const parts: Uint8Array[] = [];
  let at = 0;
  const formulas = pass.plans.flatMap((plan) => plan.formulas);
  let before = 0;
  for (const plan of pass.plans) {
    for (const node of plan.nodes) {
      const numbers = pass.values.get(node.address);
      if (!numbers || rows.some(({ address }) => address === node.address)) continue;
      const part = ENCODE[node.dtype](numbers);
      parts.push(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
      rows.push({
        ...rowOf(node, before, pass),
        bytes: [at, (at += part.byteLength)],
        edited: edited.has(node.address),
      });
    }
    before += plan.formulas.length;
  }
  rows.sort((a, b) => Number(a.op !== null) - Number(b.op !== null)); // leaves come first
  const consumers = new Map(rows.map(({ address, consumers }) => [address, consumers]));
  for (const { address, operands } of rows)
    for (const path of new Set(Object.values(operands))) consumers.get(path)?.push(address);
  const ops = Object.assign({}, ...pass.plans.map((plan) => plan.ops)) as Table["ops"];
  const bytes = new Uint8Array(at);
  let to = 0;
  for (const part of parts) {
    bytes.set(part, to);
    to += part.length;
  }
  const table: Table = {
    format: "glassformer-trace",
    version: 3,
    tile_bytes: TILE_BYTES,
    labels: pass.labels,
    ops: Object.fromEntries(rows.flatMap(({ op }) => (op ? [[op, ops[op]]] : []))),
    formulas,
    nodes: rows,
  };
  return { table, bytes: bytes.buffer };
}

/** JSON has no number for what is infinite, and a trace's table is JSON. */
const written = (value: number): number | string =>
  Number.isFinite(value) ? value : String(value).replace("Infinity", "inf").toLowerCase();

function rowOf(node: PlanNode, before: number, { lengths, params }: Recorded) {
  const own = { ...paramsOf(node, lengths), ...params[node.address] };
  return {
    ...node,
    formula: node.formula === null ? null : node.formula + before,
    params: Object.fromEntries(Object.entries(own).map(([name, x]) => [name, written(x)])),
    shape: shapeOf(node, lengths),
    consumers: [] as string[],
  };
}
