/** Runs a model beside the page, so that nothing freezes: see `client.ts`, which asks. */
import type { Request } from "../source";
import type { PackedModel } from "../api";
import type { Fresh } from "./fresh";
import type { Lesson } from "./learning";
import { Model } from "./model";

/** What the page asks for, each with a number that the answer carries. */
export type Asked =
  | { n: number; what: "open"; packed: PackedModel; n_ctx: number; fresh?: Fresh }
  | { n: number; what: "trace"; request: Request }
  | { n: number; what: "later"; request: Request; id: string; part: number }
  | { n: number; what: "tokenize"; text: string }
  | { n: number; what: "learn"; lesson: Lesson }
  | { n: number; what: "steps"; milliseconds: number; lr: number };

let model: Promise<Model>;

async function answer(asked: Asked): Promise<[unknown, Transferable[]]> {
  if (asked.what === "open") {
    model = Model.open(asked.packed, asked.n_ctx, asked.fresh);
    await model;
    return [null, []];
  }
  const here = await model;
  switch (asked.what) {
    case "tokenize":
      return [here.tokenize(asked.text), []];
    case "learn":
      return [here.learn(asked.lesson), []];
    case "steps":
      return [here.steps(asked.milliseconds, asked.lr), []];
    case "later": {
      const bytes = here.later(asked.request, asked.id, asked.part);
      return [bytes, [bytes]];
    }
    case "trace": {
      const made = here.trace(asked.request);
      return [made, [made.bytes]];
    }
  }
}

addEventListener("message", ({ data }: MessageEvent<Asked>) => {
  void answer(data).then(
    ([result, moved]) => postMessage({ n: data.n, result }, { transfer: moved }),
    (error: Error) => postMessage({ n: data.n, problem: error.message }),
  );
});
