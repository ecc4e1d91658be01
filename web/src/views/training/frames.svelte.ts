/** The text's forward pass at the steps of training: each opened once, its neighbors ahead of time. */
import type { Opened, Request, Source } from "../../source";
import { WHOLE } from "../../parts/grid";
import { size } from "../../trace/node";
import { written, type Task } from "../../trace/task";
import { isSpecial } from "../../trace/trace";

const SAMPLE = 9; // passes: one less is the number of tokens that are shown
const SHOWN =
  /^(weight\/(\w+\.)?embed\.W_E|fwd\/probs|fwd\/(decoder\.)?blocks\.\d+\.(cross_)?attn\.pattern)$/; // what the slider moves

export class Frames {
  /** By step; replaced whenever one arrives. */
  opened = $state.raw<ReadonlyMap<number, Opened>>(new Map());
  problem = $state("");
  /** By step: how the model of that step goes on with the text, as far as it was asked. */
  samples = $state.raw<ReadonlyMap<number, string>>(new Map());
  private asking = new Set<number>();
  private coming = new Map<number, Promise<void>>();
  private wanted = 0;
  private ended = false;

  constructor(
    private source: Source,
    private request: Request,
    readonly steps: number[],
    private task: Task,
    private kind: string,
  ) {}

  /** Open the frames: the one at `index`, the last, which others are compared with, then outwards. */
  async around(index: number): Promise<void> {
    const last = this.steps.length - 1;
    const away = (i: number) => (i === last ? 0.5 : Math.abs(i - index));
    const order = this.steps.map((_, i) => i).sort((a, b) => away(a) - away(b));
    this.wanted = index;
    for (const i of order) {
      if (this.ended || this.wanted !== index) return;
      await this.fetch(this.steps[i]);
    }
  }

  end(): void {
    this.ended = true;
  }

  /** All frames, once they are here; null before. */
  get all(): Opened[] | null {
    const result = this.steps.flatMap((step) => this.opened.get(step) ?? []);
    return result.length === this.steps.length ? result : null;
  }

  /** Let the model of a step go on with the text, always with its most probable token, or answer what it is asked for. */
  async sample(step: number): Promise<void> {
    if (this.asking.has(step)) return;
    this.asking.add(step);
    if (this.task !== "next") return this.answer(step);
    const { prompt } = this.request;
    const added: number[] = [];
    while (added.length < SAMPLE && !this.ended) {
      const { about } = await this.source.open({
        ...this.request,
        added: [...added],
        at_step: step,
        backward: false,
        optimizer: false,
      });
      this.samples = new Map(this.samples).set(step, about.prompt.slice(prompt.length));
      if (!about.chosen || isSpecial(about.chosen.token)) return;
      added.push(about.chosen.id);
    }
  }

  /** What the model of a step puts in the blank, or its own translation. */
  private async answer(step: number): Promise<void> {
    const asked = { ...this.request, written: undefined, at_step: step };
    const { about } = await this.source.open({ ...asked, backward: false, optimizer: false });
    const said = this.task === "blank" ? about.chosen!.token : written(about.tokens, this.kind);
    this.samples = new Map(this.samples).set(step, ` → ${said}`);
  }

  private fetch(step: number): Promise<void> {
    let coming = this.coming.get(step);
    if (!coming) {
      coming = this.open(step).catch((error: Error) => {
        this.coming.delete(step);
        this.problem = error.message;
      });
      this.coming.set(step, coming);
    }
    return coming;
  }

  private async open(step: number): Promise<void> {
    const opened = await this.source.open({
      ...this.request,
      at_step: step,
      backward: false,
      optimizer: false,
    });
    const { trace } = opened;
    const shown = trace.table.nodes.filter(
      (one) => SHOWN.test(one.address) && one.bytes && size(one) <= WHOLE,
    );
    await Promise.all(shown.map((one) => trace.values.fetch(one, 0, size(one))));
    this.opened = new Map(this.opened).set(step, opened);
    this.problem = "";
  }
}
