/** Where runs and traces come from: a server (`served.ts`), or the data inside an exported file (`file.ts`). */
import type {
  Answer,
  Asked,
  Course,
  Metrics,
  Patch,
  PathOf,
  RunInfo,
  RunSummary,
  SamplingOptionsOutput,
  TokenizedText,
  TraceAbout,
  TraceRequest,
} from "./api";
import type { Engine } from "./engine/client";
import type { Unit } from "./engine/fresh";
import type { Trace } from "./trace/trace";

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

/** A trace that was opened, what it is of, and who made it: this page, the server, or who wrote this file. */
export interface Opened {
  about: About;
  trace: Trace;
  by: "page" | "server" | "file";
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
  /** What runs a model within the page, fetched where a server has it; null where a server runs it, or nothing. */
  engine(run: string): Promise<Engine | null>;
  runs(): Promise<RunSummary[]>;
  run(id: string): Promise<RunInfo>;
  metrics(id: string): Promise<Metrics>;
  open(request: Request, signal?: AbortSignal): Promise<Opened>;
  /** By which id the server knows a trace; one that the page made it makes, too. */
  idOf(opened: Opened): Promise<string>;
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

export const NO_METRICS: Metrics = {
  rows: [],
  floor: null,
  unigram_loss: null,
  uniform_loss: null,
};

/** What the engine says of a question that can't be answered. */
export function refused(error: Error): never {
  throw error.name === "AbortError" ? error : new SourceError(error.message, "invalid");
}
