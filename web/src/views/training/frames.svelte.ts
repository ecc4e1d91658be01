/** The text's forward pass at the steps of training: each opened once, its neighbors ahead of time. */
import type { Opened, Request, Source } from "../../source";
import { WHOLE } from "../../parts/grid";
import { size } from "../../trace/node";

const SHOWN = /^(weight\/embed\.W_E|fwd\/probs|fwd\/blocks\.\d+\.attn\.pattern)$/; // what the slider moves

export class Frames {
  /** By step; replaced whenever one arrives. */
  opened = $state.raw<ReadonlyMap<number, Opened>>(new Map());
  problem = $state("");
  private coming = new Map<number, Promise<void>>();
  private wanted = 0;
  private ended = false;

  constructor(
    private source: Source,
    private request: Request,
    readonly steps: number[],
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
