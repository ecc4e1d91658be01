/** Weights over training steps: those that a file holds, and those that a training in the page comes to. */
import type { PackedModel } from "../api";
import type { Request } from "../source";
import type { Pass, Program, Values } from "./program";
import { batches } from "./lessons";
import type { Texts } from "./texts";
import { Trainer, type Batch } from "./trainer";

/** What a training in the page is asked for with. */
export interface Lesson {
  text: string;
  seed: number;
  /** By the model's own optimizer, or by plain gradient descent. */
  rule: "own" | "descent";
}

/** After how many updates the model is, and the losses before the last of them. */
export interface Learned {
  done: number;
  losses: number[];
}

/** Weights at a step of a training in the page, and the program whose update comes next. */
export interface State {
  leaves: ReadonlyMap<string, Float64Array>;
  program: Program;
}

/** What an update is made from, and with. */
interface Update {
  program: Program;
  batch: Batch;
  params: NonNullable<Pass["params"]>;
}

const KEPT_STATES = 16;

export class Learning {
  private training: { trainer: Trainer; batch: () => Batch; program: Program } | null = null;
  /** What a training in the page has come to, where it was opened. */
  private trained = new Map<number, State>();
  /** The updates that were watched, by step and learning rate. */
  private updates = new Map<string, Update>();

  constructor(
    private packed: PackedModel,
    private texts: Texts,
    private program: Program,
    private descending: Program,
    private stored: Values,
    private snapshots: Map<number, Values>,
  ) {}

  /** Begin to train on a text, from the weights of this file. */
  learn({ text, seed, rule }: Lesson): Learned {
    const batch = batches(this.texts, text, seed);
    const program = rule === "descent" ? this.descending : this.program;
    const trainer = new Trainer(program, this.stored, this.packed.done);
    this.trained.clear();
    this.updates.clear();
    this.training = { trainer, batch: () => batch(trainer.done), program };
    return { done: trainer.done, losses: [] };
  }

  /** Updates of the training at a learning rate, one or as many as there is time for. */
  steps(milliseconds: number, lr: number): Learned {
    if (!this.training) throw new Error("there is no training; begin one with a text");
    const { trainer, batch, program } = this.training;
    const share = this.share(program, lr);
    const end = performance.now() + milliseconds;
    const losses: number[] = [];
    do losses.push(trainer.step(batch(), share));
    while (performance.now() < end);
    return { done: trainer.done, losses };
  }

  /** The update that the training in the page makes next. */
  update(rate: number, { at_step }: Request): Update {
    const step = at_step ?? this.packed.done;
    const key = `${step},${rate}`;
    const known = this.updates.get(key);
    if (known) return known;
    if (this.training?.trainer.done !== step)
      throw new Error(
        `there is no training at step ${step} to watch; begin one in the view Training, or go on with it from there`,
      );
    const { trainer, batch, program } = this.training;
    const update = { program, batch: batch(), params: trainer.params(this.share(program, rate)) };
    keep(this.updates, key, update, KEPT_STATES);
    return update;
  }

  /** The weights after a training step, with the optimizer's state where it is known. */
  state(step: number | null): State {
    const { program, training: now } = this;
    if (step !== null) {
      const known = this.trained.get(step);
      if (known) return known;
      if (now?.trainer.done === step)
        return { program: now.program, leaves: new Map(now.trainer.leaves) };
    }
    if (step === null || step === this.packed.done) return { program, leaves: this.stored };
    const past = this.snapshots.get(step);
    if (!past)
      throw new Error(
        `this file does not hold step ${step}; it holds ${[...this.snapshots.keys(), this.packed.done].join(", ")}`,
      );
    return { program, leaves: past };
  }

  /** Hold on to the weights of a step of the training, where it is the newest. */
  hold(step: number | null | undefined, state: State): void {
    if (step != null && this.training?.trainer.done === step)
      keep(this.trained, step, state, KEPT_STATES);
  }

  /** A learning rate as a multiple of the plan's own. */
  private share = (program: Program, rate: number): number =>
    program === this.descending ? rate : rate / this.packed.lr;
}

/** Hold on to something, and let go of what came first. */
export function keep<K, V>(held: Map<K, V>, key: K, value: V, most: number): void {
  held.set(key, value);
  if (held.size > most) held.delete(held.keys().next().value!);
}
