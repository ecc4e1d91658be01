/** The page's side of the worker that runs a model. */
import type { PackedModel, TokenizedText } from "../api";
import type { Opened, Request } from "../source";
import { Trace } from "../trace/trace";
import type { Fresh } from "./fresh";
import type { Learned, Lesson } from "./learning";
import type { Made } from "./model";
import EngineWorker from "./worker?worker&inline";
import type { Asked } from "./worker";

type Question = Asked extends infer One ? (One extends Asked ? Omit<One, "n"> : never) : never;
type Answer = { n: number } & ({ result: unknown } | { problem: string });

export class Engine {
  private worker = new EngineWorker();
  private waiting = new Map<number, (answer: Answer) => void>();
  private asked = 0;

  constructor(
    readonly packed: PackedModel,
    n_ctx: number,
    /** The text that the model was made for, where it is a new one. */
    readonly text = "",
    fresh?: Fresh,
  ) {
    this.worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
      this.waiting.get(data.n)?.(data);
      this.waiting.delete(data.n);
    });
    for (const kind of ["error", "messageerror"])
      this.worker.addEventListener(kind, (event) => this.lost((event as ErrorEvent).message));
    // what is wrong with a model is the answer to every question about it
    this.ask({ what: "open", packed, n_ctx, fresh }).catch(() => {});
  }

  async open(request: Request, signal?: AbortSignal): Promise<Opened> {
    const { about, table, bytes, ends } = await this.ask<Made>({ what: "trace", request });
    signal?.throwIfAborted();
    const here = bytes.byteLength;
    const parts: Promise<ArrayBuffer>[] = []; // each made when it is looked at
    const read = async (begin: number, end: number) => {
      if (end <= here) return bytes.slice(begin, end);
      const part = ends.findIndex((last) => end <= last);
      parts[part] ??= this.ask<ArrayBuffer>({ what: "later", request, id: about.id, part });
      const from = ends[part - 1] ?? here;
      return (await parts[part]).slice(begin - from, end - from);
    };
    return { about, trace: new Trace(table, { bytes: read }), by: "page" };
  }

  tokenize = (text: string): Promise<TokenizedText> => this.ask({ what: "tokenize", text });

  /** Begin to train on a text; an earlier training is over. */
  learn = (lesson: Lesson): Promise<Learned> => this.ask({ what: "learn", lesson });

  /** Train for some time, or by one update, at a learning rate. */
  steps = (milliseconds: number, lr: number): Promise<Learned> =>
    this.ask({ what: "steps", milliseconds, lr });

  /** The worker has ended: what waits for it is told so. */
  private lost(cause?: string): void {
    const problem = `What runs the model in this page has stopped${cause ? ` (${cause})` : ""}. Reload the page.`;
    for (const [n, answer] of this.waiting) answer({ n, problem });
    this.waiting.clear();
  }

  private async ask<T>(question: Question): Promise<T> {
    const n = ++this.asked;
    const answer = await new Promise<Answer>((resolve) => {
      this.waiting.set(n, resolve);
      this.worker.postMessage({ n, ...question });
    });
    if ("problem" in answer) throw new Error(answer.problem);
    return answer.result as T;
  }
}
