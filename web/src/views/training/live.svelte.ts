/** A training that was started from the page: what its events tell. */
import { NO_METRICS, type Metrics, type Source } from "../../source";

export interface Wish {
  /** Without one, Storyland is learned. */
  text?: string;
  name?: string;
  steps: number;
  preset?: string;
}

type State = "none" | "running" | "stopping" | "stopped" | "done" | "failed";

interface Progress {
  step: number;
  steps: number;
  loss: number | null;
  held_out: number | null;
  /** Whether this event is what told `held_out`. */
  measured: boolean;
  floor: number | null;
  tokens_per_second: number | null;
}

type TrainingEvent =
  | ({ kind: "progress" } & Progress)
  | { kind: "sample"; step: number; text: string }
  | { kind: "done"; run: string; reason: "finished" | "stopped" }
  | { kind: "failed"; message: string };

class Live {
  id = $state("");
  run = $state("");
  state = $state<State>("none");
  problem = $state("");
  /** Whether the events stopped coming, and the browser tries to hear them again. */
  lost = $state(false);
  progress = $state.raw<Progress | null>(null);
  metrics = $state.raw<Metrics>(NO_METRICS);
  samples = $state.raw<{ step: number; text: string }[]>([]);
  private events: EventSource | null = null;
  private heard: Progress[] = [];
  private drawing = 0;

  async start(source: Source, wish: Wish): Promise<void> {
    const { id } = await source.ask<{ id: string; run: string }>("/api/trainings", wish);
    this.follow(source, id);
  }

  async stop(source: Source): Promise<void> {
    this.state = "stopping";
    await source.ask(`/api/trainings/${encodeURIComponent(this.id)}/stop`, {});
  }

  async resume(source: Source): Promise<void> {
    await source.ask(`/api/trainings/${encodeURIComponent(this.id)}/resume`, {});
    this.follow(source, this.id);
  }

  /** Listen from the start of a training: the server tells everything that happened so far first. */
  follow(source: Source, id: string): void {
    this.events?.close();
    const events = source.events(`/api/trainings/${encodeURIComponent(id)}/events`);
    this.events = events;
    this.id = id;
    this.state = "running";
    this.problem = "";
    this.lost = false;
    this.progress = null;
    events.onopen = () => {
      this.lost = false;
      this.heard = [];
      this.samples = [];
    };
    events.onmessage = ({ data }) => this.take(JSON.parse(data) as TrainingEvent);
    events.onerror = () => {
      if (events.readyState !== EventSource.CLOSED) this.lost = true;
      else
        this.finish(
          "failed",
          "",
          "The server has started anew and knows this training no more; what was saved is in its run's folder.",
        );
    };
  }

  private take(event: TrainingEvent): void {
    switch (event.kind) {
      case "progress":
        return this.hear(event);
      case "sample":
        this.samples = [...this.samples, event];
        return;
      case "done":
        return this.finish(event.reason === "stopped" ? "stopped" : "done", event.run);
      case "failed":
        return this.finish("failed", "", event.message);
    }
  }

  private finish(state: State, run: string, problem = ""): void {
    this.events?.close();
    this.events = null;
    this.lost = false;
    [this.state, this.run, this.problem] = [state, run, problem];
  }

  /** Events come in bursts; the page is drawn once a frame. */
  private hear(progress: Progress): void {
    this.heard.push(progress);
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.progress = this.heard.at(-1) ?? null;
      const floor = this.progress?.floor ?? null;
      this.metrics = { ...NO_METRICS, rows: rowsOf(this.heard), floor };
    });
  }
}

/** One row a step; a held-out loss stands at the step that it was measured after. */
function rowsOf(heard: Progress[]): Metrics["rows"] {
  const rows = new Map<number, Metrics["rows"][number]>();
  for (const { step, loss, held_out, measured, tokens_per_second } of heard) {
    rows.set(step, {
      step,
      loss,
      held_out: measured ? held_out : (rows.get(step)?.held_out ?? null),
      tokens_per_second,
    });
  }
  return [...rows.values()];
}

export const live = new Live();
