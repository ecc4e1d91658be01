/** What is open: the run, the trace of the prompt, and the trace that it is compared with. */
import type { RunInfo, RunSummary } from "../api";
import type { Engine } from "../engine/client";
import {
  SourceError,
  type About,
  type Edits,
  type Opened,
  type Request,
  type Sampling,
} from "../source";
import { findSource } from "../sources";
import type { Address } from "../trace/address";
import { askedPlace, BLANKS, taskOf, written, type Task } from "../trace/task";
import { isSpecial } from "../trace/trace";
import { idsOf, isDrawn, textOf } from "./drawn";
import { route } from "./route.svelte";

type Loading = "loading" | "ready" | "failed";

/** The fields of the URL that `request` and the other side of a comparison are made of. */
export const ASKED_FOR = [
  "run",
  "prompt",
  "drawn",
  "target",
  "step",
  "lens",
  "edits",
  "draw",
  "rate",
  "with",
] as const;

class Session {
  readonly source = findSource();
  runs = $state<RunSummary[]>([]);
  run = $state<RunInfo | null>(null);
  state = $state<Loading>("loading");
  problem = $state<SourceError | null>(null);
  /** Why the other side of a comparison could not be opened. */
  otherProblem = $state("");
  otherLoading = $state(false);
  /** Seconds since the running request began; shown once it takes long. */
  since = $state(0);

  private main = $state.raw<Opened | null>(null);
  private runner = $state.raw<{ run: string; engine: Engine | null } | null>(null);
  private second = $state.raw<Opened | null>(null);
  private requested = "";
  private askedOther = "";
  private abort = new AbortController();

  get opened(): Opened | null {
    return this.main;
  }

  get trace() {
    return this.main?.trace ?? null;
  }

  /** What runs the open run's model within the page; null where nothing does, or not yet. */
  get engine(): Engine | null {
    return this.runner?.run === this.run?.id ? this.runner!.engine : null;
  }

  /** What the URL's address names in the trace, or why it names nothing. */
  located = $derived.by((): { where: Address | null; problem: string } => {
    const at = route.get("at");
    try {
      return { where: (at && this.trace?.locate(at)) || null, problem: "" };
    } catch (error) {
      return { where: null, problem: (error as Error).message };
    }
  });
  /** The one number that the URL names. */
  cell = $derived(
    this.located.where && this.trace!.isCell(this.located.where) ? this.located.where : null,
  );

  get about(): About | null {
    return this.main?.about ?? null;
  }

  /** The other side of a comparison, or null. */
  get other(): Opened | null {
    return this.second;
  }

  /** What the model is asked for. */
  get task(): Task {
    return this.trace ? taskOf(this.trace, this.run?.config ?? {}) : "next";
  }

  /** The prompt with a token in its first blank; null where it has none. */
  filled(token: string): string | null {
    const { prompt } = this.about!;
    const blank = BLANKS.find((one) => prompt.includes(one));
    return blank && this.source.live ? prompt.replace(blank, () => token.trim()) : null;
  }

  /** What is written of a translation. */
  get target(): string {
    return written(this.about!.tokens, this.run!.tokenizer.kind);
  }

  /** The position whose prediction is looked at. */
  get asked(): number {
    const { tokens } = this.about!;
    return this.task === "blank" ? askedPlace(tokens) : tokens.length - 1;
  }

  /** The prompt with the chosen token joined to it or put in its blank; null where that is no text or has no room. */
  get grown(): string | null {
    const { about, run, task } = this;
    if (!about?.chosen || !run || !this.source.live || task === "translation") return null;
    const { token } = about.chosen;
    if (isSpecial(token)) return null;
    if (task === "blank") return this.filled(token);
    if (about.ids.length >= run.n_ctx) return null;
    return about.prompt + (run.tokenizer.kind !== "words" || /^\s/.test(token) ? "" : " ") + token;
  }

  /** Run a prompt: nothing of the last one's place, edits and comparison stays. */
  ask(prompt: string | null, stage?: string): void {
    const none = {
      at: null,
      pos: null,
      target: null,
      edits: null,
      with: null,
      side: null,
      draw: null,
      drawn: null,
      rate: null,
    };
    if (prompt !== null) route.go(stage ? { ...none, prompt, stage } : { ...none, prompt });
  }

  /** What the URL asks for, of a run. */
  request(run: RunInfo | null = this.run): Request {
    // what the page opens with is of one run
    const first = this.source.first?.run === this.wanted ? this.source.first : undefined;
    const prompt = route.get("prompt");
    const stored = route.json("drawn");
    // drawn tokens are given by their ids: a part of a character has no text of its own
    const drawn = isDrawn(stored) && textOf(stored) === route.get("prompt") ? stored : null;
    return {
      run: this.wanted,
      prompt: drawn?.start ?? route.get("prompt") ?? first?.prompt ?? run?.suggested_prompt ?? "",
      ...(drawn && { [drawn.of ?? "added"]: idsOf(drawn) }),
      // the word that the page opens with is asked for after its own text alone
      target:
        route.get("target") ??
        (prompt === undefined || prompt === first?.prompt ? first?.target : null) ??
        (prompt === undefined ? run?.suggested_target : null) ??
        null,
      at_step: route.get("step") === undefined ? (first?.at_step ?? null) : route.number("step"),
      lens: route.get("lens") ? true : undefined,
      edits: route.json<Edits>("edits") ?? {},
      sampling: route.json<Sampling>("draw"),
      rate: route.number("rate") || undefined,
    };
  }

  /** Open what the URL asks for, if it is not open already. */
  async load(): Promise<void> {
    try {
      if (!this.runs.length) this.runs = await this.source.runs();
      const id = this.wanted;
      if (!id)
        throw new SourceError(
          "There is no run to open. Train one, or start the server with one.",
          "empty",
        );
      const run = this.run?.id === id ? this.run : await this.source.run(id);
      if (id !== this.wanted) return; // another run was asked for meanwhile
      await Promise.all([this.loadMain(run), this.loadOther(run)]);
      // after the first trace, which a server makes while the model is on its way
      const engine = await this.source.engine(id);
      if (id === this.wanted) this.runner = { run: id, engine };
    } catch (error) {
      this.fail(error as Error);
    }
  }

  /** A run was added to those of the page. */
  added(): void {
    this.runs = [];
  }

  async again(): Promise<void> {
    this.requested = this.askedOther = "";
    this.run = null;
    this.runs = [];
    this.problem = null;
    await this.load();
  }

  /** The run that the URL names, or the first there is. */
  private get wanted(): string {
    return route.get("run") ?? this.source.first?.run ?? this.runs[0]?.id ?? "";
  }

  private fail(error: Error): void {
    if (error.name === "AbortError") return;
    this.problem =
      error instanceof SourceError ? error : new SourceError(error.message, "unexpected");
    this.state = "failed";
  }

  /** Numbers of an open trace could not be read: the server is gone, or it has let the trace go. */
  private lost(error: Error, opened: Opened): void {
    if (opened !== this.main && opened !== this.second) return;
    if (error instanceof SourceError && error.code === "unknown_trace") {
      this.requested = this.askedOther = "";
      void this.load();
    } else this.fail(error);
  }

  private watched(opened: Opened): Opened {
    opened.trace.values.onfailure = (error) => this.lost(error, opened);
    return opened;
  }

  private async loadMain(run: RunInfo): Promise<void> {
    const request = this.request(run);
    const asked = JSON.stringify(request);
    if (asked === this.requested) return;
    this.requested = asked;
    this.abort.abort();
    this.abort = new AbortController();
    this.state = "loading";
    this.problem = null;
    const begun = Date.now();
    const clock = setInterval(() => (this.since = (Date.now() - begun) / 1000), 250);
    try {
      const opened = await this.source.open(request, this.abort.signal);
      if (asked !== this.requested) return;
      this.run = run;
      this.main = this.watched(opened);
      this.problem = null; // numbers of what was open before may have failed meanwhile
      this.state = "ready";
    } catch (error) {
      if (asked !== this.requested) return;
      this.requested = "";
      this.main = null;
      this.run = run;
      throw error;
    } finally {
      clearInterval(clock);
      if (asked === this.requested) this.since = 0;
    }
  }

  /** The other side of a comparison; ids belong to one text and one tokenizer. */
  private beside(run: RunInfo, request: Partial<Request>): Request {
    const current = this.request(run);
    const another = request.prompt !== undefined || request.run !== undefined;
    const prompt = route.get("prompt") ?? current.prompt;
    return { ...current, ...(another ? { prompt, added: undefined } : {}), ...request };
  }

  private async loadOther(run: RunInfo): Promise<void> {
    const request = route.json<Partial<Request>>("with");
    const asked = request ? JSON.stringify([this.request(run), request]) : "";
    if (asked === this.askedOther) return;
    this.askedOther = asked;
    this.otherLoading = request !== null;
    let [opened, problem]: [Opened | null, string] = [null, ""];
    try {
      if (request) opened = this.watched(await this.source.open(this.beside(run, request)));
    } catch (error) {
      problem = (error as Error).message;
    }
    if (asked !== this.askedOther) return;
    this.second = opened;
    this.otherProblem = problem;
    this.otherLoading = false;
  }
}

export const session = new Session();
