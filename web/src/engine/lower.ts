/**
 * From a formula's tree to stages that whole arrays go through: loops are found here, once for a
 * formula and its shapes, from the tree alone.
 *
 * A reduction becomes a stage of its own, over the axes that it leaves; so does any part of a tree
 * that varies along fewer axes than what is around it, since there it would be computed again and
 * again. Sums of products over axes that both sides share are matrix products; sums of
 * `select(place == axis, value, 0)` add each value where it belongs.
 */
import { OPERATORS } from "../trace/operators";
import { rule, type FunctionName } from "../trace/functions";
import {
  children,
  isBinary,
  isCall,
  isReduction,
  plainNumber,
  type Node,
  type Operator,
  type Read,
  type Reduction,
} from "../trace/formula";

/** The length of every axis. */
export type Sizes = Record<string, number>;
/** How far apart neighbors along an axis lie, in elements; an axis that is missing: 0. */
export type Strides = Record<string, number>;

/** A part of a tree that is computed for many elements at once; `array` is a number of an array. */
export type Expr =
  | { kind: "constant"; value: number }
  | { kind: "param"; name: string }
  | { kind: "load"; array: number; offset: number; strides: Strides }
  | { kind: "gather"; array: number; index: Expr }
  | { kind: "call"; name: FunctionName; x: Expr }
  | { kind: "binary"; operator: Operator; a: Expr; b: Expr }
  | { kind: "select"; condition: Expr; a: Expr; b: Expr };

type Load = Extract<Expr, { kind: "load" }>;

/** One pass over an index space, whose result is an array, row-major over `axes`. */
export type Stage = { out: number; axes: string[] } & (
  | { kind: "map"; body: Expr }
  | { kind: "reduce"; reduction: Reduction[0]; over: string[]; body: Expr }
  | { kind: "scatter"; over: string[]; along: string; index: Expr; value: Expr }
  | { kind: "product"; a: Load; b: Load; batch: string[]; m: string[]; n: string[]; k: string[] }
);

interface Lowered {
  stages: Stage[];
  /** Array 0 is the result, then come the operands in their order, then those made on the way. */
  arrays: number;
  /** Arrays that hold 0, 1, 2, ...: the index along an axis, as a number. */
  iotas: Map<number, number>;
}

export const RESULT = 0;

export const rowMajor = (axes: string[], sizes: Sizes): Strides => {
  const strides: Strides = {};
  let by = 1;
  for (const axis of axes.toReversed()) {
    strides[axis] = by;
    by *= sizes[axis];
  }
  return strides;
};

export const count = (axes: string[], sizes: Sizes): number =>
  axes.reduce((n, axis) => n * sizes[axis], 1);

const FREE = new WeakMap<Node, Set<string>>(); // a tree is lowered anew for every shape

/** The axes by whose index a tree's value is decided. */
function free(node: Node): Set<string> {
  const known = FREE.get(node);
  if (known) return known;
  const result = new Set(
    node[0] === "axis" ? [node[1]] : children(node).flatMap((child) => [...free(child)]),
  );
  if (isReduction(node)) result.delete(node[1]);
  FREE.set(node, result);
  return result;
}

/** The stages of `result[axes] = tree`. */
export function lower(
  tree: Node,
  axes: string[],
  sizes: Sizes,
  shapes: Record<string, number[]>,
): Lowered {
  const lowering = new Lowering(sizes, shapes);
  lowering.stage(tree, lowering.long(axes), RESULT);
  return { stages: lowering.stages, arrays: lowering.arrays, iotas: lowering.iotas };
}

class Lowering {
  readonly stages: Stage[] = [];
  readonly iotas = new Map<number, number>();
  arrays: number;
  private operands: Map<string, number>;

  constructor(
    private sizes: Sizes,
    private shapes: Record<string, number[]>,
  ) {
    this.operands = new Map(Object.keys(shapes).map((name, i) => [name, i + 1]));
    this.arrays = this.operands.size + 1;
  }

  /** Axes along which anything can vary: the only index along one of length 1 is 0. */
  long = (axes: string[]): string[] => axes.filter((axis) => this.sizes[axis] > 1);

  stage(node: Node, axes: string[], out: number): void {
    const result = isReduction(node)
      ? this.reduce(node, axes, out)
      : { kind: "map" as const, out, axes, body: this.expr(node, axes) };
    this.stages.push(result);
  }

  private reduce([reduction, axis, inside]: Reduction, axes: string[], out: number): Stage {
    const run = [axis];
    let body = inside;
    while (reduction === "sum" && body[0] === "sum") {
      run.push(body[1]);
      body = body[2];
    }
    const over = this.long(run);
    if (reduction === "sum") {
      const result = this.product(body, axes, over, out) ?? this.scatter(body, axes, over, out);
      if (result) return result;
    }
    const space = [...axes, ...over];
    return { kind: "reduce", out, axes, reduction, over, body: this.expr(body, space) };
  }

  /** A sum of products of what varies along some axes of the result and what varies along others. */
  private product(body: Node, axes: string[], over: string[], out: number): Stage | null {
    const space = [...axes, ...over];
    const varying = (nodes: Node[]): string[] => {
      const result = new Set(nodes.flatMap((node) => [...free(node)]));
      return space.filter((axis) => result.has(axis));
    };
    const parts = factors(body);
    const widest = parts.reduce((one, other) =>
      varying([other]).length > varying([one]).length ? other : one,
    );
    const ofA = varying([widest]);
    const outside = (part: Node) => varying([part]).some((axis) => !ofA.includes(axis));
    const ofB = varying(parts.filter(outside));
    const m = axes.filter((axis) => ofA.includes(axis) && !ofB.includes(axis));
    const n = axes.filter((axis) => ofB.includes(axis) && !ofA.includes(axis));
    const k = over.filter((axis) => ofA.includes(axis) && ofB.includes(axis));
    if (!m.length || !n.length || !k.length) return null;
    if (space.some((axis) => !ofA.includes(axis) && !ofB.includes(axis))) return null;
    const side = (mine: string[], other: string[], group: Node[]): Load => {
      const alone = over.filter((axis) => mine.includes(axis) && !other.includes(axis));
      const product = group.reduce((one, next) => ["*", one, next]);
      return this.array(
        alone.reduceRight<Node>((inner, axis) => ["sum", axis, inner], product),
        space,
      );
    };
    const a = side(
      ofA,
      ofB,
      parts.filter((part) => !outside(part)),
    );
    const b = side(ofB, ofA, parts.filter(outside));
    const batch = axes.filter((axis) => ofA.includes(axis) && ofB.includes(axis));
    return { kind: "product", out, axes, a, b, batch, m, n, k };
  }

  /** A sum of what counts only where an index that was computed is that of an axis. */
  private scatter(body: Node, axes: string[], over: string[], out: number): Stage | null {
    if (body[0] !== "select" || body[1][0] !== "==") return null;
    const [, condition, value, otherwise] = body;
    if (otherwise[0] !== "number" || otherwise[1] !== 0) return null;
    const [, left, right] = condition as [string, Node, Node];
    for (const [computed, target] of [
      [left, right],
      [right, left],
    ]) {
      const along = target[0] === "axis" ? target[1] : "";
      if (!axes.includes(along) || free(computed).has(along) || free(value).has(along)) continue;
      const space = [...axes.filter((axis) => axis !== along), ...over];
      const index = this.expr(computed, space);
      return { kind: "scatter", out, axes, over, along, index, value: this.expr(value, space) };
    }
    return null;
  }

  /** What is computed for every point of a space of axes, all longer than 1. */
  private expr(node: Node, space: string[]): Expr {
    const value = this.constant(node);
    if (value !== null) return { kind: "constant", value };
    switch (node[0]) {
      case "param":
        return { kind: "param", name: node[1] };
      case "axis":
        return this.index(node[1]);
      case "read":
        return this.read(node, space);
      case "drawn":
        throw new Error("a drawn number has no arithmetic");
    }
    if (isReduction(node) || this.varying(node, space).length < space.length)
      return this.array(node, space);
    if (node[0] === "select") {
      const [condition, a, b] = children(node).map((child) => this.expr(child, space));
      return { kind: "select", condition, a, b };
    }
    if (isCall(node)) return { kind: "call", name: node[0], x: this.expr(node[1], space) };
    if (isBinary(node)) {
      const [a, b] = children(node).map((child) => this.expr(child, space));
      return { kind: "binary", operator: node[0], a, b };
    }
    throw new Error(`this page does not know the function “${(node as Node)[0]}”`);
  }

  /** The value of a tree that is the same whatever it is given; null where it is not. */
  private constant(node: Node): number | null {
    if (node[0] === "number") return plainNumber(node[1]);
    if (node[0] === "size") return this.sizes[node[1]];
    if (!isCall(node) && !isBinary(node)) return null;
    const values = children(node).map((child) => this.constant(child));
    if (values.includes(null)) return null;
    const [a, b] = values as number[];
    return isCall(node) ? rule(node[0]).of(a) : OPERATORS[node[0]](a, b);
  }

  private varying = (node: Node, space: string[]): string[] => {
    const result = free(node);
    return space.filter((axis) => result.has(axis));
  };

  /** A tree as an array: the operand that it reads, or one made by a stage of its own. */
  private array(node: Node, space: string[]): Load {
    if (node[0] === "read") {
      const read = this.read(node, space);
      if (read.kind === "load") return read;
    }
    const axes = this.varying(node, space);
    const array = this.arrays++;
    this.stage(node, axes, array);
    return { kind: "load", array, offset: 0, strides: rowMajor(axes, this.sizes) };
  }

  private read([, operand, indices]: Read, space: string[]): Expr {
    const shape = this.shapes[operand];
    const array = this.operands.get(operand)!;
    const strides: Strides = {};
    let offset = 0;
    let by = 1;
    let index: Expr | null = null;
    for (let d = shape.length - 1; d >= 0; d--) {
      const at = indices[d];
      if (at[0] === "axis") {
        if (this.sizes[at[1]] > 1) strides[at[1]] = (strides[at[1]] ?? 0) + by;
      } else if (at[0] === "number") offset += by * Math.trunc(plainNumber(at[1]));
      else {
        const part = times(this.expr(at, space), by);
        index = index ? plus(index, part) : part;
      }
      by *= shape[d];
    }
    if (!index) return { kind: "load", array, offset, strides };
    for (const [axis, stride] of Object.entries(strides))
      index = plus(index, times(this.index(axis), stride));
    if (offset) index = plus(index, { kind: "constant", value: offset });
    return { kind: "gather", array, index };
  }

  private index(axis: string): Expr {
    const size = this.sizes[axis];
    if (size === 1) return { kind: "constant", value: 0 };
    if (!this.iotas.has(size)) this.iotas.set(size, this.arrays++);
    const array = this.iotas.get(size)!;
    return { kind: "load", array, offset: 0, strides: { [axis]: 1 } };
  }
}

const plus = (a: Expr, b: Expr): Expr => ({ kind: "binary", operator: "+", a, b });
const times = (a: Expr, by: number): Expr =>
  by === 1 ? a : { kind: "binary", operator: "*", a, b: { kind: "constant", value: by } };

/** What a tree is the product of. */
function factors(node: Node): Node[] {
  if (node[0] === "*") return [...factors(node[1]), ...factors(node[2])];
  if (node[0] === "neg") return [...factors(node[1]), ["number", -1]];
  if (node[0] === "/") return [...factors(node[1]), ["/", ["number", 1], node[2]]];
  return [node];
}
