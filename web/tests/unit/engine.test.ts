/** The engine finds its loops from the tree alone, and they come to what the tree says. */
import { describe, expect, test } from "vitest";
import { Kernel } from "../../src/engine/kernel";
import { lower, type Sizes } from "../../src/engine/lower";
import { multiply } from "../../src/engine/product";
import { rounding } from "../../src/engine/round";
import type { Node } from "../../src/trace/formula";
import { axis, n, read } from "../made";

const sum = (over: string, body: Node): Node => ["sum", over, body];

/** The kinds of the stages that a tree becomes, in the order in which they run. */
function kinds(tree: Node, axes: string[], sizes: Sizes, operands: Record<string, string[]>) {
  const shapes = Object.fromEntries(
    Object.entries(operands).map(([name, axes]) => [name, axes.map((a) => sizes[a])]),
  );
  return lower(tree, axes, sizes, shapes).stages.map(({ kind }) => kind);
}

function run(
  tree: Node,
  axes: Sizes,
  operands: Record<string, { shape: number[]; values: number[] }>,
  dtype = "float64",
): number[] {
  const shapes = Object.entries(operands).map(([name, { shape }]) => [name, shape]);
  const kernel = new Kernel(
    tree,
    { axes: Object.keys(axes), shape: Object.values(axes), dtype },
    Object.fromEntries(shapes),
  );
  return [...kernel.run(Object.values(operands).map(({ values }) => Float64Array.from(values)))];
}

describe("what a tree becomes", () => {
  const sizes = { i: 3, j: 4, k: 5 };
  const product: Node = ["*", read("a", "i", "k"), read("b", "k", "j")];

  test("a sum of products over what both sides share is a matrix product", () => {
    const operands = { a: ["i", "k"], b: ["k", "j"] };
    expect(kinds(sum("k", product), ["i", "j"], sizes, operands)).toEqual(["product"]);
    const biased: Node = ["+", sum("k", product), read("c", "j")];
    expect(kinds(biased, ["i", "j"], sizes, { ...operands, c: ["j"] })).toEqual(["product", "map"]);
    const halved = sum("k", ["neg", ["/", product, n(2)]]);
    expect(kinds(halved, ["i", "j"], sizes, operands).at(-1)).toBe("product");
  });

  test("a sum of products along the same axes is a plain sum", () => {
    const squares = sum("k", ["*", read("a", "i", "k"), read("a", "i", "k")]);
    expect(kinds(squares, ["i"], sizes, { a: ["i", "k"] })).toEqual(["reduce"]);
  });

  test("a sum of what counts at one index only adds each number where it belongs", () => {
    const rows: Node = ["==", ["read", "ids", [axis("k")]], axis("i")];
    const tree = sum("k", ["select", rows, read("x", "k", "j"), n(0)]);
    expect(kinds(tree, ["i", "j"], sizes, { ids: ["k"], x: ["k", "j"] })).toEqual(["scatter"]);
  });

  test("what varies along fewer axes than its surroundings is computed once", () => {
    const tree: Node = ["*", read("a", "i", "j"), ["sqrt", read("c", "i")]];
    expect(kinds(tree, ["i", "j"], sizes, { a: ["i", "j"], c: ["i"] })).toEqual(["map", "map"]);
  });
});

describe("what it comes to", () => {
  test("a row of a table, picked by an index that is read", () => {
    const tree: Node = ["read", "W", [["read", "ids", [axis("p")]], axis("d")]];
    const operands = {
      W: { shape: [3, 2], values: [1, 2, 3, 4, 5, 6] },
      ids: { shape: [2], values: [2, 0] },
    };
    expect(run(tree, { p: 2, d: 2 }, operands)).toEqual([5, 6, 1, 2]);
  });

  test("a sum longer than a block, and a maximum over numbers that are none", () => {
    const values = Array.from({ length: 6000 }, (_, i) => i);
    const x = { shape: [2, 3000], values };
    const total = run(sum("j", read("x", "i", "j")), { i: 2 }, { x });
    expect(total).toEqual([4498500, 13498500]);
    const largest: Node = ["max", "j", read("x", "i", "j")];
    expect(run(largest, { i: 2 }, { x })).toEqual([2999, 5999]);
    const holed = { shape: [2, 2], values: [1, NaN, -Infinity, -Infinity] };
    expect(run(largest, { i: 2 }, { x: holed })).toEqual([NaN, -Infinity]);
  });

  test("an axis of one index is as good as none", () => {
    const tree = sum("k", ["*", read("a", "i", "k"), read("b", "k", "j")]);
    const [a, b] = [
      { shape: [1, 2], values: [3, 4] },
      { shape: [2, 1], values: [5, 6] },
    ];
    expect(run(tree, { i: 1, j: 1 }, { a, b })).toEqual([39]);
  });

  test("numbers are rounded to the dtype of the value, once", () => {
    expect(run(["/", n(1), n(3)], {}, {}, "float32")).toEqual([Math.fround(1 / 3)]);
    expect(run(["/", n(1), n(3)], {}, {}, "bfloat16")).toEqual([0.333984375]);
    const ties = Float64Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, NaN);
    rounding("bfloat16")(ties, 0, 3);
    expect([...ties]).toEqual([1, 1 + 2 ** -6, NaN]); // of two equally near ones, the even one
    expect(() => rounding("float8")).toThrow("does not compute in float8");
  });

  test("a blocked product is the plain one, whatever is left over at its edges", () => {
    for (const [m, columns, k] of [
      [4, 4, 4],
      [5, 7, 3],
      [1, 9, 2],
      [6, 2, 1],
    ]) {
      const a = Float64Array.from({ length: m * k }, (_, i) => (i % 7) - 3);
      const b = Float64Array.from({ length: columns * k }, (_, i) => (i % 5) - 2);
      const out = new Float64Array(m * columns);
      multiply(a, 0, m, b, 0, columns, k, out);
      const plain = Array.from({ length: m * columns }, (_, at) => {
        const [i, j] = [Math.floor(at / columns), at % columns];
        let total = 0;
        for (let x = 0; x < k; x++) total += a[i * k + x] * b[j * k + x];
        return total;
      });
      expect([...out]).toEqual(plain);
    }
  });
});
