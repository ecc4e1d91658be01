/** A model that the page runs itself: from a text to a trace of every number, as Python makes it. */
import type { PackedModel, TraceAbout as About } from "../api";
import type { Request } from "../source";
import { kindOf } from "../trace/address";
import type { Table } from "../trace/trace";
import { Changes } from "./changes";
import { Choices } from "./choices";
import { changed, withEdits, type Edits } from "./edits";
import { bytesOf, encode } from "./encode";
import { drawn, type Fresh } from "./fresh";
import { keep, Learning, type Learned, type Lesson, type State } from "./learning";
import { unpackJson, unpackNumbers } from "./pack";
import { unpackSnapshots } from "./past";
import {
  withoutTargets,
  withUpdate,
  withVocabulary,
  type Lengths,
  type Plan,
  type PlanNode,
} from "./plan";
import { Program, type Pass, type Values } from "./program";
import { Texts, type Asked } from "./texts";
import { read, type Batch } from "./trainer";
import { Translator } from "./translator";

/** A trace that can be sent from a worker; after `bytes` come its gradients and its update, each to its end. */
export interface Made {
  about: About;
  table: Table;
  bytes: ArrayBuffer;
  ends: number[];
}

interface Kept {
  lengths: Lengths;
  values: Values;
  /** What it was run with: an edit of it has its numbers wherever nothing follows from the edit. */
  leaves: State["leaves"] | null;
  asked: string;
}

/** Whether a leaf is a constant of a forward pass; the others are an optimizer's moments. */
const isFixed = (address: string) => /^const\/([a-z]+\.)?(position|rot_factors)$/.test(address);

const KEPT_PASSES = 8;

export class Model {
  /** The nodes of a text of which nothing is asked. */
  private unasked: Set<string>;
  private changes: Changes;
  private translator: Translator | null;
  private kept = new Map<string, Kept>();
  private made = 0;

  private constructor(
    private texts: Texts,
    private program: Program,
    private descending: Program,
    private choices: Choices,
    private learning: Learning,
  ) {
    this.unasked = withoutTargets(program.plan);
    const { packed, n_ctx } = texts;
    this.translator =
      packed.reads?.start == null ? null : new Translator(packed.reads, n_ctx, program.plan);
    this.changes = new Changes(program.plan, {
      run: (prompt, request) => this.keep(this.pass(prompt, request)),
      held: (id) => this.kept.get(id),
    });
  }

  /** `fresh`: its weights are drawn anew, for the vocabulary of `packed.tokenizer`. */
  static async open(packed: PackedModel, n_ctx: number, fresh?: Fresh): Promise<Model> {
    const [storedPlan, descent, storedChoices, numbers] = await Promise.all([
      unpackJson<Plan>(packed.plan),
      unpackJson<Plan>(packed.descent),
      unpackJson<Record<string, Plan>>(packed.choices),
      unpackNumbers(packed.stored),
    ]);
    const texts = new Texts(packed, n_ctx);
    const sized = (plan: Plan) => (fresh ? withVocabulary(plan, texts.tokenizer.size) : plan);
    const plan = sized(storedPlan);
    const choices = Object.fromEntries(
      Object.entries(storedChoices).map(([key, choice]) => [key, sized(choice)]),
    );
    const isLeaf = (node: PlanNode) =>
      node.op === null && node.shape.every((size) => typeof size === "number");
    const leaves = plan.nodes.filter(isLeaf);
    const weights = leaves.filter(({ address }) => kindOf(address) === "weight");
    const trained = divided(storedPlan.nodes.filter(isLeaf), numbers);
    const stored = fresh ? drawn(leaves, [...trained.values()], fresh) : trained;
    const fixed = [...stored].filter(([address]) => isFixed(address));
    const past = packed.snapshots
      ? await unpackSnapshots(
          packed.snapshots,
          weights.map(({ address }) => stored.get(address)!),
        )
      : new Map<number, Float64Array>();
    const snapshots = new Map(
      [...past].map(([step, numbers]) => [step, new Map([...fixed, ...divided(weights, numbers)])]),
    );
    const [program, descending] = [plan, withUpdate(plan, sized(descent))].map(
      (each) => new Program(each),
    );
    return new Model(
      texts,
      program,
      descending,
      new Choices(choices),
      new Learning(packed, texts, program, descending, stored, snapshots),
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
    const tokens = ids.map(this.texts.name);
    const source = pass.source && { source_pos: pass.source.map(this.texts.name) };
    const sampling = Choices.settings(request.sampling);
    const pos = this.texts.predictedAt(ids);
    const { plan, params, chosen } = this.choices.of(values, lengths, sampling, pos);
    for (const [path, numbers] of chosen) values.set(path, numbers);
    const id = this.keep({ lengths, values, leaves: pass.held, asked: pass.asked });
    const recorded = {
      plans: [program.plan, plan],
      values,
      lengths,
      params: { ...pass.params, ...params },
      labels: {
        ...(lengths.batch === 1 && { pos: tokens, ...source }),
        vocab: this.texts.vocabulary,
      },
    };
    const { table, bytes, ends } = encode(recorded, later);
    const token = values.get("choose/token")![0];
    const about: About = {
      id,
      run: request.run,
      prompt: pass.params ? this.texts.tokenizer.decode(ids) : this.texts.textOf(request, ids),
      added: request.added ?? [],
      ids,
      tokens,
      target: target === null ? null : this.texts.name(target),
      backward,
      optimizer,
      at_step: request.at_step ?? null,
      edits: pass.patched,
      sampling,
      chosen: { id: token, token: this.texts.name(token) },
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
    const update = request.rate === undefined ? null : this.learning.update(request.rate, request);
    const stored = this.learning.state(request.at_step ?? null);
    const batch = update?.batch ?? this.batchOf(request, stored);
    const { lengths } = batch;
    const ids = [...batch.ids.subarray(0, lengths.pos)];
    const source = batch.source && [...batch.source.subarray(0, lengths.source_pos)];
    const target = this.texts.targetOf(request);
    const at = update ? { ...stored, program: update.program } : stored;
    const leaves = new Map([...at.leaves, ...read(batch)]);
    const asks = batch.targets.some((id) => id !== this.texts.packed.ignored);
    if (asks) leaves.set("token/targets", batch.targets);
    const asked = JSON.stringify([source, ids, target]);
    const { edits, patched } = this.changes.of(request, lengths);
    for (const [path, changes] of edits)
      if (kindOf(path) === "weight")
        leaves.set(path, changed(leaves.get(path)!, changes, this.changes.dtype(path)));
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
      [...leaves.keys()].some((path) => kindOf(path) === "const" && !isFixed(path));
    const optimizer = backward && knowsMoments && request.optimizer !== false && edits.size === 0;
    if (backward) this.learning.hold(request.at_step, at);
    const left = [...(backward ? [] : ["bwd"]), ...(optimizer ? [] : ["opt", "const"])];
    const wanted = ({ address }: PlanNode) =>
      (asks || unasked.has(address)) &&
      (!left.includes(kindOf(address)) || isFixed(address) || edited?.leaves.has(address) === true);
    const held = edited || update ? null : at.leaves;
    return {
      ids,
      source,
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

  tokenize = (text: string) => this.texts.tokenize(text);

  learn = (lesson: Lesson): Learned => this.learning.learn(lesson);

  steps = (milliseconds: number, lr: number): Learned => this.learning.steps(milliseconds, lr);

  private keep(pass: Kept): string {
    const id = `page-${++this.made}`;
    keep(this.kept, id, pass, KEPT_PASSES);
    return id;
  }

  /** The forward pass of another text. */
  private pass(prompt: string, { at_step }: Request): Kept {
    const state = this.learning.state(at_step ?? null);
    const batch = this.batchOf({ prompt }, state);
    const { lengths, ids, source } = batch;
    const leaves = new Map([...state.leaves, ...read(batch)]);
    const values = this.program.run({ lengths, leaves });
    const asked = JSON.stringify([source && [...source], [...ids], null]);
    return { lengths, values, leaves: state.leaves, asked };
  }

  private batchOf = (asked: Asked, state: State): Batch =>
    this.texts.batchOf(asked, (source) => this.translator!.translate(state, source));
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

/** Numbers that follow each other, as those of one node after another. */
function divided(nodes: PlanNode[], numbers: Float64Array): Values {
  let at = 0;
  const values = nodes.map(({ address, shape }): [string, Float64Array] => {
    const n = (shape as number[]).reduce((a, b) => a * b, 1);
    return [address, numbers.subarray(at, (at += n))];
  });
  return new Map(values);
}
