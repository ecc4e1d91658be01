/** A training in the page: what it learns from, how, and what has become of the model. */
import type { Engine } from "../../engine/client";
import type { Learned } from "../../engine/learning";
import type { About, Opened } from "../../source";
import type { Task } from "../../trace/task";

export type Rule = "own" | "descent";

const TURN = 40; // milliseconds of training between two looks at what was learned
const SEED = 0;
const BEST = 6;
const MOST_POINTS = 400; // of a curve: then every other one goes
/** A loss so many times the smallest there was: the steps are too long. */
const OVERSHOT = 1.5;

interface Point {
  step: number;
  value: number;
}

export interface Bar {
  id: number;
  token: string;
  value: number;
}

export class Training {
  text = $state("");
  rule = $state<Rule>("own");
  lr = $state(0.01);
  /** The weight whose number is followed. */
  weight = $state("");
  done = $state(0);
  playing = $state(false);
  problem = $state("");
  /** Steps a second. */
  speed = $state(0);
  losses = $state.raw<Point[]>([]);
  numbers = $state.raw<Point[]>([]);
  opened = $state.raw<Opened | null>(null);
  bars = $state.raw<Bar[]>([]);
  /** The smallest loss of all updates. */
  private least = $state(Infinity);
  private begun = false;
  private spent = 0; // milliseconds

  constructor(
    readonly engine: Engine,
    private about: About,
    private task: Task,
    /** The position whose prediction is followed. */
    private pos: () => number,
  ) {
    this.done = engine.packed.done;
  }

  /** Whether the loss grew where it should have shrunk. */
  get overshot(): boolean {
    const last = this.losses.at(-1)?.value ?? 0;
    return this.losses.length > 0 && !(last <= OVERSHOT * this.least + 0.05);
  }

  /** Whether the weights are no numbers any more. */
  get broken(): boolean {
    return this.losses.length > 0 && !Number.isFinite(this.losses.at(-1)!.value);
  }

  /** What was learned from is another: the next turn begins anew. */
  anew(): void {
    this.begun = false;
  }

  begin = () =>
    this.attempt(async () => {
      this.playing = false;
      await this.start();
    });

  turn = () => this.attempt(() => this.go(0));

  play = () =>
    this.attempt(async () => {
      if (this.playing) {
        this.playing = false;
        return;
      }
      if (!this.begun) await this.start();
      this.playing = true;
      while (this.playing) await this.go(TURN);
    });

  private async attempt(action: () => Promise<void>): Promise<void> {
    try {
      this.problem = "";
      await action();
    } catch (error) {
      this.playing = false;
      this.problem = (error as Error).message;
    }
  }

  private async start(): Promise<void> {
    const { text, rule } = this;
    const { done } = await this.engine.learn({ text, rule, seed: SEED });
    this.begun = true;
    this.done = done;
    this.losses = this.numbers = [];
    this.speed = this.spent = 0;
    this.least = Infinity;
    await this.look();
  }

  private async go(milliseconds: number): Promise<void> {
    if (!this.begun) await this.start();
    const started = performance.now();
    const learned: Learned = await this.engine.steps(milliseconds, this.lr);
    this.spent += performance.now() - started;
    this.speed = (1000 * (learned.done - this.engine.packed.done)) / this.spent;
    this.done = learned.done;
    this.least = Math.min(this.least, ...learned.losses);
    this.losses = added(this.losses, { step: learned.done, value: learned.losses.at(-1)! });
    if (Number.isFinite(learned.losses.at(-1))) await this.look();
    else this.end();
  }

  /** The weights are no numbers any more: there is nothing to look at. */
  private end(): void {
    this.playing = false;
    this.opened = null;
    this.bars = [];
  }

  /** Read the prompt with the model as it is now. */
  private async look(): Promise<void> {
    const { prompt, added: taken, ids, run } = this.about;
    const so = this.task === "translation" ? { written: ids.slice(1) } : { added: taken };
    const asked = { run, prompt, ...so, at_step: this.done, backward: false };
    const opened = await this.engine.open({ ...asked, optimizer: false });
    const { trace } = opened;
    const probs = trace.node("fwd/probs");
    const vocab = probs.shape.at(-1)!;
    const all = await trace.values.all(probs);
    const row = all.subarray(this.pos() * vocab, (this.pos() + 1) * vocab);
    this.bars = [...row.keys()]
      .sort((a, b) => row[b] - row[a])
      .slice(0, BEST)
      .map((id) => ({ id, token: trace.word("vocab", id) || `#${id}`, value: row[id] }));
    if (this.weight) {
      const { path, index } = trace.locate(this.weight);
      const node = trace.node(path);
      const numbers = await trace.values.all(node);
      const at = node.axes.reduce((sum, axis, d) => sum * node.shape[d] + (index[axis] ?? 0), 0);
      this.numbers = added(this.numbers, { step: this.done, value: numbers[at] });
    }
    this.opened = opened;
  }
}

function added(points: Point[], point: Point): Point[] {
  const saved = points.length < MOST_POINTS ? points : points.filter((_, i) => i % 2 === 0);
  return [...saved, point];
}
