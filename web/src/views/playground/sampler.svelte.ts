/** How the playground chooses, and the tokens it has drawn so far; all of it lives in the URL. */
import type { Sampling } from "../../source";
import { route } from "../../state/route.svelte";
import { session } from "../../state/session.svelte";
import { isDrawn, textOf, type Drawn } from "../../state/drawn";
import { isSpecial } from "../../trace/trace";
import { UNCHANGED, type Settings } from "./choose";
import { uniform } from "../../engine/uniform";

/** The settings, the seed, and a number `u` where the reader moved it by hand. */
type Draft = Omit<Sampling, "index"> & { u: number | null };

class Sampler {
  /** The settings that the model's folder asks for, in its generation_config.json. */
  folder = $derived(
    Object.fromEntries(
      Object.entries(session.run?.sampling ?? {}).filter(([, value]) => value !== null),
    ) as Partial<Settings>,
  );

  /** The settings in use: those of the URL, of the recorded trace, of the folder, or none. */
  draft = $derived.by((): Draft => {
    const result: Draft = { ...UNCHANGED, ...this.folder, seed: 0, u: null };
    const { index: _, ...recorded } = session.about?.sampling ?? { index: 0 };
    return Object.assign(result, recorded, checked(route.json("sampling") ?? {}));
  });

  drawn = $derived.by((): Drawn & { first: number } => {
    const drawn = this.read();
    const index = session.about?.sampling?.index ?? drawn.at; // of a choice that was made elsewhere
    return { first: index - drawn.at, ...drawn };
  });

  /** Whether the URL names drawn tokens that cannot be read. */
  unread = $derived(route.get("drawn") !== undefined && !isDrawn(route.json("drawn")));

  /** The number that chooses: the token's own, unless the reader moved it. */
  u = $derived.by(() => this.draft.u ?? uniform(this.draft.seed, this.index));

  /** Which of the answer's new tokens is chosen. */
  get index(): number {
    return this.drawn.first + this.drawn.at;
  }

  /** How many of the drawn tokens are the prompt's, so that they are not taken back. */
  get given(): number {
    return Math.max(0, -this.drawn.first);
  }

  /** What the server records this choice with. */
  get sampling(): Sampling {
    const { u: _, ...settings } = this.draft;
    return { ...settings, index: this.index };
  }

  /** Whether the trace holds this very choice as recorded nodes. */
  get recorded(): boolean {
    const { about } = session;
    const same = (a: Sampling) =>
      Object.entries(this.sampling).every(([name, value]) => a[name as keyof Sampling] === value);
    return this.draft.u === null && about?.sampling != null && same(about.sampling);
  }

  change(part: Partial<Draft>): void {
    route.adjust({ sampling: JSON.stringify({ ...this.draft, ...part }) });
  }

  /** Join a token to the text and go on. */
  take(id: number, token: string): void {
    const apart = session.run?.tokenizer.kind === "words" && !/^\s/.test(token) ? " " : "";
    const added = isSpecial(token) ? "" : apart + token;
    const { at, tokens } = this.drawn;
    this.go({ ...this.drawn, at: at + 1, tokens: [...tokens.slice(0, at), [id, added]] });
  }

  restart(): void {
    this.go({ ...this.drawn, at: this.given });
  }

  undo(): void {
    this.go({ ...this.drawn, at: this.drawn.at - 1 });
  }

  redo(): void {
    this.go({ ...this.drawn, at: this.drawn.at + 1 });
  }

  /** The drawn tokens of the URL, as far as they belong to the prompt. */
  private read(): Drawn {
    const settings = route.json("drawn");
    const prompt = route.get("prompt") ?? session.about?.prompt ?? "";
    const two = session.task === "translation";
    if (isDrawn(settings) && textOf(settings) === prompt && two === (settings.of === "written"))
      return settings;
    if (!two) return { start: prompt, at: 0, tokens: [] };
    // its own translation, as if it had been taken word by word
    const written = session.about!.ids.slice(1).map((id): [number, string] => [id, ""]);
    return { start: prompt, at: written.length, tokens: written, of: "written" };
  }

  private go(drawn: Drawn): void {
    const sampling = JSON.stringify({ ...this.draft, u: null });
    route.go({
      prompt: textOf(drawn),
      drawn: drawn.tokens.length ? JSON.stringify(drawn) : null,
      sampling,
      draw: null,
      target: null,
      pos: null,
      at: null,
    });
  }
}

/** What of a hand-written URL can be used. */
function checked(settings: Partial<Record<keyof Draft, unknown>>): Partial<Draft> {
  const allowed: Record<keyof Draft, (value: number) => boolean> = {
    temperature: (value) => value === 0 || value >= 1e-6,
    top_k: (value) => Number.isInteger(value) && value >= 1,
    top_p: (value) => value > 0 && value <= 1,
    min_p: (value) => value >= 0 && value <= 1,
    repetition_penalty: (value) => value > 0,
    seed: (value) => Number.isSafeInteger(value) && value >= 0,
    u: (value) => value >= 0 && value < 1,
  };
  const optional = ["top_k", "top_p", "min_p", "u"];
  const good = ([name, value]: [string, unknown]) =>
    value === null
      ? optional.includes(name)
      : typeof value === "number" && (allowed[name as keyof Draft]?.(value) ?? false);
  return Object.fromEntries(Object.entries(settings).filter(good));
}

export const sampler = new Sampler();
