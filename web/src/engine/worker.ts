/** Runs a model beside the page, so that nothing freezes: see `client.ts`, which asks. */
import type { Request } from "../source";
import { Model, type PackedModel } from "./model";

/** What the page asks for, each with a number that the answer carries. */
export type Asked =
  | { n: number; what: "open"; packed: PackedModel; room: number }
  | { n: number; what: "trace"; request: Request }
  | { n: number; what: "tokenize"; text: string };

let model: Promise<Model>;

async function answer(asked: Asked): Promise<[unknown, Transferable[]]> {
  if (asked.what === "open") {
    model = Model.open(asked.packed, asked.room);
    await model;
    return [null, []];
  }
  if (asked.what === "tokenize") return [(await model).tokenize(asked.text), []];
  const made = (await model).trace(asked.request);
  return [made, [made.bytes]];
}

addEventListener("message", ({ data }: MessageEvent<Asked>) => {
  void answer(data).then(
    ([found, moved]) => postMessage({ n: data.n, found }, { transfer: moved }),
    (error: Error) => postMessage({ n: data.n, problem: error.message }),
  );
});
