/** Where runs and traces come from: a server, or the data inside an exported file. */
import {
  addressOf,
  type Answer,
  type Asked,
  type Course,
  type Metrics,
  type Patch,
  type Opening,
  type PackedModel,
  type PackedSeedling,
  type PageData,
  type PathOf,
  type RunInfo,
  type RunSummary,
  type SamplingOptionsOutput,
  type TokenizedText,
  type TraceAbout,
  type TraceRequest,
  type Where,
} from "./api";
import { Engine } from "./engine/client";
import { vocabularyOf, type Unit } from "./engine/fresh";
import { unpack, unpackJson } from "./engine/pack";
import type { TokenizerFile } from "./text/tokenizer";
import { Trace, type Table } from "./trace/trace";
import type { Reader } from "./trace/values";

export type Sampling = SamplingOptionsOutput;
export type About = TraceAbout;

/** What a value becomes: a number, or a value of another trace, which a text stands for where links must last. */
export type Edit = number | Patch | { prompt: string; address: string };
export type Edits = Record<string, Edit>;

/** What a trace is asked for with. */
export type Request = Omit<TraceRequest, "edits"> & {
  edits?: Edits;
  /** In place of the prompt the batch that a training in the page learns from next, at this learning rate. */
  rate?: number;
};

/** A trace that was opened, and what it is of. */
export interface Opened {
  about: About;
  trace: Trace;
}

/** What went wrong, in one sentence for people; `code` tells kinds apart. */
export class SourceError extends Error {
  constructor(
    message: string,
    readonly code: string,
  ) {
    super(message);
  }
}

export interface Source {
  /** Whether a model can be run: without a server and a model the page shows what it holds and says so. */
  readonly live: boolean;
  /** Whether a server answers. */
  readonly served: boolean;
  /** Make a new model for a text, which is a run of the page from then on; null where it can't. */
  plant: ((text: string, unit: Unit, seed: number) => string) | null;
  /** What runs a model within the page; null where a server does, or nothing. */
  engine(run: string): Engine | null;
  runs(): Promise<RunSummary[]>;
  run(id: string): Promise<RunInfo>;
  metrics(id: string): Promise<Metrics>;
  open(request: Request, signal?: AbortSignal): Promise<Opened>;
  /** The training steps at which a text can be opened, in order. */
  steps(run: RunInfo, prompt: string): number[];
  tokenize(run: string, text: string): Promise<TokenizedText>;
  /** Whether there are lessons. */
  readonly teaches: boolean;
  course(): Promise<Course>;
  /** Terms and what they mean. */
  glossary(): Promise<Record<string, string>>;
  /** A request that only a server can answer; offline it throws a SourceError with code "offline". */
  get<P extends PathOf<"get">>(path: P, asked: Asked<"get", P>): Promise<Answer<"get", P>>;
  post<P extends PathOf<"post">>(
    path: P,
    asked: Asked<"post", P>,
    signal?: AbortSignal,
  ): Promise<Answer<"post", P>>;
  /** As `get`, where the answer is a row of bytes. */
  read<P extends PathOf<"get">>(path: P, asked: Asked<"get", P>): Promise<ArrayBuffer>;
  /** The server-sent events of a path. */
  events<P extends PathOf<"get">>(path: P, asked: Asked<"get", P>): EventSource;
}

const OFFLINE =
  "This file holds recorded numbers but no model that could run. Open the run with: glassformer serve";
const UNSERVED =
  "This needs the server, which this file is without. Open the run with: glassformer serve";
const UNTAUGHT =
  "This file holds no lessons. Write one that does with: glassformer course --out course.html";

class ServerSource implements Source {
  readonly live = true;
  readonly served = true;
  readonly teaches = true;
  engine = () => null;
  readonly plant = null;

  runs = async () => (await this.get("/api/runs", {})).runs;
  run = (run: string) => this.get("/api/runs/{run}", { path: { run } });
  metrics = (run: string) => this.get("/api/runs/{run}/metrics", { path: { run } });
  tokenize = (run: string, text: string) => this.post("/api/tokenize", { body: { run, text } });
  steps = (run: RunInfo) => run.snapshots;
  course = () => this.get("/api/course", {});
  glossary = () => this.get("/api/course/glossary", {});

  async open(request: Request, signal?: AbortSignal): Promise<Opened> {
    const body = { ...request, edits: await this.patched(request, signal) };
    const about = await this.post("/api/traces", { body }, signal);
    const path = { trace: about.id };
    const table = await this.fetch("/api/traces/{trace}/trace.json", { path }, { signal });
    const reader: Reader = {
      bytes: async (begin, end) => {
        const headers = { Range: `bytes=${begin}-${end - 1}` };
        return (
          await this.fetch("/api/traces/{trace}/values", { path }, { headers })
        ).arrayBuffer();
      },
      part: (address, begin, end, block) =>
        this.read("/api/traces/{trace}/part", {
          path,
          query: { address, begin: String(begin), end: String(end), block: String(block) },
        }),
    };
    return { about, trace: new Trace((await table.json()) as Table, reader) };
  }

  /** The edits with every text that a value comes from replaced by a trace of it. */
  private async patched(
    { run, at_step, edits }: Request,
    signal?: AbortSignal,
  ): Promise<Record<string, number | Patch>> {
    const patches = await Promise.all(
      Object.entries(edits ?? {}).map(
        async ([address, edit]): Promise<[string, number | Patch]> => {
          if (typeof edit === "number" || "trace" in edit) return [address, edit];
          const { prompt } = edit;
          const body = { run, at_step, prompt, backward: false, optimizer: false };
          const { id } = await this.post("/api/traces", { body }, signal);
          return [address, { trace: id, address: edit.address }];
        },
      ),
    );
    return Object.fromEntries(patches);
  }

  async get<P extends PathOf<"get">>(path: P, asked: Asked<"get", P>): Promise<Answer<"get", P>> {
    return (await this.fetch(path, asked)).json();
  }

  async post<P extends PathOf<"post">>(
    path: P,
    asked: Asked<"post", P>,
    signal?: AbortSignal,
  ): Promise<Answer<"post", P>> {
    const { body = {} } = asked as { body?: unknown };
    const headers = { "Content-Type": "application/json" };
    const options = { method: "POST", headers, body: JSON.stringify(body), signal };
    return (await this.fetch(path, asked, options)).json();
  }

  async read<P extends PathOf<"get">>(path: P, asked: Asked<"get", P>): Promise<ArrayBuffer> {
    return (await this.fetch(path, asked)).arrayBuffer();
  }

  events = <P extends PathOf<"get">>(path: P, asked: Asked<"get", P>) =>
    new EventSource(addressOf(path, asked as Where));

  private async fetch(path: string, asked: unknown, options?: RequestInit): Promise<Response> {
    let answer: Response;
    try {
      answer = await fetch(addressOf(path, asked as Where), options);
    } catch (error) {
      if ((error as Error).name === "AbortError") throw error;
      throw new SourceError(
        "The server does not answer. Is glassformer serve still running?",
        "gone",
      );
    }
    if (answer.ok) return answer;
    const result = await answer.json().catch(() => null);
    throw new SourceError(
      result?.error?.message ?? `the server answered ${answer.status}`,
      result?.error?.code ?? String(answer.status),
    );
  }
}

export const NO_METRICS: Metrics = {
  rows: [],
  floor: null,
  unigram_loss: null,
  uniform_loss: null,
};

class FileSource implements Source {
  readonly live: boolean;
  readonly teaches: boolean;
  readonly served = false;
  private opened = new Map<string, Promise<Opened>>();
  private engines = new Map<string, Engine>();

  constructor(private data: PageData) {
    this.live = Object.keys(data.models).length > 0;
    this.teaches = data.course !== null;
  }

  /** What runs a model of this file; null where it holds recorded numbers only. */
  engine(id: string): Engine | null {
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
    const engine = this.engine(request.run);
    if (engine) return engine.open(request, signal).catch(refused);
    const wanted = this.data.traces.find(({ about }) => matches(about, request));
    if (!wanted) throw new SourceError(OFFLINE, "offline");
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
    const engine = this.engine(run);
    if (engine) return engine.tokenize(text).catch(refused);
    const result = this.data.texts[run]?.find((known) => known.text === text);
    if (!result) throw new SourceError(OFFLINE, "offline");
    return result;
  }

  glossary = async () => this.data.glossary;

  async course(): Promise<Course> {
    if (!this.data.course) throw new SourceError(UNTAUGHT, "offline");
    return this.data.course;
  }

  get = async (): Promise<never> => {
    throw new SourceError(this.live ? UNSERVED : OFFLINE, "offline");
  };

  post = this.get;
  read = this.get;

  events = (): never => {
    throw new SourceError(this.live ? UNSERVED : OFFLINE, "offline");
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

/** What the engine says of a question that can't be answered. */
function refused(error: Error): never {
  throw error.name === "AbortError" ? error : new SourceError(error.message, "invalid");
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
  };
}

/** The source that the page's own data block names. */
export function findSource(): Source & { first?: Opening } {
  const data = JSON.parse(document.getElementById("glassformer-data")?.textContent ?? "{}");
  return data.server ? new ServerSource() : new FileSource(data);
}
