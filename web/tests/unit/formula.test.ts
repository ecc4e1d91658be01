import { describe, expect, test } from "vitest";
import { children, plainNumber, sides, walk, type Node } from "../../src/trace/formula";
import { letters, mathml } from "../../src/trace/mathml";
import { axis, n, read } from "../made";

// as it stands in a trace file
const STORED = `["/", ["sum", "key", ["*", ["read", "pattern", [["axis", "query"], ["axis", "key"]]],
  ["read", "v", [["axis", "key"]]]]], ["sqrt", ["+", ["number", 2], ["param", "eps"]]]]`;
const TREE = JSON.parse(STORED) as Node;

test("walking a tree of a trace file meets every node once, parents first", () => {
  expect([...walk(TREE)].map((node) => node[0])).toEqual(
    "/ sum * read axis axis read axis sqrt + number param".split(" "),
  );
});

test("a leaf has no children, a choice has three, a read has its indices", () => {
  expect(children(n(1))).toEqual([]);
  expect(children(["drawn"])).toEqual([]);
  expect(children(["select", n(1), n(2), n(3)])).toEqual([n(1), n(2), n(3)]);
  expect(children(read("x", "pos", "key"))).toEqual([axis("pos"), axis("key")]);
});

test("an infinity is text in a trace file", () => {
  expect([plainNumber("-inf"), plainNumber("inf"), plainNumber(2.5)]).toEqual([
    -Infinity,
    Infinity,
    2.5,
  ]);
});

test("subtraction groups to the left, powers to the right", () => {
  expect(sides("-")).toEqual([1, 2]);
  expect(sides("**")).toEqual([5, 4]);
});

describe("MathML", () => {
  const formula = { name: "z", axes: ["query"], tree: TREE, text: "", latex: "" };
  const drawn = mathml(formula, "z");

  test("a tensor is upright and an axis slanted, so that v is never both", () => {
    expect(drawn).toContain('<mi mathvariant="normal" class="tensor">v</mi>');
    expect(drawn).toContain("<mi>j</mi>");
    expect(drawn).not.toContain("<mi>v</mi>");
  });

  test("the letters of the axes are told once each, in the order they are met", () => {
    expect(letters(formula)).toEqual([
      ["i", "query"],
      ["j", "key"],
    ]);
  });

  test("brackets stand where the tree needs them", () => {
    const tree: Node = ["*", ["+", read("a"), read("b")], read("c")];
    const markup = mathml({ ...formula, axes: [], tree }, "y");
    expect(markup.match(/<mo>\(<\/mo>/g)).toHaveLength(1);
  });

  test("a name cannot become markup", () => {
    expect(mathml({ ...formula, axes: [], tree: read("<script>") }, "y")).not.toContain("<script>");
  });
});
