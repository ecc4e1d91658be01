import { expect, test } from "vitest";
import { pieces, readNumber } from "../../src/parts/text";

test("a lesson's text is plain words, code, and words of the glossary", () => {
  expect(pieces("Each [[token]] has an [[embedding|row]] in `W_E`.")).toEqual([
    { text: "Each ", kind: "plain" },
    { text: "token", kind: "term", term: "token" },
    { text: " has an ", kind: "plain" },
    { text: "row", kind: "term", term: "embedding" },
    { text: " in ", kind: "plain" },
    { text: "W_E", kind: "code" },
    { text: ".", kind: "plain" },
  ]);
});

test("a number is read as people type it, and what is none is null", () => {
  expect(["0,25", "-1/4", " 12 % ", "−3", "1e3"].map(readNumber)).toEqual([
    0.25, -0.25, 0.12, -3, 1000,
  ]);
  expect(["many", "", "1/0", "1/2/3", "/2"].map(readNumber)).toEqual([
    null,
    null,
    null,
    null,
    null,
  ]);
});
