/** The runs of an exported file: it holds models, which the page runs, or recorded traces. */
import type {
  Course,
  Metrics,
  Opening,
  PackedModel,
  PackedSeedling,
  PageData,
  RunInfo,
  TokenizedText,
} from "./api";
import { Engine } from "./engine/client";
import { vocabularyOf, type Unit } from "./engine/fresh";
import { unpack, unpackJson } from "./engine/pack";
import {
  NO_METRICS,
  refused,
  SourceError,
  type About,
  type Opened,
  type Request,
  type Source,
} from "./source";
import type { TokenizerFile } from "./text/tokenizer";
import { Trace } from "./trace/trace";

/** Why this file can't run a model. */
const offline = ({ recorded }: PageData): string =>
  `This file holds recorded numbers but no model that could run${recorded ? `: ${recorded}` : ""}. Open the run with: glassformer serve`;
const UNSERVED =
  "This needs the server, which this file is without. Open the run with: glassformer serve";
const UNTAUGHT =
  "This file holds no lessons. Write one that does with: glassformer course --out course.html";

export class FileSource implements Source {
  readonly live: boolean;
  readonly teaches: boolean;
  readonly served = false;
  private opened = new Map<string, Promise<Opened>>();
  private engines = new Map<string, Engine>();

  constructor(private data: PageData) {
    this.live = Object.keys(data.models).length > 0;
    this.teaches = data.course !== null;
  }

  engine = async (id: string): Promise<Engine | null> => this.here(id);

  /** What runs a model of this file; null where it holds recorded numbers only. */
  private here(id: string): Engine | null {
    const packed = this.data.models[id];
    if (!packed) return null;
    const { n_ctx } = this.data.runs.find((run) => run.id === id)!;
    const result = this.engines.get(id) ?? new Engine(packed, n_ctx);
    this.engines.set(id, result);
    return result;
  }

  get plant(): Source["plant"] {
    const { seedling } = this.data;
    return seedling ? (text, unit, seed) => this.planted(seedling, text, unit, seed) : null;
  }

  private planted(
    { run, model, deviations }: PackedSeedling,
    text: string,
    unit: Unit,
    seed: number,
  ): string {
    const tokenizer = vocabularyOf(text, unit, model.tokenizer as unknown as TokenizerFile);
    const id = `${run.id}-${(this.engines.size + 1).toString()}`;
    const packed = { ...model, tokenizer: tokenizer as unknown as PackedModel["tokenizer"] };
    this.data.runs = [...this.data.runs, { ...seedlingOf(run, text, unit, tokenizer), id }];
    this.data.models[id] = packed;
    this.engines.set(id, new Engine(packed, run.n_ctx, text, { deviations, seed }));
    return id;
  }

  runs = async () => this.data.runs;
  metrics = async (id: string): Promise<Metrics> =>
    id in this.data.metrics ? unpackJson(this.data.metrics[id]) : NO_METRICS;

  async run(id: string): Promise<RunInfo> {
    const result = this.data.runs.find((run) => run.id === id) ?? this.data.runs[0];
    if (!result) throw new SourceError("This file holds no run.", "empty");
    return result;
  }

  async open(request: Request, signal?: AbortSignal): Promise<Opened> {
    const engine = this.here(request.run);
    if (engine) return engine.open(request, signal).catch(refused);
    const wanted = this.data.traces.find(({ about }) => matches(about, request));
    if (!wanted) throw new SourceError(offline(this.data), "offline");
    const { id } = wanted.about;
    if (!this.opened.has(id)) this.opened.set(id, opened(wanted));
    return this.opened.get(id)!;
  }

  steps(run: RunInfo, prompt: string): number[] {
    const model = this.data.models[run.id];
    if (model) {
      const past = Object.keys(model.snapshots?.steps ?? {}).map(Number);
      return past.length ? [...past, model.done].sort((a, b) => a - b) : [];
    }
    const held = this.data.traces.filter(
      ({ about }) => about.run === run.id && about.prompt === prompt,
    );
    return held.flatMap(({ about }) => about.at_step ?? []).sort((a, b) => a - b);
  }

  async tokenize(run: string, text: string): Promise<TokenizedText> {
    const engine = this.here(run);
    if (engine) return engine.tokenize(text).catch(refused);
    const result = this.data.texts[run]?.find((known) => known.text === text);
    if (!result) throw new SourceError(offline(this.data), "offline");
    return result;
  }

  glossary = async () => this.data.glossary;

  async course(): Promise<Course> {
    if (!this.data.course) throw new SourceError(UNTAUGHT, "offline");
    return this.data.course;
  }

  get = async (): Promise<never> => {
    throw new SourceError(this.live ? UNSERVED : offline(this.data), "offline");
  };

  post = this.get;
  idOf = this.get;
  read = this.get;

  events = (): never => {
    throw new SourceError(this.live ? UNSERVED : offline(this.data), "offline");
  };

  get first(): Opening {
    return this.data.first;
  }
}

/** What is known of a model that was made for a text. */
function seedlingOf(run: RunInfo, text: string, unit: Unit, { model }: TokenizerFile): RunInfo {
  const vocab_size = Object.keys(model.vocab).length;
  const weights = run.weights.map((weight) => {
    const shape = weight.shape.map((n, d) => (weight.axes[d] === "vocab" ? vocab_size : n));
    return { ...weight, shape, parameters: shape.reduce((a, b) => a * b, 1) };
  });
  const parameters = weights.reduce((sum, weight) => sum + weight.parameters, 0);
  const begin = unit === "words" ? text.split(/[.!?\n]/)[0].trim() : text.slice(0, 12);
  const words = begin.split(/\s+/).slice(0, run.n_ctx - 4);
  const asks = unit === "words" && words.length > 1;
  const prompt = asks ? words.slice(0, -1).join(" ") : begin;
  return {
    ...run,
    vocab_size,
    parameters,
    weights: weights.map((weight) => ({ ...weight, share: weight.parameters / parameters })),
    tokenizer: { ...run.tokenizer, kind: unit === "words" ? "words" : "chars", vocab_size },
    suggested_prompt: prompt,
    suggested_target: asks ? words.at(-1)! : null,
    examples: [prompt],
  };
}

const matches = (about: About, request: Request): boolean =>
  about.run === request.run &&
  about.prompt === request.prompt &&
  (request.target ?? about.target) === about.target &&
  (request.at_step ?? null) === about.at_step &&
  Object.keys(request.edits ?? {}).length === 0;

async function opened(stored: PageData["traces"][number]): Promise<Opened> {
  const [table, values] = await Promise.all([unpack(stored.table), unpack(stored.values)]);
  const bytes = async (begin: number, end: number) => values.slice(begin, end);
  return {
    about: stored.about,
    trace: new Trace(JSON.parse(new TextDecoder().decode(table)), { bytes }),
    by: "file",
  };
}
