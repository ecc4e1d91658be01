/** Encoders and encoder-decoders (tests/page/encoders.py): the page makes the traces that Python makes. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { PackedModel } from "../../src/api";
import { Model } from "../../src/engine/model";
import type { Request } from "../../src/source";
import { cases } from "./cases";
import { explained, isPythons, type Asked } from "./compared";

const UPDATES = 20;
const PART = 6; // updates whose losses are taken together: each asks for something else

interface Case {
  name: string;
  file: string;
  n_ctx: number;
  traces: Asked[];
}

describe.each(cases<{ encoders: Case[] }>().encoders)("$name", ({ file, n_ctx, traces }) => {
  const packed = JSON.parse(readFileSync(file, "utf8")) as PackedModel;
  const opened = Model.open(packed, n_ctx);
  const translates = packed.reads!.start !== null;
  const first = traces[0].request;

  test.each(traces)("the trace of $request is Python's", async (asked) =>
    isPythons(await opened, asked),
  );

  test("every value, gradient and update is explained from its operands, within its bound", async () =>
    expect(await explained(await opened, first)).toBeGreaterThan(150));

  test("a training lowers its loss, and begins anew alike", async () => {
    const model = await opened;
    const text = translates
      ? "the dog runs → le chien court\nthe friend → l'ami"
      : "the cat sat on the mat a dog ran";
    const losses = [0, 1].map(() => {
      model.learn({ text, seed: 1, rule: "own" });
      return Array.from({ length: UPDATES }, () => model.steps(0, 0.01).losses[0]);
    });
    expect(losses[0]).toEqual(losses[1]);
    const mean = (some: number[]) => some.reduce((a, b) => a + b) / some.length;
    expect(mean(losses[0].slice(-PART))).toBeLessThan(mean(losses[0].slice(0, PART)));
    const { about } = model.trace({ ...first, at_step: UPDATES });
    expect([about.at_step, about.optimizer]).toEqual([UPDATES, true]);
  });

  const refused: [Partial<Request> & { text?: string }, string][] = translates
    ? [
        [{ prompt: "" }, "reads 2 to 10"],
        [{ prompt: "the ".repeat(10) }, "has 11 tokens with the end"],
        [{ written: Array<number>(10).fill(4) }, "writes at most 9; take some back"],
        [{ text: "the dog runs" }, "with → between them"],
      ]
    : [
        [{ prompt: "the cat sat", target: "cat" }, "here is no one blank"],
        [{ prompt: "[MASK] [MASK]", target: "cat" }, "here is no one blank"],
        [{ prompt: "the ".repeat(11) }, "shorten it by 1"],
        [{ text: "" }, "give a longer text"],
      ];
  test.each(refused)("what can not be done, %o, is said", async ({ text, ...asked }, says) => {
    const model = await opened;
    const ask = () =>
      text === undefined
        ? model.trace({ ...first, ...asked })
        : model.learn({ text, seed: 1, rule: "own" });
    expect(ask).toThrow(says);
  });
});
