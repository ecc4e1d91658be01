/** What a model is asked for: what comes next, what a blank hides, or a translation. */
import { hasTowers } from "./towers";
import { isSpecial, type Trace } from "./trace";

export type Task = "next" | "blank" | "translation";

export const BLANKS = ["[MASK]", "<mask>"];

/** Of a trace and its model's configuration. */
export function taskOf(trace: Trace, config: Record<string, unknown>): Task {
  if (hasTowers(trace)) return "translation";
  return config.causal === false ? "blank" : "next";
}

/** The position whose prediction is looked at: the first blank, else the last token. */
export function askedPlace(tokens: string[]): number {
  const blank = tokens.findIndex((token) => BLANKS.includes(token));
  return blank < 0 ? tokens.length - 1 : blank;
}

/** The text of a translation's tokens: words with spaces between them, but for marks and what an apostrophe ends. */
export function written(tokens: string[], kind: string): string {
  const words = tokens.slice(1).filter((token) => !isSpecial(token));
  return kind === "words"
    ? words.join(" ").replace(/ (?=[.,;:!?])|(?<=\p{L}['’]) /gu, "")
    : words.join("").trim();
}
