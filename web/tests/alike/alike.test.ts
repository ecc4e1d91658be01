/** Cases that Python wrote (tests/page/test_typescript.py): TypeScript writes the same texts. */
import { expect, test } from "vitest";
import { parse } from "../../src/trace/address";
import { plainText, type Line } from "../../src/trace/arithmetic";
import { explain } from "../../src/trace/explain";
import { compared, constant, Fixed, FULL, number, spelled } from "../../src/trace/spelling";
import { cases } from "./cases";
import { opened } from "./opened";

type Told = [string, string, string] | null;

interface Cases {
  trace: string;
  numbers: { value: string; texts: string[] }[];
  columns: { terms: number[]; holds: boolean; texts: string[] }[];
  comparisons: { pairs: [string, string][]; texts: Told[] }[];
  cells: {
    address: string;
    lines: [Told, Told];
    terms: [string, string][];
    digits: number;
    agrees: boolean;
  }[];
}

const made = cases<Cases>();

const python = (text: string): number => Number(text.replace("inf", "Infinity"));

test("every number is spelled as Python spells it", () => {
  const wrong = made.numbers.filter(({ value, texts }) => {
    const x = python(value);
    const spelledHere = [
      ...[2, 4, 6].map((digits) => number(x, digits)),
      ...[4, 9, FULL].map((digits) => spelled(x, digits)),
      constant(x),
    ];
    return spelledHere.join() !== texts.join();
  });
  expect(made.numbers.length).toBeGreaterThan(5000);
  expect(wrong).toEqual([]);
});

test("every column has the places that Python gives it", () => {
  for (const { terms, holds, texts } of made.columns) {
    const column = Fixed.ofSum(Float64Array.from(terms));
    expect(column.holds).toBe(holds);
    expect(terms.map((term) => column.text(column.units(term)))).toEqual(texts);
  }
});

test("numbers before and after and their difference are written as Python writes them", () => {
  for (const { pairs, texts } of made.comparisons) {
    expect(compared(pairs.map(([was, now]) => [python(was), python(now)]))).toEqual(texts);
  }
});

const printedAs = (line: Line | null): Told =>
  line && [plainText(line.numbers), line.relation, line.result];

/** In full precision sums of many numbers, added in another order, may differ in their last digit. */
const rounded = (printed: Told) =>
  printed?.map((text) => text.replace(/\d[\d.]*(e[+-]\d+)?/g, (x) => Number(x).toPrecision(14)));

test("every line and every running sum is the text that Python prints", async () => {
  const trace = opened(made.trace);
  for (const { address, lines, terms, digits, agrees } of made.cells) {
    const explanation = await explain(trace, parse(address));
    const shown = terms.map((_, i) => i);
    expect(
      {
        line: printedAs(explanation.line),
        full: rounded(printedAs(explanation.inFull())),
        terms: shown.map((i) => [explanation.terms!.text(i), explanation.terms!.soFar(i)]),
        digits: shown.length ? explanation.terms!.digits(shown) : 0,
        agrees: explanation.agrees,
      },
      address,
    ).toEqual({ line: lines[0], full: rounded(lines[1]), terms, digits, agrees });
  }
});
