/** The marks in a lesson's text: a word of the glossary, code, or plain words. */
export interface Piece {
  text: string;
  kind: "plain" | "code" | "term";
  /** The word of the glossary that a term is. */
  term?: string;
}

const MARKS = /\[\[([^\]|]+)(?:\|([^\]]+))?\]\]|`([^`]+)`/g;

export function pieces(text: string): Piece[] {
  const result: Piece[] = [];
  let end = 0;
  for (const mark of text.matchAll(MARKS)) {
    if (mark.index > end) result.push({ text: text.slice(end, mark.index), kind: "plain" });
    result.push(
      mark[3] === undefined
        ? { text: mark[2] ?? mark[1], kind: "term", term: mark[1] }
        : { text: mark[3], kind: "code" },
    );
    end = mark.index + mark[0].length;
  }
  if (end < text.length) result.push({ text: text.slice(end), kind: "plain" });
  return result;
}

/** A number as people type it, "0,25", "-1/4" or "12 %"; null where it is none. */
export function readNumber(typed: string): number | null {
  const text = typed.trim().replace("−", "-");
  const scale = text.endsWith("%") ? 0.01 : 1;
  const parts = text.replace(/%$/, "").trim().replace(/,/g, ".").split("/");
  if (parts.length > 2 || parts.some((part) => part.trim() === "")) return null;
  const [over, under = 1] = parts.map(Number);
  const value = (over * scale) / under;
  return Number.isFinite(value) ? value : null;
}
