import { describe, expect, test } from "vitest";
import { derivatives } from "../../src/trace/derive";
import { erf } from "../../src/trace/erf";
import { Evaluation } from "../../src/trace/evaluate";
import { consumers, explain } from "../../src/trace/explain";
import type { Node } from "../../src/trace/formula";
import { line, plainText, putIn } from "../../src/trace/arithmetic";
import { terms } from "../../src/trace/terms";
import { axis, n, read, traceOf } from "../made";

const X = [0.5, -1.25, 2, 0.75];
const TABLE = [10, 20, 30];

/** A number y computed by `tree` from x[i], a table[pos] and a row of ids. */
function computed(tree: Node, params = {}) {
  return traceOf({
    "fwd/x": { axes: ["i"], shape: [4], values: X },
    "weight/table": { axes: ["pos"], shape: [3], values: TABLE },
    "token/ids": { axes: ["i"], shape: [4], values: [2, 0, 1, 2], integers: true },
    "fwd/y": {
      values: [NaN],
      from: { x: "fwd/x", table: "weight/table", ids: "token/ids" },
      tree,
      params,
    },
  });
}

async function run(tree: Node, params = {}, at: Record<string, number> = {}) {
  const trace = computed(tree, params);
  for (const node of trace.nodes.values()) await trace.values.all(node);
  const node = trace.node("fwd/y");
  const operands = Object.fromEntries(
    Object.entries(node.operands).map(([name, path]) => [name, trace.node(path)]),
  );
  const evaluation = new Evaluation(trace, operands, params, tree, node);
  return { evaluation, value: evaluation.run(tree, at) };
}

const valueOf = async (tree: Node, params = {}, at = {}) => (await run(tree, params, at)).value;

describe("evaluation", () => {
  test("sums, means and maxima run over the whole axis", async () => {
    expect(await valueOf(["sum", "i", read("x", "i")])).toBe(2);
    expect(await valueOf(["mean", "i", read("x", "i")])).toBe(0.5);
    expect(await valueOf(["max", "i", read("x", "i")])).toBe(2);
  });

  test("an index may itself be read", async () => {
    const looked: Node = ["read", "table", [["read", "ids", [axis("i")]]]];
    expect(await valueOf(["sum", "i", looked])).toBe(30 + 10 + 20 + 30);
  });

  test("a parameter, an axis' index and its size are numbers", async () => {
    expect(await valueOf(["+", ["param", "eps"], n(1)], { eps: 0.25 })).toBe(1.25);
    expect(await valueOf(["sum", "i", ["*", axis("i"), read("x", "i")]])).toBe(0 - 1.25 + 4 + 2.25);
    expect(await valueOf(["+", ["size", "i"], ["*", n(0), read("x", "i")]], {}, { i: 1 })).toBe(4);
  });

  test("a choice takes one side, division and remainder are those of Python", async () => {
    expect(await valueOf(["select", ["<", n(1), n(2)], n(5), n(6)])).toBe(5);
    expect(await valueOf(["//", n(-7), n(2)])).toBe(-4);
    expect(await valueOf(["%", n(-7), n(3)])).toBe(2);
  });

  test("a function that this page does not know is named", async () => {
    await expect(valueOf(["gamma", n(1)] as unknown as Node)).rejects.toThrow("“gamma”");
  });

  test("what was read is remembered, and the bound covers rounding", async () => {
    const { evaluation } = await run(["sum", "i", read("x", "i")]);
    expect([...evaluation.reads.get("x")!]).toEqual(X.map((value, i) => [i, value]));
    expect(evaluation.bound).toBeGreaterThan(0);
    expect(evaluation.bound).toBeLessThan(1e-14);
  });
});

describe("many terms at once", () => {
  const x = read("x", "i");
  const BODIES: Record<string, Node> = {
    "a number read": x,
    "a product of sums": ["*", ["+", x, n(0.5)], ["-", ["param", "eps"], x]],
    "a quotient by an index": ["/", x, ["+", axis("i"), n(1)]],
    functions: ["exp", ["neg", ["tanh", x]]],
  };

  test.each(Object.entries(BODIES))("%s is summed as term by term", async (_, body) => {
    for (const kind of ["sum", "mean", "max"] as const) {
      const once = await run([kind, "i", body], { eps: 0.25 });
      // a choice that is always made is no plain arithmetic, and is walked through
      const walked: Node = [kind, "i", ["select", ["<", n(0), n(1)], body, n(7)]];
      const each = await run(walked, { eps: 0.25 });
      expect(once.value).toBe(each.value);
      expect(once.evaluation.bound).toBe(each.evaluation.bound);
      expect([...once.evaluation.reads.get("x")!]).toEqual([...each.evaluation.reads.get("x")!]);
      const slopes = [once, each].map(({ evaluation }, i) => [
        ...derivatives(evaluation, i ? walked : [kind, "i", body], {}).get("x")!,
      ]);
      slopes[0].forEach(([offset, slope], i) => {
        expect(offset).toBe(slopes[1][i][0]);
        expect(slope).toBeCloseTo(slopes[1][i][1], 14);
      });
    }
  });
});

describe("derivatives", () => {
  const TREES: Record<string, Node> = {
    "a product": ["*", read("x", "i"), ["exp", read("x", "i")]],
    "a quotient": ["/", ["sin", read("x", "i")], ["+", n(3), read("x", "i")]],
    "a power": ["**", ["+", n(3), read("x", "i")], n(2.5)],
    "a power of a constant": ["**", n(2), read("x", "i")],
    "a difference": ["-", ["tanh", read("x", "i")], ["cos", read("x", "i")]],
    "a root and a logarithm": ["log", ["sqrt", ["+", n(3), read("x", "i")]]],
    "erf, abs and a sign": ["+", ["erf", read("x", "i")], ["neg", ["abs", read("x", "i")]]],
    "a choice": ["select", [">", read("x", "i"), n(0)], ["*", n(3), read("x", "i")], n(0)],
    "a floor is flat": ["//", read("x", "i"), n(1)],
    "a mean of squares": ["mean", "i", ["*", read("x", "i"), read("x", "i")]],
    "a maximum": ["max", "i", read("x", "i")],
  };
  const STEP = 1e-6;

  test.each(Object.entries(TREES))("of %s are its slopes", async (name, tree) => {
    for (const i of [0, 1, 2, 3]) {
      const { evaluation } = await run(tree, {}, { i });
      const slopes = derivatives(evaluation, tree, { i }).get("x")!;
      for (const offset of [0, 1, 2, 3]) {
        const moved = async (by: number) => {
          X[offset] += by;
          const value = await valueOf(tree, {}, { i });
          X[offset] -= by;
          return value;
        };
        // a central difference is good to about its step squared
        const slope = name.includes("flat")
          ? 0
          : ((await moved(STEP)) - (await moved(-STEP))) / (2 * STEP);
        expect(slopes.get(offset) ?? 0).toBeCloseTo(slope, 6);
      }
    }
  });

  test("a remainder of what is read has no rule, and says so", async () => {
    const tree: Node = ["%", read("x", "i"), n(1)];
    const { evaluation } = await run(tree, {}, { i: 0 });
    expect(() => derivatives(evaluation, tree, { i: 0 })).toThrow("can't differentiate %");
  });

  test("equal largest numbers share the slope", async () => {
    const away: Node = ["-", read("table", "pos"), n(20)];
    const tree: Node = ["max", "pos", ["*", away, away]]; // 100, 0, 100
    const { evaluation } = await run(tree);
    expect([...derivatives(evaluation, tree, {}).get("table")!]).toEqual([
      [0, -10],
      [2, 10],
    ]);
  });
});

test("erf is odd, and right to the last places", () => {
  expect(erf(0)).toBe(0);
  expect(erf(-1)).toBe(-erf(1));
  expect(erf(0.5)).toBeCloseTo(0.5204998778130465, 15);
  expect(erf(7)).toBe(1);
});

describe("an explained number", () => {
  const tree: Node = ["/", ["sum", "i", ["*", read("x", "i"), read("x", "i")]], n(4)];
  const square = X.reduce((sum, x) => sum + x * x, 0) / 4;

  const made = (value: number) =>
    traceOf({
      "fwd/x": { axes: ["i"], shape: [4], values: X },
      "fwd/y": { values: [value], from: { x: "fwd/x" }, tree },
    });

  test("is computed again and agrees", async () => {
    const explanation = await explain(made(square), { path: "fwd/y", index: {} });
    expect(explanation.agrees).toBe(true);
    expect(explanation.groups.map(({ path, operands }) => [path, operands.length])).toEqual([
      ["fwd/x", 4],
    ]);
    expect(explanation.groups[0].operands.at(2)).toMatchObject({
      address: "fwd/x[i=2]",
      value: 2,
      derivative: 1,
    });
  });

  test("is told not to agree where it was changed", async () => {
    expect((await explain(made(square + 1e-9), { path: "fwd/y", index: {} })).agrees).toBe(false);
  });

  test("has its terms with the sum after each, all with the same places", async () => {
    const { evaluation } = await run(tree);
    const sums = terms(tree, evaluation, {})!;
    expect(Array.from(sums.values, (_, i) => [sums.text(i), sums.soFar(i)])).toEqual([
      ["0.2500", "0.2500"],
      ["1.5625", "1.8125"],
      ["4.0000", "5.8125"],
      ["0.5625", "6.3750"],
    ]);
  });

  test("puts its numbers in, a negative one on the right in brackets", async () => {
    const { evaluation, value } = await run(tree);
    const printed = line(putIn(tree, evaluation, {}), value);
    expect(`${plainText(printed.numbers)} ${printed.relation} ${printed.result}`).toBe(
      "(0.5 * 0.5 + (-1.25) * (-1.25) + 2 * 2 + 0.75 * 0.75) / 4 = 1.59375",
    );
    expect(printed.numbers.flatMap((piece) => piece.address ?? [])).toContain("fwd/x[i=3]");
  });

  test("says that it is only nearly equal where numbers cancel", async () => {
    const close: Node = ["-", n(1 / 3), n(1 / 3 - 1e-11)];
    const { evaluation, value } = await run(close);
    const printed = putIn(close, evaluation, {});
    expect(line(printed, value).relation).toBe("≈");
    expect(line(printed, value, false, true).relation).toBe("=");
  });

  test("leads to what reads it, with the axes that are decided", () => {
    const readers = consumers(made(square), { path: "fwd/x", index: { i: 1 } });
    expect(readers.map(({ address }) => address)).toEqual(["fwd/y"]);
  });
});
