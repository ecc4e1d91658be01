/** What Python recorded of models (tests/page/models.py): the page, given the same model, makes the same traces. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { PackedModel } from "../../src/api";
import { Model } from "../../src/engine/model";
import type { Request } from "../../src/source";
import { kindOf } from "../../src/trace/address";
import { Trace } from "../../src/trace/trace";
import { cases } from "./cases";
import { complete, explained, isPythons, numbers, type Asked } from "./compared";

interface Case {
  name: string;
  file: string;
  n_ctx: number;
  traces: Asked[];
  /** Of every earlier step the weights, rounded to their grids. */
  past: Record<string, Record<string, number[]>>;
}

describe.each(cases<{ models: Case[] }>().models)(
  "$name",
  ({ name, file, n_ctx, traces, past }) => {
    const packed = JSON.parse(readFileSync(file, "utf8")) as PackedModel;
    const opened = Model.open(packed, n_ctx);

    test.each(traces)("the trace of $request is Python's", async (asked) =>
      isPythons(await opened, asked),
    );

    const edited = traces.filter(({ request }) => request.edits).map(({ request }) => request);
    test.each([traces[0].request, ...edited])(
      "every value of $prompt, $edits is explained from its operands, within its bound",
      async (request) => expect(await explained(await opened, request)).toBeGreaterThan(150),
    );

    test.each(edited)(
      "an edit of an open trace, $edits, is that of a fresh model",
      async (request) => {
        const [model, fresh] = [await opened, await Model.open(packed, n_ctx)];
        model.trace({ ...request, edits: {} });
        const made = [await complete(model, request), await complete(fresh, request)];
        expect(new Uint8Array(made[0].bytes)).toEqual(new Uint8Array(made[1].bytes));
      },
    );

    test("a snapshot is read by its own weights, and has no optimizer's state", async () => {
      const model = await opened;
      for (const [step, weights] of Object.entries(past)) {
        const { about, table, bytes } = model.trace({
          ...traces[0].request,
          at_step: Number(step),
        });
        expect([about.at_step, about.backward, about.optimizer]).toEqual([
          Number(step),
          true,
          false,
        ]);
        const trace = new Trace(table, { bytes: async (from, to) => bytes.slice(from, to) });
        for (const [name, numbers] of Object.entries(weights))
          expect([...(await trace.values.all(trace.node(`weight/${name}`)))]).toEqual(numbers);
      }
      expect(() => model.trace({ ...traces[0].request, at_step: 6 })).toThrow(
        "does not hold step 6",
      );
    });

    test("a training goes on from the weights, is opened like a saved step, and begins anew alike", async () => {
      const model = await opened;
      const lesson = { text: "the cat sat on a mat the cat ran", seed: 1, rule: "own" as const };
      const text = name === "miniature" ? "the cat sat on a mat the cat sat" : lesson.text;
      const losses = [0, 1].map(() => {
        expect(model.learn({ ...lesson, text })).toEqual({ done: 0, losses: [] });
        return Array.from({ length: 40 }, () => model.steps(0, 0.01).losses[0]);
      });
      expect(losses[0]).toEqual(losses[1]);
      expect(losses[0].at(-1)).toBeLessThan(losses[0][0]);
      const { about, table, bytes } = model.trace({ run: "", prompt: "the cat sat", at_step: 40 });
      expect([about.at_step, about.optimizer]).toEqual([40, true]);
      model.steps(0, 0.01);
      const again = model.trace({ run: "", prompt: "the cat sat", at_step: 40 });
      expect(again.table).toEqual(table);
      expect(new Uint8Array(again.bytes)).toEqual(new Uint8Array(bytes));
      expect(() => model.learn({ ...lesson, text: "the" })).toThrow("give a longer text");
    });

    test.each(["own", "descent"] as const)(
      "a watched step is the one that training makes, by %s",
      async (rule) => {
        const model = await opened;
        model.learn({ text: "the cat sat on a mat the cat sat on a mat", seed: 1, rule });
        model.steps(0, 0.01);
        const done = model.steps(0, 0.01).done;
        const made = await complete(model, { run: "", prompt: "the", at_step: done, rate: 0.02 });
        const loss = made.table.nodes.find(({ address }) => address === "fwd/loss")!;
        const after = model.steps(0, 0.02);
        expect(numbers(loss, (...at) => made.bytes.slice(...at))[0]).toBe(after.losses[0]);
        const next = model.trace({ run: "", prompt: "the", at_step: after.done });
        const weights = next.table.nodes.filter(({ address }) => kindOf(address) === "weight");
        for (const weight of weights) {
          const update = made.table.nodes.find(
            ({ address }) => address === weight.address.replace("weight/", "opt/"),
          )!;
          expect(numbers(update, (...at) => made.bytes.slice(...at))).toEqual(
            numbers(weight, (...at) => next.bytes.slice(...at)),
          );
        }
        expect(() => model.trace({ run: "", prompt: "the", at_step: 1, rate: 0.02 })).toThrow(
          "no training at step 1",
        );
      },
    );

    test.each([
      [{ prompt: "" }, "has no tokens"],
      [{ prompt: "the ".repeat(n_ctx + 1) }, "shorten it by 1"],
      [{ target: "xyzzy" }, "is not one of the 8 tokens"],
      [{ edits: { "fwd/nothing": 0 } }, "no value is named fwd/nothing"],
      [{ edits: { "fwd/logits[pos=9]": 0 } }, "outside fwd/logits: pos goes from 0 to 4"],
      [{ edits: { "fwd/logits[neuron=0]": 0 } }, "has no axis neuron"],
      [{ edits: { "bwd/logits": 0 } }, "cannot be edited"],
      [{ edits: { "fwd/logits": 1e39 } }, "beyond the numbers of fwd/logits"],
      [
        { edits: { "fwd/logits": { prompt: "the cat", address: "fwd/logits" } } },
        "the new value is [1, 2, 8]",
      ],
    ] as [Partial<Request>, string][])("what can not be done, %o, is said", async (asked, says) => {
      const model = await opened;
      expect(() => model.trace({ ...traces[0].request, ...asked })).toThrow(says);
    });
  },
);
