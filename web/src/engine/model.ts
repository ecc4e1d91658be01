/** A model that the page runs itself: from a text to a trace of every number, as Python makes it. */
import type {
  PackedModel,
  Patch,
  SamplingOptionsOutput as Sampling,
  TokenizedText,
  TraceAbout as About,
} from "../api";
import type { Edit, Request } from "../source";
import { Tokenizer, type TokenizerFile } from "../text/tokenizer";
import { kindOf, nearest, parse, type Address } from "../trace/address";
import type { Table } from "../trace/trace";
import { bytesOf, encode } from "./encode";
import { unpackJson, unpackNumbers } from "./pack";
import { unpackSnapshots } from "./past";
import { drawn, type Fresh } from "./fresh";
import {
  shapeOf,
  withUpdate,
  withVocabulary,
  type Lengths,
  type Plan,
  type PlanNode,
} from "./plan";
import { changed, withEdits, type Change, type Edits } from "./edits";
import { Program, type Pass, type Values } from "./program";
import { Trainer, type Batch } from "./trainer";
import { uniform } from "./uniform";

/** A trace that can be sent from a worker; after `bytes` come its gradients and its update, each to its end. */
export interface Made {
  about: About;
  table: Table;
  bytes: ArrayBuffer;
  ends: number[];
}

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
interface State {
  leaves: ReadonlyMap<string, Float64Array>;
  program: Program;
}

/** What an update is made from, and with. */
interface Update {
  program: Program;
  batch: Batch;
  params: NonNullable<Pass["params"]>;
}

interface Kept {
  lengths: Lengths;
  values: Values;
  /** What it was run with: an edit of it has its numbers wherever nothing follows from the edit. */
  leaves: State["leaves"] | null;
  asked: string;
}

const UNCHANGED: Sampling = {
  temperature: 1,
  top_k: null,
  top_p: null,
  min_p: null,
  repetition_penalty: 1,
  seed: 0,
  index: 0,
};
const GREEDY: Sampling = { ...UNCHANGED, temperature: 0 };

/** Constants of a forward pass; the others are an optimizer's moments. */
const FIXED = new Set(["const/position", "const/rot_factors"]);

const KEPT_PASSES = 8;
const KEPT_STATES = 16;
const ROWS = 8; // of a text that is longer than the context
const LONGEST_TEXT = 2000; // its merges take its square to write out
const LARGEST = 3.4028234663852886e38; // of float32

export class Model {
  private nodes: Map<string, PlanNode>;
  /** The nodes of a text of which nothing is asked. */
  private unasked: Set<string>;
  private chosen = new Map<string, Program>();
  private kept = new Map<string, Kept>();
  private training: { trainer: Trainer; batch: () => Batch; program: Program } | null = null;
  /** What a training in the page has come to, where it was opened. */
  private trained = new Map<number, State>();
  /** The updates that were watched, by step and learning rate. */
  private updates = new Map<string, Update>();
  private made = 0;

  private constructor(
    private packed: PackedModel,
    private room: number,
    private program: Program,
    private descending: Program,
    private choices: Record<string, Plan>,
    private tokenizer: Tokenizer,
    private stored: Values,
    private snapshots: Map<number, Values>,
  ) {
    this.nodes = new Map(program.plan.nodes.map((node) => [node.address, node]));
    this.unasked = withoutTargets(program.plan);
  }

  /** `fresh`: its weights are drawn anew, for the vocabulary of `packed.tokenizer`. */
  static async open(packed: PackedModel, room: number, fresh?: Fresh): Promise<Model> {
    const [storedPlan, descent, storedChoices, numbers] = await Promise.all([
      unpackJson<Plan>(packed.plan),
      unpackJson<Plan>(packed.descent),
      unpackJson<Record<string, Plan>>(packed.choices),
      unpackNumbers(packed.stored),
    ]);
    const tokenizer = new Tokenizer(packed.tokenizer as unknown as TokenizerFile);
    const sized = (plan: Plan) => (fresh ? withVocabulary(plan, tokenizer.size) : plan);
    const plan = sized(storedPlan);
    const choices = Object.fromEntries(
      Object.entries(storedChoices).map(([key, choice]) => [key, sized(choice)]),
    );
    const isLeaf = (node: PlanNode) =>
      node.op === null && node.shape.every((size) => typeof size === "number");
    const leaves = plan.nodes.filter(isLeaf);
    const weights = leaves.filter(({ address }) => kindOf(address) === "weight");
    const given = divided(storedPlan.nodes.filter(isLeaf), numbers);
    const stored = fresh ? drawn(leaves, [...given.values()], fresh) : given;
    const fixed = [...stored].filter(([address]) => FIXED.has(address));
    const past = packed.snapshots
      ? await unpackSnapshots(
          packed.snapshots,
          weights.map(({ address }) => stored.get(address)!),
        )
      : new Map<number, Float64Array>();
    return new Model(
      packed,
      room,
      new Program(plan),
      new Program(withUpdate(plan, sized(descent))),
      choices,
      tokenizer,
      stored,
      new Map(
        [...past].map(([step, numbers]) => [
          step,
          new Map([...fixed, ...divided(weights, numbers)]),
        ]),
      ),
    );
  }

  /** The trace of a prompt, but for the numbers of `later`; errors are one line for people. */
  trace(request: Request): Made {
    const pass = this.prepared(request);
    const { ids, target, lengths, program, backward, optimizer } = pass;
    const later = partsOf(pass);
    const unmade = new Set(later.flat());
    const values = program.run({
      ...pass,
      wanted: (node) => pass.wanted(node) && !unmade.has(node),
    });
    const tokens = ids.map((id) => this.name(id));
    const sampling = request.sampling ? { ...UNCHANGED, ...request.sampling } : null;
    const { plan, params, found } = this.choice(values, lengths, sampling ?? GREEDY);
    for (const [path, numbers] of found) values.set(path, numbers);
    const id = this.keep({ lengths, values, leaves: pass.held, asked: pass.asked });
    const recorded = {
      plans: [program.plan, plan],
      values,
      lengths,
      params: { ...pass.params, ...params },
      labels: { ...(lengths.batch === 1 && { pos: tokens }), vocab: this.vocabulary },
    };
    const { table, bytes, ends } = encode(recorded, later);
    const token = values.get("choose/token")![0];
    const about: About = {
      id,
      run: request.run,
      prompt: pass.params ? this.tokenizer.decode(ids) : this.textOf(request, ids),
      added: request.added ?? [],
      ids,
      tokens,
      target: target === null ? null : this.tokenizer.token(target),
      backward,
      optimizer,
      at_step: request.at_step ?? null,
      edits: pass.patched,
      sampling,
      chosen: { id: token, token: this.name(token) },
      nbytes: ends.at(-1) ?? bytes.byteLength,
      precision: "float32",
    };
    return { about, table, bytes, ends };
  }

  /** The numbers of a trace's gradients (part 0) or of its update (part 1), which take longer than all others. */
  later(request: Request, id: string, part: number): ArrayBuffer {
    const pass = this.prepared(request);
    const parts = partsOf(pass);
    const after = new Set(parts.slice(part + 1).flat());
    const values = pass.program.run({
      ...pass,
      leaves: new Map([...pass.leaves, ...(this.kept.get(id)?.values ?? [])]),
      wanted: (node) => pass.wanted(node) && !after.has(node),
    });
    if (this.kept.has(id)) this.kept.set(id, { ...this.kept.get(id)!, values });
    return bytesOf(parts[part], values);
  }

  /** What a request is run with. */
  private prepared(request: Request) {
    const update = request.rate === undefined ? null : this.updateOf(request.rate, request);
    const batch = update?.batch ?? this.batchOf(request);
    const { lengths } = batch;
    const ids = [...batch.ids.subarray(0, lengths.pos)];
    const target = request.target == null ? null : this.tokenizer.only(request.target);
    const stored = this.state(request.at_step ?? null);
    const at = update ? { ...stored, program: update.program } : stored;
    const leaves = new Map(at.leaves).set("token/ids", batch.ids);
    const asks = update !== null || ids.length > 1 || target !== null;
    if (asks) leaves.set("token/targets", batch.targets);
    const asked = JSON.stringify([ids, target]);
    const { edits, patched } = this.changes(request, lengths);
    for (const [path, changes] of edits)
      if (kindOf(path) === "weight")
        leaves.set(path, changed(leaves.get(path)!, changes, this.nodes.get(path)!.dtype));
    const edited = edits.size ? withEdits(at.program.plan, edits, lengths) : null;
    for (const [path, numbers] of edited?.leaves ?? []) leaves.set(path, numbers);
    if (edited) {
      const same = ({ leaves, asked: then }: Kept) => leaves === at.leaves && then === asked;
      const before = [...this.kept.values()].find(same);
      if (before) reuse(leaves, before.values, edited.plan, edits);
    }
    const program = edited ? at.program.with(edited.plan) : at.program;
    const unasked = edited ? withoutTargets(edited.plan) : this.unasked;
    const backward = asks && request.backward !== false;
    const knowsMoments =
      at.program === this.descending ||
      [...leaves.keys()].some((path) => kindOf(path) === "const" && !FIXED.has(path));
    const optimizer = backward && knowsMoments && request.optimizer !== false && edits.size === 0;
    if (backward && this.training?.trainer.done === request.at_step)
      keep(this.trained, request.at_step!, at, KEPT_STATES);
    const left = [...(backward ? [] : ["bwd"]), ...(optimizer ? [] : ["opt", "const"])];
    const wanted = ({ address }: PlanNode) =>
      (asks || unasked.has(address)) &&
      (!left.includes(kindOf(address)) ||
        FIXED.has(address) ||
        edited?.leaves.has(address) === true);
    const held = edited || update ? null : at.leaves;
    return {
      ids,
      target,
      lengths,
      leaves,
      program,
      patched,
      backward,
      optimizer,
      wanted,
      held,
      params: update?.params,
      asked,
    };
  }

  /** A prompt as the only row of a batch. */
  private batchOf(request: Request): Batch {
    const ids = this.idsOf(request);
    const target = request.target == null ? null : this.tokenizer.only(request.target);
    const targets = [...ids.slice(1), target ?? this.packed.ignored];
    const lengths = { batch: 1, pos: ids.length };
    return { lengths, ids: Float64Array.from(ids), targets: Float64Array.from(targets) };
  }

  /** The update that the training in the page makes next. */
  private updateOf(rate: number, { at_step }: Request): Update {
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

  /** A learning rate as a multiple of the plan's own. */
  private share = (program: Program, rate: number): number =>
    program === this.descending ? rate : rate / this.packed.lr;

  /** Every step from a text to its ids. */
  tokenize(text: string): TokenizedText {
    if (text.length > LONGEST_TEXT)
      throw new Error(
        `the text has ${text.length} characters; its merges are shown for up to ${LONGEST_TEXT}, so shorten it`,
      );
    return this.tokenizer.trace(text);
  }

  /** Begin to train on a text, from the weights of this file. */
  learn({ text, seed, rule }: Lesson): Learned {
    const ids = [...this.packed.begin, ...this.tokenizer.encode(text)];
    if (ids.length < 2)
      throw new Error("one token has no next one to learn from; give a longer text");
    const program = rule === "descent" ? this.descending : this.program;
    const trainer = new Trainer(program, this.stored, this.packed.done);
    const pos = Math.min(this.room, ids.length - 1);
    const starts = ids.length - pos; // where a row can begin, so that its last token has a next one
    const batch = starts === 1 ? 1 : ROWS;
    const next = (): Batch => {
      const from = Array.from({ length: batch }, (_, row) =>
        Math.floor(uniform(seed, trainer.done * ROWS + row) * starts),
      );
      const rows = (shift: number) =>
        Float64Array.from(from.flatMap((at) => ids.slice(at + shift, at + shift + pos)));
      return { lengths: { batch, pos }, ids: rows(0), targets: rows(1) };
    };
    this.trained.clear();
    this.updates.clear();
    this.training = { trainer, batch: next, program };
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

  private get vocabulary(): string[] {
    return this.tokenizer.names.map((_, id) => this.tokenizer.token(id));
  }

  /** A token's text; models may have more rows than their tokenizer has tokens. */
  private name(id: number): string {
    return id < this.tokenizer.size ? this.tokenizer.token(id) : `<${id}>`;
  }

  private idsOf({ prompt, added = [] }: Pick<Request, "prompt" | "added">): number[] {
    const ids = [...this.packed.begin, ...this.tokenizer.encode(prompt), ...added];
    if (!ids.length)
      throw new Error(
        "the prompt has no tokens, and the model can only go on from one; give it some text",
      );
    if (ids.length > this.room)
      throw new Error(
        `the prompt has ${ids.length} tokens and the model reads at most n_ctx=${this.room}; shorten it by ${ids.length - this.room}`,
      );
    return ids;
  }

  /** The prompt with the text of the tokens that were added to it. */
  private textOf({ prompt, added = [] }: Request, ids: number[]): string {
    if (!added.length) return prompt;
    const before = this.tokenizer.decode(ids.slice(0, -added.length));
    const whole = this.tokenizer.decode(ids);
    return whole.startsWith(before) ? prompt + whole.slice(before.length) : whole;
  }

  /** The weights after a training step, with the optimizer's state where it is known. */
  private state(step: number | null): State {
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

  private choice(values: Values, lengths: Lengths, sampling: Sampling) {
    const key = settingsKey(sampling);
    const plan = this.choices[key];
    const program = this.chosen.get(key) ?? new Program(plan);
    this.chosen.set(key, program);
    const settings: Record<string, number | null> = {
      ...sampling,
      k: sampling.top_k,
      penalty: sampling.repetition_penalty,
    };
    const params: NonNullable<Pass["params"]> = {};
    for (const node of plan.nodes)
      params[node.address] = Object.fromEntries(
        Object.keys(node.params)
          .filter((name) => settings[name] != null)
          .map((name) => [name, settings[name]!]),
      );
    const u = uniform(sampling.seed, sampling.index);
    const leaves = new Map([...values, ["choose/u", Float64Array.of(u)] as const]);
    return { plan, params, found: program.run({ lengths, leaves, params }) };
  }

  private keep(pass: Kept): string {
    const id = `page-${++this.made}`;
    keep(this.kept, id, pass, KEPT_PASSES);
    return id;
  }

  /** What a request changes, and its edits with every text that a value comes from replaced by a pass of it. */
  private changes(request: Request, lengths: Lengths) {
    const edits = new Map<string, Change[]>();
    const patched: Record<string, number | Patch> = {};
    for (const [address, edit] of Object.entries(request.edits ?? {})) {
      const where = parse(address);
      if (!["fwd", "weight"].includes(kindOf(where.path)))
        throw new Error(`“${address}” cannot be edited; edit a value (fwd/) or a weight`);
      const { places, shape } = this.slice(where, lengths);
      patched[address] = this.patch(edit, request);
      const numbers = this.put(patched[address], address, places.length, shape);
      edits.set(where.path, [...(edits.get(where.path) ?? []), { places, numbers }]);
    }
    return { edits, patched };
  }

  private patch(edit: Edit, request: Request): number | Patch {
    if (typeof edit === "number" || "trace" in edit) return edit;
    return { trace: this.keep(this.pass(edit.prompt, request)), address: edit.address };
  }

  /** What an edit puts where `n` numbers of some shape are. */
  private put(edit: number | Patch, address: string, n: number, shape: number[]) {
    if (typeof edit === "number") {
      if (Math.abs(edit) > LARGEST)
        throw new Error(
          `${edit} is beyond the numbers of ${address}; the largest there is ${LARGEST}`,
        );
      return new Float64Array(n).fill(edit);
    }
    const other = this.kept.get(edit.trace);
    if (!other) throw new Error("this trace is no longer held; open the prompt again");
    const from = this.slice(parse(edit.address), other.lengths);
    if (from.shape.length && from.shape.join() !== shape.join())
      throw new Error(
        `${address} is [${shape.join(", ")}] here and the new value is [${from.shape.join(", ")}]; give one number, a value of this shape, or the address of a part`,
      );
    const numbers = other.values.get(parse(edit.address).path)!;
    const at = (i: number) => from.places[from.shape.length ? i : 0];
    return Float64Array.from({ length: n }, (_, i) => numbers[at(i)]);
  }

  /** The forward pass of another text. */
  private pass(prompt: string, { at_step }: Request): Kept {
    const ids = this.idsOf({ prompt });
    const lengths = { batch: 1, pos: ids.length };
    const { leaves: held } = this.state(at_step ?? null);
    const leaves = new Map(held).set("token/ids", Float64Array.from(ids));
    const values = this.program.run({ lengths, leaves });
    return { lengths, values, leaves: held, asked: JSON.stringify([ids, null]) };
  }

  /** The places that an address names in the row-major value, and the shape that they have. */
  private slice({ path, index }: Address, lengths: Lengths): { places: number[]; shape: number[] } {
    const node = this.nodes.get(path);
    if (!node)
      throw new Error(
        `no value is named ${path}; near it: ${nearest(path, this.nodes.keys()).join(", ")}`,
      );
    const shape = shapeOf(node, lengths);
    for (const [axis, i] of Object.entries(index)) {
      const n = shape[node.axes.indexOf(axis)];
      if (n === undefined)
        throw new Error(`${path} has no axis ${axis}; its axes are ${node.axes.join(", ")}`);
      if (i >= n)
        throw new Error(`${axis}=${i} is outside ${path}: ${axis} goes from 0 to ${n - 1}`);
    }
    let places = [0];
    node.axes.forEach((axis, d) => {
      const own = axis in index ? [index[axis]] : Array.from({ length: shape[d] }, (_, i) => i);
      places = places.flatMap((at) => own.map((i) => at * shape[d] + i));
    });
    return { places, shape: shape.filter((_, d) => !(node.axes[d] in index)) };
  }
}

/** Put in place of numbers those of the pass before its edits, where nothing follows from them. */
function reuse(leaves: Values, before: Values, { nodes }: Plan, edits: Edits): void {
  const changed = new Set(edits.keys());
  for (const { address, op, operands } of nodes) {
    if (kindOf(address) !== "fwd") continue;
    if (Object.values(operands).some((path) => changed.has(path))) changed.add(address);
    else if (op && !changed.has(address) && before.has(address))
      leaves.set(address, before.get(address)!);
  }
}

/** What a trace leaves for later: the nodes of its gradients, then those of its update. */
const partsOf = ({ program, wanted }: Pick<Pass, "wanted"> & { program: Program }): PlanNode[][] =>
  ["bwd", "opt"].map((kind) =>
    program.plan.nodes.filter((node) => kindOf(node.address) === kind && wanted!(node)),
  );

/** Hold on to something, and let go of what came first. */
function keep<K, V>(held: Map<K, V>, key: K, value: V, most: number): void {
  held.set(key, value);
  if (held.size > most) held.delete(held.keys().next().value!);
}

/** The nodes that do not follow from targets, and are not only on the way to what does. */
function withoutTargets({ nodes }: Plan): Set<string> {
  const asked = new Set(["token/targets"]);
  for (const { address, operands } of nodes)
    if (Object.values(operands).some((path) => asked.has(path))) asked.add(address);
  const read = new Set<string>(); // by any node
  const found = new Set<string>();
  for (const { address, op, operands } of nodes.toReversed()) {
    if (!asked.has(address) && (op === null || !read.has(address) || found.has(address))) {
      found.add(address);
      for (const path of Object.values(operands)) found.add(path);
    }
    for (const path of Object.values(operands)) read.add(path);
  }
  return found;
}

/** Numbers that follow each other, as those of one node after another. */
function divided(nodes: PlanNode[], numbers: Float64Array): Values {
  let at = 0;
  const values = nodes.map(({ address, shape }): [string, Float64Array] => {
    const n = (shape as number[]).reduce((a, b) => a * b, 1);
    return [address, numbers.subarray(at, (at += n))];
  });
  return new Map(values);
}

/** Which settings do something: Python's `server.runnable.settings_key`. */
function settingsKey(sampling: Sampling): string {
  const greedy = sampling.temperature === 0;
  const does = {
    greedy,
    penalty: sampling.repetition_penalty !== 1,
    temperature: !greedy && sampling.temperature !== 1,
    top_k: !greedy && sampling.top_k !== null,
    top_p: !greedy && sampling.top_p !== null,
    min_p: !greedy && sampling.min_p !== null,
  };
  return Object.entries(does)
    .flatMap(([name, on]) => (on ? [name] : []))
    .join(" ");
}
