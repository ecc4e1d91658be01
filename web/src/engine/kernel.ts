/** A formula over whole arrays: its stages made into loops once, and run as often as wanted. */
import { axisSizes, type Node } from "../trace/formula";
import { count, lower, RESULT, rowMajor, type Sizes, type Stage, type Strides } from "./lower";
import { multiply } from "./product";
import { rounding } from "./round";
import { compile, offsets, register, Space, type Bound } from "./vector";

interface Shaped {
  axes: string[];
  shape: number[];
  dtype: string;
}

/** Computes result[axes] = tree from its operands, in the order of the names that it was made with. */
export class Kernel {
  private bound: Bound;
  private stages: (() => void)[];
  private length: number;
  private round: (numbers: Float64Array) => void;

  constructor(tree: Node, result: Shaped, operands: Record<string, number[]>) {
    const sizes: Sizes = axisSizes(tree, (name) => operands[name]);
    result.axes.forEach((axis, d) => (sizes[axis] = result.shape[d]));
    const { stages, arrays, iotas } = lower(tree, result.axes, sizes, operands);
    this.bound = { arrays: Array.from({ length: arrays }), params: {} };
    for (const [size, array] of iotas)
      this.bound.arrays[array] = Float64Array.from({ length: size }, (_, i) => i);
    for (const { out, axes } of stages)
      if (out !== RESULT) this.bound.arrays[out] = new Float64Array(count(axes, sizes));
    this.stages = stages.map((stage) => made(stage, sizes, this.bound));
    this.length = result.shape.reduce((a, b) => a * b, 1);
    const round = rounding(result.dtype);
    this.round = (numbers) => round(numbers, 0, this.length);
  }

  run(operands: Float64Array[], params: Record<string, number> = {}): Float64Array {
    const { arrays } = this.bound;
    const result = new Float64Array(this.length);
    arrays[RESULT] = result;
    operands.forEach((operand, i) => (arrays[i + 1] = operand));
    this.bound.params = params;
    for (const stage of this.stages) stage();
    this.round(result);
    return result;
  }
}

function made(stage: Stage, sizes: Sizes, bound: Bound): () => void {
  switch (stage.kind) {
    case "map":
      return map(stage, sizes, bound);
    case "reduce":
      return reduce(stage, sizes, bound);
    case "scatter":
      return scatter(stage, sizes, bound);
    case "product":
      return product(stage, sizes, bound);
  }
}

type Of<Kind extends Stage["kind"]> = Extract<Stage, { kind: Kind }>;

function map({ out, axes, body }: Of<"map">, sizes: Sizes, bound: Bound): () => void {
  const space = new Space(axes, sizes);
  const loop = compile(body, space, bound, 0);
  const n = space.block;
  return () => {
    const to = bound.arrays[out];
    for (let j = 0; j < space.blocks; j++) {
      loop(j);
      copy(register(0, n), to, j * n, n);
    }
  };
}

function copy(from: Float64Array, to: Float64Array, at: number, n: number): void {
  for (let i = 0; i < n; i++) to[at + i] = from[i];
}

function reduce(
  { out, axes, over, reduction, body }: Of<"reduce">,
  sizes: Sizes,
  bound: Bound,
): () => void {
  const space = new Space([...axes, ...over], sizes);
  const loop = compile(body, space, bound, 0);
  const n = space.block;
  const terms = count(over, sizes);
  if (reduction === "argmax") return argmax(loop, space, terms, out, bound);
  const add = reduction === "max" ? largest : sum;
  const start = reduction === "max" ? -Infinity : 0;
  return () => {
    const to = bound.arrays[out].fill(start);
    for (let j = 0; j < space.blocks; j++) {
      loop(j);
      add(register(0, n), n, terms, to, Math.floor((j * n) / terms));
    }
    if (reduction === "mean") for (let i = 0; i < to.length; i++) to[i] /= terms;
  };
}

/** Where the largest of each row's terms first stands. */
function argmax(
  loop: (block: number) => void,
  { block, blocks }: Space,
  terms: number,
  out: number,
  bound: Bound,
): () => void {
  return () => {
    const to = bound.arrays[out].fill(0);
    const best = new Float64Array(to.length).fill(-Infinity);
    for (let j = 0; j < blocks; j++) {
      loop(j);
      const numbers = register(0, block);
      for (let i = 0; i < block; i++) {
        const row = Math.floor((j * block + i) / terms);
        if (numbers[i] > best[row])
          [best[row], to[row]] = [numbers[i], j * block + i - row * terms];
      }
    }
  };
}

/** Rows of a register, each of `terms` numbers or a part of them, are added to the results from `at` on. */
function sum(terms: Float64Array, n: number, each: number, to: Float64Array, at: number): void {
  for (let i = 0; i < n; at++) {
    let total = to[at];
    for (const end = Math.min(i + each, n); i < end; i++) total += terms[i];
    to[at] = total;
  }
}

function largest(terms: Float64Array, n: number, each: number, to: Float64Array, at: number): void {
  for (let i = 0; i < n; at++) {
    let result = to[at];
    for (const end = Math.min(i + each, n); i < end; i++)
      if (terms[i] > result || terms[i] !== terms[i]) result = terms[i];
    to[at] = result;
  }
}

function scatter(
  { out, axes, over, along, index, value }: Of<"scatter">,
  sizes: Sizes,
  bound: Bound,
): () => void {
  const strides: Strides = rowMajor(axes, sizes);
  const space = new Space([...axes.filter((axis) => axis !== along), ...over], sizes);
  const indices = compile(index, space, bound, 0);
  const values = compile(value, space, bound, 1);
  const n = space.block;
  const by = strides[along];
  const [starts, inside] = [space.starts(strides), space.within(strides)];
  return () => {
    const to = bound.arrays[out].fill(0);
    for (let j = 0; j < space.blocks; j++) {
      indices(j);
      values(j);
      const [target, number] = [register(0, n), register(1, n)];
      for (let i = 0; i < n; i++)
        if (target[i] >= 0 && target[i] < sizes[along])
          to[starts[j] + inside[i] + target[i] * by] += number[i];
    }
  };
}

function product(
  { out, axes, a, b, batch, m, n, k }: Of<"product">,
  sizes: Sizes,
  bound: Bound,
): () => void {
  const strides = rowMajor(axes, sizes);
  const table = (along: string[], by: Strides, offset = 0) => offsets(along, sizes, by, offset);
  const [rows, columns, terms] = [m, n, k].map((along) => count(along, sizes));
  const sideA = packer(table(m, a.strides), table(k, a.strides));
  const sideB = packer(table(n, b.strides), table(k, b.strides));
  const [batchA, batchB] = [table(batch, a.strides, a.offset), table(batch, b.strides, b.offset)];
  const to = { batch: table(batch, strides), rows: table(m, strides), columns: table(n, strides) };
  const result = new Float64Array(rows * columns);
  return () => {
    const [fromA, fromB, into] = [bound.arrays[a.array], bound.arrays[b.array], bound.arrays[out]];
    for (let i = 0; i < batchA.length; i++) {
      const [packedA, atA] = sideA(fromA, batchA[i]);
      const [packedB, atB] = sideB(fromB, batchB[i]);
      multiply(packedA, atA, rows, packedB, atB, columns, terms, result);
      for (let r = 0; r < rows; r++) {
        const start = to.batch[i] + to.rows[r];
        for (let c = 0; c < columns; c++) into[start + to.columns[c]] = result[r * columns + c];
      }
    }
  };
}

type Packed = [numbers: Float64Array, from: number];

/** Rows of numbers that follow each other, as they lie if they already do. */
function packer(rows: Int32Array, terms: Int32Array): (from: Float64Array, at: number) => Packed {
  const n = terms.length;
  if (rows.every((start, r) => start === r * n) && terms.every((start, i) => start === i))
    return (from, at) => [from, at];
  const packed = new Float64Array(rows.length * n);
  return (from, at) => {
    for (let r = 0, p = 0; r < rows.length; r++) {
      const start = at + rows[r];
      for (let i = 0; i < n; i++) packed[p++] = from[start + terms[i]];
    }
    return [packed, 0];
  };
}
