/** Passes that Python recorded (tests/page/passes.py): the engine comes to the same numbers. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { Kernel } from "../../src/engine/kernel";
import type { Plan } from "../../src/engine/plan";
import { Program, type Values } from "../../src/engine/program";
import { plainNumber } from "../../src/trace/formula";
import type { TraceNode } from "../../src/trace/node";
import type { Table } from "../../src/trace/trace";
import { READ, ROUNDOFF, TINY } from "../../src/trace/dtype";
import { cases } from "./cases";

interface Recorded {
  name: string;
  folder: string;
  plan: Plan | null;
  /** A file: how far each computed number may be from its formula. */
  bounds: string | null;
}

/** A trace of Python's: its table and its numbers. */
function opened(folder: string): { table: Table; values: Values } {
  const table = JSON.parse(readFileSync(`${folder}/trace.json`, "utf8")) as Table;
  const file = readFileSync(`${folder}/values.safetensors`);
  const values = table.nodes.map((node): [string, Float64Array] => {
    const raw = new Uint8Array(file.subarray(...node.bytes!)).buffer;
    return [node.address, Float64Array.from(READ[node.dtype](raw))];
  });
  return { table, values: new Map(values) };
}

const computes = ({ formulas }: Table, { formula }: TraceNode) =>
  formula !== null && formulas[formula].tree[0] !== "drawn";

const isDifferent = (a: number, b: number) => a !== b && !(Number.isNaN(a) && Number.isNaN(b));

/** The address of the first number of a value that is further from Python's than it may be. */
function outside(
  node: TraceNode,
  result: Float64Array,
  wanted: Float64Array,
  allowed: Float64Array,
) {
  const unit = ROUNDOFF[node.dtype] ?? 0;
  const i = result.findIndex(
    (x, i) =>
      isDifferent(x, wanted[i]) &&
      // Python's number is within the bound of the formula's value, and the engine rounds that once
      !(Math.abs(x - wanted[i]) <= allowed[i] + unit * Math.abs(x) + (TINY[node.dtype] ?? 0)),
  );
  return i < 0 ? null : `${node.address} ${i}: ${result[i]}, not ${wanted[i]} ± ${allowed[i]}`;
}

/** The largest error of a pass in float64, of numbers of about 1: some hundred rounded steps follow each other. */
const TOGETHER = 1e-13;

const { passes } = cases<{ passes: Recorded[] }>();
const bounded = passes.filter(({ bounds }) => bounds);
const planned = passes.filter(({ plan }) => plan);

test.each(bounded)(
  "$name: from Python's operands every number is within its explanation's bound",
  ({ folder, bounds }) => {
    const { table, values } = opened(folder);
    const allowed = new Float64Array(new Uint8Array(readFileSync(bounds!)).buffer);
    const shapes = new Map(table.nodes.map((node) => [node.address, node.shape]));
    let at = 0;
    const wrong = table.nodes.flatMap((node) => {
      if (node.op === null) return [];
      const bounds = allowed.subarray(at, (at += values.get(node.address)!.length));
      if (!computes(table, node)) return [];
      const operands = Object.entries(node.operands);
      const params = Object.entries(node.params).map(([name, x]) => [name, plainNumber(x)]);
      const kernel = new Kernel(
        table.formulas[node.formula!].tree,
        node,
        Object.fromEntries(operands.map(([name, path]) => [name, shapes.get(path)!])),
      );
      const result = kernel.run(
        operands.map(([, path]) => values.get(path)!),
        Object.fromEntries(params),
      );
      return [outside(node, result, values.get(node.address)!, bounds)];
    });
    expect(wrong.length).toBeGreaterThan(50);
    expect(at).toBe(allowed.length);
    expect(wrong.filter((text) => text)).toEqual([]);
  },
);

test.each(planned)(
  "$name: from weights and tokens alone the plan comes to the same pass",
  ({ folder, plan }) => {
    const { table, values } = opened(folder);
    const ids = table.nodes.find(({ address }) => address === "token/ids")!;
    const [batch, pos] = ids.shape;
    const leaves = new Map(
      table.nodes
        .filter((node) => !computes(table, node) && node.address !== "const/position")
        .map(({ address }) => [address, values.get(address)!]),
    );
    const made = new Program(plan!).run({ lengths: { batch, pos }, leaves });
    expect([...made.keys()].sort()).toEqual(table.nodes.map(({ address }) => address).sort());
    const errors = table.nodes.map(({ address }): [number, string] => {
      const [result, wanted] = [made.get(address)!, values.get(address)!];
      const size = wanted.reduce((a, b) => (Number.isFinite(b) ? Math.max(a, Math.abs(b)) : a), 1);
      const error = result.map((x, i) => (isDifferent(x, wanted[i]) ? Math.abs(x - wanted[i]) : 0));
      return [Math.max(...error) / size, address];
    });
    expect(errors.filter(([error]) => !(error <= TOGETHER))).toEqual([]);
  },
);
