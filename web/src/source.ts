/** Where runs and traces come from: a server, or the data inside an exported file. */
import { Trace, type Table } from "./trace/trace";
import type { Reader } from "./trace/values";

export interface RunSummary {
  id: string;
  name: string;
  parameters: number;
  steps_done: number | null;
  steps_left: number | null;
  loss: number | null;
}

export interface Weight {
  name: string;
  axes: string[];
  shape: number[];
  parameters: number;
  share: number;
}

export interface RunInfo extends RunSummary {
  kind: "run" | "folder" | "preset";
  path: string | null;
  config: Record<string, unknown>;
  n_ctx: number;
  vocab_size: number;
  tied: boolean;
  weights: Weight[];
  tokenizer: { kind: string; eos?: number | null; [field: string]: unknown };
  snapshots: number[];
  floor: number | null;
  suggested_prompt: string;
  suggested_target: string | null;
  examples: string[];
  recipe: Record<string, unknown> | null;
}

export interface Sampling {
  temperature: number;
  top_k: number | null;
  top_p: number | null;
  min_p: number | null;
  repetition_penalty: number;
  seed: number;
  index: number;
}

/** What a value becomes: a number, or a value of another trace, which a text stands for where links must last. */
export type Edit =
  number | { trace: string; address: string } | { prompt: string; address: string };
export type Edits = Record<string, Edit>;

/** What a trace is asked for with. */
export interface Request {
  run: string;
  prompt: string;
  target?: string | null;
  backward?: boolean;
  optimizer?: boolean;
  lens?: true;
  at_step?: number | null;
  edits?: Edits;
  sampling?: Sampling | null;
  /** Ids of tokens drawn after the prompt. */
  added?: number[];
}

export interface About {
  id: string;
  run: string;
  /** The text, with that of the added tokens. */
  prompt: string;
  added: number[];
  ids: number[];
  tokens: string[];
  target: string | null;
  backward: boolean;
  optimizer: boolean;
  at_step: number | null;
  edits: Edits;
  sampling: Sampling | null;
  chosen: { id: number; token: string } | null;
  nbytes: number;
  precision: string;
}

export interface Metrics {
  rows: {
    step: number;
    loss: number | null;
    held_out: number | null;
    tokens_per_second: number | null;
  }[];
  /** Losses that need no model, where they are known. */
  floor: number | null;
  unigram_loss: number | null;
  uniform_loss: number | null;
}

export interface Pair {
  left: string;
  right: string;
  /** Its place among the learned merges; null: the pair was never learned. */
  rank: number | null;
}

export interface TokenizedText {
  text: string;
  steps: {
    op: "split" | "merge" | "look up";
    word: number | null;
    pieces: string[];
    merge: Pair | null;
    considered: Pair[];
    ids: number[];
  }[];
  tokens: { id: number; token: string; bytes: number[]; text: string }[];
}

export interface Biography {
  address: string;
  points: { step: number; value: number }[];
  moved: { from: number; to: number; step: number; change: number; batch: string[] };
  /** The stretch of training that was made again. */
  since: number;
  until: number;
  /** Where the other stretches begin, the one with the most movement first. */
  others: number[];
}

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
  /** Whether a model can be run: without a server the page shows what it holds and says so. */
  readonly live: boolean;
  runs(): Promise<RunSummary[]>;
  run(id: string): Promise<RunInfo>;
  metrics(id: string): Promise<Metrics>;
  open(request: Request, signal?: AbortSignal): Promise<Opened>;
  /** The training steps at which a text can be opened, in order. */
  steps(run: RunInfo, prompt: string): number[];
  tokenize(run: string, text: string): Promise<TokenizedText>;
  /** A request that only a server can answer; offline it throws a SourceError with code "offline". */
  ask<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T>;
  /** As `ask`, where the answer is a row of bytes. */
  read(path: string, options?: RequestInit): Promise<ArrayBuffer>;
  /** The server-sent events of a path. */
  events(path: string): EventSource;
}

const OFFLINE =
  "This file holds recorded numbers but no model that could run. Open the run with: glassformer serve";

class ServerSource implements Source {
  readonly live = true;

  runs = async () => (await this.ask<{ runs: RunSummary[] }>("/api/runs")).runs;
  run = (id: string) => this.ask<RunInfo>(`/api/runs/${encodeURIComponent(id)}`);
  metrics = (id: string) => this.ask<Metrics>(`/api/runs/${encodeURIComponent(id)}/metrics`);
  tokenize = (run: string, text: string) => this.ask<TokenizedText>("/api/tokenize", { run, text });
  events = (path: string) => new EventSource(path);
  steps = (run: RunInfo) => run.snapshots;

  async open(request: Request, signal?: AbortSignal): Promise<Opened> {
    const edits = await this.patched(request, signal);
    const about = await this.ask<About>("/api/traces", { ...request, edits }, signal);
    const at = `/api/traces/${encodeURIComponent(about.id)}`;
    const table = await this.ask<Table>(`${at}/trace.json`, undefined, signal);
    const reader: Reader = {
      bytes: (begin, end) =>
        this.read(`${at}/values`, { headers: { Range: `bytes=${begin}-${end - 1}` } }),
      part: (address, begin, end, block) =>
        this.read(
          `${at}/part?${new URLSearchParams({ address, begin: String(begin), end: String(end), block: String(block) })}`,
        ),
    };
    return { about, trace: new Trace(table, reader) };
  }

  /** The edits with every text that a value comes from replaced by a trace of it. */
  private async patched({ run, at_step, edits }: Request, signal?: AbortSignal): Promise<Edits> {
    const found = await Promise.all(
      Object.entries(edits ?? {}).map(async ([address, edit]): Promise<[string, Edit]> => {
        if (typeof edit === "number" || "trace" in edit) return [address, edit];
        const wish: Request = {
          run,
          at_step,
          prompt: edit.prompt,
          backward: false,
          optimizer: false,
        };
        const { id } = await this.ask<About>("/api/traces", wish, signal);
        return [address, { trace: id, address: edit.address }];
      }),
    );
    return Object.fromEntries(found);
  }

  async ask<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    const post = {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    };
    const answer = await this.fetch(path, body === undefined ? { signal } : { ...post, signal });
    return answer.json();
  }

  async read(path: string, options: RequestInit = {}): Promise<ArrayBuffer> {
    return (await this.fetch(path, options)).arrayBuffer();
  }

  private async fetch(path: string, options: RequestInit): Promise<Response> {
    let answer: Response;
    try {
      answer = await fetch(path, options);
    } catch (error) {
      if ((error as Error).name === "AbortError") throw error;
      throw new SourceError(
        "The server does not answer. Is glassformer serve still running?",
        "gone",
      );
    }
    if (answer.ok) return answer;
    const found = await answer.json().catch(() => null);
    throw new SourceError(
      found?.error?.message ?? `the server answered ${answer.status}`,
      found?.error?.code ?? String(answer.status),
    );
  }
}

interface Exported {
  runs: RunInfo[];
  traces: { about: About; table: string; values: string }[];
  metrics: Record<string, Metrics>;
  texts: Record<string, TokenizedText[]>;
}

export const NO_METRICS: Metrics = {
  rows: [],
  floor: null,
  unigram_loss: null,
  uniform_loss: null,
};

class FileSource implements Source {
  readonly live = false;
  private opened = new Map<string, Promise<Opened>>();

  constructor(private data: Exported) {}

  runs = async () => this.data.runs;
  metrics = async (id: string) => this.data.metrics[id] ?? NO_METRICS;

  async run(id: string): Promise<RunInfo> {
    const found = this.data.runs.find((run) => run.id === id) ?? this.data.runs[0];
    if (!found) throw new SourceError("This file holds no run.", "empty");
    return found;
  }

  async open(request: Request): Promise<Opened> {
    const wanted = this.data.traces.find(({ about }) => matches(about, request));
    if (!wanted) throw new SourceError(OFFLINE, "offline");
    const { id } = wanted.about;
    if (!this.opened.has(id)) this.opened.set(id, unpack(wanted));
    return this.opened.get(id)!;
  }

  steps(run: RunInfo, prompt: string): number[] {
    const held = this.data.traces.filter(
      ({ about }) => about.run === run.id && about.prompt === prompt,
    );
    return held.flatMap(({ about }) => about.at_step ?? []).sort((a, b) => a - b);
  }

  async tokenize(run: string, text: string): Promise<TokenizedText> {
    const found = this.data.texts[run]?.find((known) => known.text === text);
    if (!found) throw new SourceError(OFFLINE, "offline");
    return found;
  }

  ask = async (): Promise<never> => {
    throw new SourceError(OFFLINE, "offline");
  };

  read = this.ask;

  events = (): never => {
    throw new SourceError(OFFLINE, "offline");
  };

  /** The first trace, which the page opens with. */
  get first(): About {
    return this.data.traces[0].about;
  }
}

const matches = (about: About, request: Request): boolean =>
  about.run === request.run &&
  about.prompt === request.prompt &&
  (request.target ?? about.target) === about.target &&
  (request.at_step ?? null) === about.at_step &&
  Object.keys(request.edits ?? {}).length === 0;

async function unpack(stored: Exported["traces"][number]): Promise<Opened> {
  const [table, values] = await Promise.all([unzip(stored.table), unzip(stored.values)]);
  const bytes = async (begin: number, end: number) => values.slice(begin, end);
  return {
    about: stored.about,
    trace: new Trace(JSON.parse(new TextDecoder().decode(table)), { bytes }),
  };
}

async function unzip(base64: string): Promise<ArrayBuffer> {
  const raw = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** The source that the page's own data block names. */
export function findSource(): Source & { first?: About } {
  const data = JSON.parse(document.getElementById("glassformer-data")?.textContent ?? "{}");
  return data.server ? new ServerSource() : new FileSource(data);
}
