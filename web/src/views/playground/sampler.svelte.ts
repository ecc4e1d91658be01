/** How the playground chooses, and the tokens it has drawn so far; all of it lives in the URL. */
import type { Sampling } from "../../source";
import { route } from "../../state/route.svelte";
import { session } from "../../state/session.svelte";
import { UNCHANGED } from "./choose";
import { uniform } from "./uniform";

/** The settings, the seed, and a number `u` where the reader moved it by hand. */
export type Draft = Omit<Sampling, "index"> & { u: number | null };

interface Drawn {
  /** The text before them: that of another prompt has other tokens after it. */
  start: string;
  /** How many of the tokens are in the prompt now; the others were taken back. */
  at: number;
  /** Their ids, and what each added to the text. */
  tokens: [id: number, text: string][];
}

const text = ({ start, tokens, at }: Drawn): string =>
  start +
  tokens
    .slice(0, at)
    .map(([, added]) => added)
    .join("");

class Sampler {
  /** The settings in use: those of the URL, else those the trace was recorded with, else none. */
  draft = $derived.by((): Draft => {
    const found: Draft = { ...UNCHANGED, seed: 0, u: null };
    const { index: _, ...recorded } = session.about?.sampling ?? { index: 0 };
    return Object.assign(found, recorded, checked(route.json("sampling") ?? {}));
  });

  drawn = $derived.by((): Drawn => {
    const given = route.json("drawn");
    const prompt = session.about?.prompt ?? "";
    return isDrawn(given) && text(given) === prompt ? given : { start: prompt, at: 0, tokens: [] };
  });

  /** Whether the URL names drawn tokens that cannot be read. */
  unread = $derived(route.get("drawn") !== undefined && !isDrawn(route.json("drawn")));

  /** The number that chooses: the token's own, unless the reader moved it. */
  u = $derived.by(() => this.draft.u ?? uniform(this.draft.seed, this.drawn.at));

  /** What the server records this choice with. */
  get sampling(): Sampling {
    const { u: _, ...settings } = this.draft;
    return { ...settings, index: this.drawn.at };
  }

  /** Whether the trace holds this very choice as recorded steps. */
  get recorded(): boolean {
    const { about } = session;
    const same = (a: Sampling) =>
      Object.entries(this.sampling).every(([name, value]) => a[name as keyof Sampling] === value);
    return this.draft.u === null && about?.sampling != null && same(about.sampling);
  }

  /** Whether the tokens in the text are those that were drawn; joined, a text can be cut another way. */
  get faithful(): boolean {
    const { at, tokens } = this.drawn;
    const ids = session.about?.ids.slice(-at) ?? [];
    return at === 0 || tokens.slice(0, at).every(([id], i) => ids[i] === id);
  }

  change(part: Partial<Draft>): void {
    route.adjust({ sampling: JSON.stringify({ ...this.draft, ...part }) });
  }

  /** Join a token to the text and go on. */
  take(id: number, token: string): void {
    const apart = session.run?.tokenizer.kind === "words" && !/^\s/.test(token) ? " " : "";
    const { start, at, tokens } = this.drawn;
    this.go({ start, at: at + 1, tokens: [...tokens.slice(0, at), [id, apart + token]] });
  }

  undo(): void {
    this.go({ ...this.drawn, at: this.drawn.at - 1 });
  }

  redo(): void {
    this.go({ ...this.drawn, at: this.drawn.at + 1 });
  }

  private go(drawn: Drawn): void {
    const sampling = JSON.stringify({ ...this.draft, u: null });
    route.go({
      prompt: text(drawn),
      drawn: drawn.tokens.length ? JSON.stringify(drawn) : null,
      sampling,
      draw: null,
      target: null,
      pos: null,
      at: null,
    });
  }
}

function isDrawn(given: unknown): given is Drawn {
  const { start, at, tokens } = (given ?? {}) as Partial<Record<keyof Drawn, unknown>>;
  const isToken = (one: unknown) =>
    Array.isArray(one) && Number.isInteger(one[0]) && typeof one[1] === "string";
  const isCount = (n: number, of: number) => Number.isInteger(n) && n >= 0 && n <= of;
  return (
    typeof start === "string" &&
    Array.isArray(tokens) &&
    tokens.every(isToken) &&
    isCount(at as number, tokens.length)
  );
}

/** What of a hand-written URL can be used. */
function checked(given: Partial<Record<keyof Draft, unknown>>): Partial<Draft> {
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
  return Object.fromEntries(Object.entries(given).filter(good));
}

export const sampler = new Sampler();
