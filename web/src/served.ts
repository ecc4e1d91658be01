/** A server's runs and traces; a model that is small enough is fetched and runs in the page. */
import {
  addressOf,
  type Answer,
  type Asked,
  type Patch,
  type PathOf,
  type RunInfo,
  type Where,
} from "./api";
import { Engine } from "./engine/client";
import { refused, SourceError, type About, type Opened, type Request, type Source } from "./source";
import { Trace, type Table } from "./trace/trace";
import type { Reader } from "./trace/values";

export class ServerSource implements Source {
  readonly live = true;
  readonly served = true;
  readonly teaches = true;
  readonly plant = null;
  private engines = new Map<string, Engine>();
  private asked = new Map<string, Promise<Engine | null>>();
  /** What the page made, with what it was asked for. */
  private made = new WeakMap<Opened, Request>();

  engine(run: string): Promise<Engine | null> {
    const coming = this.asked.get(run) ?? this.fetchEngine(run);
    this.asked.set(run, coming);
    return coming.catch(() => {
      this.asked.delete(run); // a server may be busy: the page asks again later
      return null;
    });
  }

  private async fetchEngine(run: string): Promise<Engine | null> {
    const path = { run };
    const packed = await this.get("/api/runs/{run}/model", { path });
    if (!packed) {
      if ((await this.run(run)).steps_left) this.asked.delete(run); // it is trained: later
      return null;
    }
    const engine = new Engine(packed, (await this.run(run)).n_ctx);
    this.engines.set(run, engine);
    return engine;
  }

  /** What of the page answers a request; null where the server does: it has exact weights of every earlier step. */
  private here({ run, at_step, edits }: Request): Engine | null {
    const engine = this.engines.get(run);
    const theirs = Object.values(edits ?? {}).some(
      (edit) => typeof edit === "object" && "trace" in edit,
    );
    return engine && !theirs && (at_step ?? Infinity) >= engine.packed.done ? engine : null;
  }

  runs = async () => (await this.get("/api/runs", {})).runs;
  run = (run: string) => this.get("/api/runs/{run}", { path: { run } });
  metrics = (run: string) => this.get("/api/runs/{run}/metrics", { path: { run } });
  tokenize = (run: string, text: string) => this.post("/api/tokenize", { body: { run, text } });
  steps = (run: RunInfo) => run.snapshots;
  course = () => this.get("/api/course", {});
  glossary = () => this.get("/api/course/glossary", {});

  async open(request: Request, signal?: AbortSignal): Promise<Opened> {
    const engine = this.here(request);
    if (engine) {
      const opened = await engine.open(request, signal).catch(refused);
      this.made.set(opened, request);
      return opened;
    }
    const about = await this.record(request, signal);
    const path = { trace: about.id };
    const table = await this.fetch("/api/traces/{trace}/trace.json", { path }, { signal });
    const reader: Reader = {
      bytes: async (begin, end) => {
        const headers = { Range: `bytes=${begin}-${end - 1}` };
        return (
          await this.fetch("/api/traces/{trace}/values", { path }, { headers })
        ).arrayBuffer();
      },
      part: (address, begin, end, block) => {
        const query = { address, begin: String(begin), end: String(end), block: String(block) };
        // a picture of a whole value waits for the numbers of a card
        const priority = block.some((side) => side > 1) ? "low" : "auto";
        return this.read("/api/traces/{trace}/part", { path, query }, { priority });
      },
    };
    return { about, trace: new Trace((await table.json()) as Table, reader), by: "server" };
  }

  async idOf(opened: Opened): Promise<string> {
    const request = this.made.get(opened);
    return request ? (await this.record(request)).id : opened.about.id;
  }

  private async record(request: Request, signal?: AbortSignal): Promise<About> {
    const body = { ...request, edits: await this.patched(request, signal) };
    return this.post("/api/traces", { body }, signal);
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

  async read<P extends PathOf<"get">>(
    path: P,
    asked: Asked<"get", P>,
    options?: RequestInit,
  ): Promise<ArrayBuffer> {
    return (await this.fetch(path, asked, options)).arrayBuffer();
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
