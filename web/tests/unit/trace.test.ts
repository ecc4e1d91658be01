import { describe, expect, test } from "vitest";
import { format, nearest, parse } from "../../src/trace/address";
import { planeOfHead } from "../../src/parts/grid";
import { addressOf, flat } from "../../src/trace/node";
import { stages } from "../../src/trace/story";
import { Trace, visible } from "../../src/trace/trace";
import { larger, Values } from "../../src/trace/values";
import { wiring } from "../../src/trace/wiring";
import { traceOf } from "../made";

describe("an address", () => {
  test("is read as it is written", () => {
    const text = "fwd/blocks.0.attn.pattern[head=0,query=3]";
    const { path, index } = parse(text);
    expect(index).toEqual({ head: 0, query: 3 });
    expect(format(path, index)).toBe(text);
  });

  test.each([
    ["fwd/x[i=one]", "“i=one” is not axis=index"],
    ["nowhere/x", "unknown kind “nowhere”"],
    ["a b", "is not an address"],
  ])("%s is answered in words", (text, words) => expect(() => parse(text)).toThrow(words));

  test("that is mistyped meets its neighbors", () => {
    const known = ["fwd/resid_mid", "fwd/resid_post", "weight/W_E"];
    expect(nearest("fwd/resid_pots", known, 1)).toEqual(["fwd/resid_post"]);
  });
});

describe("a trace", () => {
  const values = Array.from({ length: 24 }, (_, i) => i / 8);
  const trace = traceOf({ "fwd/x": { axes: ["pos", "i"], shape: [3, 8], values } });
  const node = trace.node("fwd/x");

  test("finds a number by its indices, and its indices by its place", async () => {
    expect(flat(node, { pos: 2, i: 5 })).toBe(21);
    expect(addressOf(node, 21)).toBe("fwd/x[pos=2,i=5]");
    expect(await trace.values.one(node, 21)).toBe(21 / 8);
  });

  test("draws a head that looks across under the source's words", () => {
    const axes = ["batch", "head", "query", "source_key"];
    const across = traceOf({ "fwd/x": { axes, shape: [1, 2, 3, 5], values: Array(30).fill(0) } });
    const { rowAxis, columnAxis, rows, columns, of } = planeOfHead(across, across.node("fwd/x"), 1);
    expect([rowAxis, columnAxis, rows, columns]).toEqual(["query", "source_key", 3, 5]);
    expect(of).toEqual({ rows: 3, columns: 5 });
  });

  test("reads across its tiles", async () => {
    expect([...(await trace.values.range(node, 5, 19))]).toEqual(values.slice(5, 19));
  });

  test("asks once for tiles side by side, at most sixteen at a time, and for none again", async () => {
    const asked: [number, number][] = [];
    const bytes = async (begin: number, end: number) => {
      asked.push([begin, end]);
      return Float64Array.from({ length: (end - begin) / 8 }, (_, i) => begin / 8 + i).buffer;
    };
    const large = { ...node, shape: [20, 8], bytes: [0, 20 * 64] as [number, number] };
    const numbers = new Values({ bytes }, 64);
    const both = await Promise.all([
      numbers.range(large, 8 * 5, 8 * 5 + 3),
      numbers.range(large, 0, 160),
    ]);
    expect(asked).toEqual([
      [0, 16 * 64],
      [16 * 64, 20 * 64],
    ]);
    expect([...both[0]]).toEqual([40, 41, 42]);
    expect([...both[1]]).toEqual(Array.from({ length: 160 }, (_, i) => i));
    await numbers.all(large);
    expect(asked).toHaveLength(2);
  });

  test("says which index is outside, and which axes there are", () => {
    expect(() => trace.locate("fwd/x[pos=3]")).toThrow("pos goes from 0 to 2");
    expect(() => trace.locate("fwd/x[key=0]")).toThrow("its axes are pos, i");
  });

  test("needs no kind where a name is known", () => {
    expect(trace.locate("x[pos=1]")).toEqual({ path: "fwd/x", index: { pos: 1 } });
  });

  test("of another version is refused by its version", () => {
    const table = { ...trace.table, version: 9 };
    expect(() => new Trace(table, { bytes: async () => new ArrayBuffer(0) })).toThrow("version 9");
  });
});

test("spaces and control characters of a token can be seen", () => {
  expect([" the", "\n", "a b", "", "\u200b"].map(visible)).toEqual([
    "␣the",
    "⏎",
    "a b",
    '""',
    "\\u200b",
  ]);
});

test("of two numbers the larger magnitude stands for a block, a nan before all, -inf after all", () => {
  expect(larger(1, -2)).toBe(-2);
  expect(larger(NaN, 5)).toBe(NaN);
  expect(larger(-Infinity, 0.5)).toBe(0.5);
});

test("a head's sink is said where a token does not split all of its attention", () => {
  const at = "fwd/blocks.0.attn.";
  const softmax = (...more: string[]) => {
    const names = ["pattern_max", ...more, "pattern_sum", "pattern"];
    const trace = traceOf(Object.fromEntries(names.map((name) => [at + name, { values: [0.5] }])));
    return stages(trace, 0, "next").find(({ id }) => id === "softmax")!;
  };
  expect(softmax().sentence).toContain("every token splits 100% of its attention");
  const { sentence, nodes, main } = softmax("sink_exp", "keys_sum");
  expect(sentence).not.toContain("100%");
  expect(sentence).toContain("the head's own sink");
  expect(nodes.map(({ address }) => address)).toContain(`${at}sink_exp`);
  expect(main!.address).toBe(`${at}pattern`);
});

test("a block with adapters is wired like one without, and shows what they add", () => {
  const made = (from: Record<string, string> = {}) => ({ values: [1], from });
  const trace = traceOf({
    "fwd/blocks.0.ln1.normed": made(),
    "fwd/blocks.0.attn.q_frozen": made({ x: "fwd/blocks.0.ln1.normed" }),
    "fwd/blocks.0.attn.lora_Q.scaled": made(),
    "fwd/blocks.0.attn.q": made({
      frozen: "fwd/blocks.0.attn.q_frozen",
      scaled: "fwd/blocks.0.attn.lora_Q.scaled",
    }),
    "fwd/blocks.0.ln2.normed": made(),
    "fwd/blocks.0.mlp.pre_frozen": made({ x: "fwd/blocks.0.ln2.normed" }),
    "fwd/blocks.0.mlp.pre": made({ frozen: "fwd/blocks.0.mlp.pre_frozen" }),
  });
  expect(wiring(trace, 0)).toMatchObject({ parallel: false, sharedNorm: false, groups: [[0]] });
  const shown = stages(trace, 0, "next").flatMap(({ nodes }) => nodes.map((node) => node.address));
  expect(shown).toContain("fwd/blocks.0.attn.lora_Q.scaled");
});
