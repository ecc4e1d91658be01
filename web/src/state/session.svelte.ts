/** What is open: the run, the trace of the prompt, and the trace that it is compared with. */
import { findSource, SourceError, type About, type Edits, type Opened, type Request, type RunInfo, type RunSummary, type Sampling } from "../source";
import { route } from "./route.svelte";

type Loading = "loading" | "ready" | "failed";

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
  private second = $state.raw<Opened | null>(null);
  private asked = "";
  private askedOther = "";
  private abort = new AbortController();

  get opened(): Opened | null {
    return this.main;
  }

  get trace() {
    return this.main?.trace ?? null;
  }

  get about(): About | null {
    return this.main?.about ?? null;
  }

  /** The other side of a comparison, or null. */
  get other(): Opened | null {
    return this.second;
  }

  /** What the URL asks for. */
  request(): Request {
    const first = this.source.first;
    const run = route.get("run") ?? first?.run ?? this.runs[0]?.id ?? "";
    return {
      run,
      prompt: route.get("prompt") ?? first?.prompt ?? this.run?.suggested_prompt ?? "",
      target: route.get("target") ?? first?.target ?? (route.get("prompt") === undefined ? this.run?.suggested_target : null) ?? null,
      at_step: route.get("step") === undefined ? (first?.at_step ?? null) : route.number("step"),
      edits: route.json<Edits>("edits") ?? {},
      sampling: route.json<Sampling>("draw"),
    };
  }

  /** Open what the URL asks for, if it is not open already. */
  async load(): Promise<void> {
    try {
      if (!this.runs.length) this.runs = await this.source.runs();
      const id = route.get("run") ?? this.source.first?.run ?? this.runs[0]?.id;
      if (!id) throw new SourceError("There is no run to open. Train one, or start the server with one.", "empty");
      if (this.run?.id !== id) this.run = await this.source.run(id);
      await Promise.all([this.loadMain(), this.loadOther()]);
    } catch (error) {
      if ((error as Error).name === "AbortError") return;
      this.problem = error instanceof SourceError ? error : new SourceError((error as Error).message, "unexpected");
      this.state = "failed";
    }
  }

  async again(): Promise<void> {
    this.asked = this.askedOther = "";
    this.run = null;
    this.runs = [];
    await this.load();
  }

  private async loadMain(): Promise<void> {
    const request = this.request();
    const asked = JSON.stringify(request);
    if (asked === this.asked) return;
    this.asked = asked;
    this.abort.abort();
    this.abort = new AbortController();
    this.state = "loading";
    const begun = Date.now();
    const clock = setInterval(() => (this.since = (Date.now() - begun) / 1000), 250);
    try {
      const opened = await this.source.open(request, this.abort.signal);
      if (asked !== this.asked) return;
      this.main = opened;
      this.problem = null;
      this.state = "ready";
    } catch (error) {
      if (asked === this.asked) this.asked = "";
      throw error;
    } finally {
      clearInterval(clock);
      this.since = 0;
    }
  }

  private async loadOther(): Promise<void> {
    const request = route.json<Partial<Request>>("with");
    const asked = request ? JSON.stringify([this.request(), request]) : "";
    if (asked === this.askedOther) return;
    this.askedOther = asked;
    this.otherLoading = request !== null;
    let [opened, problem]: [Opened | null, string] = [null, ""];
    try {
      if (request) opened = await this.source.open({ ...this.request(), ...request });
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
