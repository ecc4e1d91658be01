/** A training that was started from the page: what its events tell. */
import type { Metrics, Progress, Sample, TrainingEvent, TrainingRequest } from "../../api";
import { NO_METRICS, type Source } from "../../source";

type State = "none" | "running" | "stopping" | "stopped" | "done" | "failed";

class Live {
  id = $state("");
  run = $state("");
  state = $state<State>("none");
  problem = $state("");
  /** The sizes and steps that were chosen for the text, in words. */
  chosen = $state<string | null>(null);
  /** Whether the events stopped coming, and the browser tries to hear them again. */
  lost = $state(false);
  progress = $state.raw<Progress | null>(null);
  metrics = $state.raw<Metrics>(NO_METRICS);
  samples = $state.raw<Sample[]>([]);
  private events: EventSource | null = null;
  private heard: Progress[] = [];
  private drawing = 0;

  async start(source: Source, request: TrainingRequest): Promise<void> {
    const { id, chosen } = await source.post("/api/trainings", { body: request });
    this.follow(source, id);
    this.chosen = chosen;
  }

  async stop(source: Source): Promise<void> {
    this.state = "stopping";
    await source.post("/api/trainings/{training}/stop", { path: { training: this.id } });
  }

  async resume(source: Source): Promise<void> {
    await source.post("/api/trainings/{training}/resume", { path: { training: this.id } });
    this.follow(source, this.id);
  }

  /** Listen from the start of a training: the server tells everything that happened so far first. */
  follow(source: Source, id: string): void {
    this.events?.close();
    const events = source.events("/api/trainings/{training}/events", { path: { training: id } });
    this.events = events;
    if (id !== this.id) this.chosen = null;
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
  for (const { step, loss, held_out, whole_text, measured, tokens_per_second } of heard) {
    rows.set(step, {
      step,
      loss,
      held_out: measured ? held_out : (rows.get(step)?.held_out ?? null),
      whole_text: measured ? whole_text : (rows.get(step)?.whole_text ?? null),
      tokens_per_second,
    });
  }
  return [...rows.values()];
}

export const live = new Live();
