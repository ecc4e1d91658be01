/** The tokens that the playground has drawn after a prompt, as the URL holds them. */
export interface Drawn {
  /** The text before them: that of another prompt has other tokens after it. */
  start: string;
  /** How many of the tokens are in the prompt now; the others were taken back. */
  at: number;
  /** Which of the answer's new tokens the first of them is; below 0 where they begin with its prompt's. */
  first?: number;
  /** What a trace calls their ids: tokens after a text, or a translation of it, whose text stays as it is. */
  of?: "added" | "written";
  /** Their ids, and what each added to the text: nothing where it is part of a character. */
  tokens: [id: number, text: string][];
}

/** The text with the tokens that are in it. */
export const textOf = ({ start, tokens, at, of }: Drawn): string =>
  start + (of === "written" ? "" : addedText({ tokens, at }));

const addedText = ({ tokens, at }: Pick<Drawn, "tokens" | "at">): string =>
  tokens
    .slice(0, at)
    .map(([, added]) => added)
    .join("");

export const idsOf = ({ tokens, at }: Drawn): number[] => tokens.slice(0, at).map(([id]) => id);

export function isDrawn(value: unknown): value is Drawn {
  const { start, at, first, tokens, of } = (value ?? {}) as Partial<Record<keyof Drawn, unknown>>;
  const isToken = (one: unknown) =>
    Array.isArray(one) && Number.isInteger(one[0]) && typeof one[1] === "string";
  const isCount = (n: number, of: number) => Number.isInteger(n) && n >= 0 && n <= of;
  return (
    typeof start === "string" &&
    [undefined, "added", "written"].includes(of as string) &&
    Array.isArray(tokens) &&
    tokens.every(isToken) &&
    isCount(at as number, tokens.length) &&
    (first === undefined ||
      (Number.isSafeInteger(first) && (first as number) + (at as number) >= 0))
  );
}
