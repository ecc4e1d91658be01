/** The card of a number as a picture: address, value, formula, arithmetic, check. */
import type { About } from "../source";
import { full, tone } from "../trace/number";
import { plainText } from "../trace/arithmetic";
import type { Explanation } from "../trace/explain";
import { escaped } from "./download";
import type { Palette } from "./paint";

const [WIDTH, MARGIN] = [760, 32];
const MONO = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace";
const SANS = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";

interface Line {
  text: string;
  size: number;
  color: string;
  mono: boolean;
  weight: number;
  gap: number;
}

/** Words in lines of at most so many letters; a longer word is cut. */
function wrapped(text: string, letters: number): string[] {
  const lines = [""];
  for (let word of text.split(" ")) {
    while (word.length > letters) {
      if (lines.at(-1)) lines.push("");
      lines[lines.length - 1] = word.slice(0, letters);
      word = word.slice(letters);
      lines.push("");
    }
    const joined = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (joined.length > letters) lines.push(word);
    else lines[lines.length - 1] = joined;
  }
  return lines;
}

export function cardSvg(
  explanation: Explanation,
  words: { name: string; tokens: string; summary: string; model: string },
  about: About,
  palette: Palette,
): string {
  const lines: Line[] = [];
  const add = (text: string, look: Partial<Line> = {}) => {
    const one = { size: 15, color: "ink", mono: false, weight: 400, gap: 0, ...look };
    const letters = Math.floor((WIDTH - 2 * MARGIN) / (one.size * (one.mono ? 0.605 : 0.53)));
    wrapped(text, letters).forEach((text, i) => lines.push({ ...one, text, gap: i ? 0 : one.gap }));
  };
  add(words.name, { mono: true, weight: 600 });
  if (words.tokens) add(words.tokens, { color: "quiet" });
  add(explanation.text, {
    size: 38,
    mono: true,
    weight: 600,
    color: tone(explanation.value) || "ink",
    gap: 6,
  });
  add(words.summary, { gap: 4 });
  if (explanation.formula) add(explanation.formula.text, { mono: true, size: 14, gap: 12 });
  if (explanation.line) {
    const { numbers, relation, result } = explanation.line;
    add(`${explanation.symbol} = ${plainText(numbers)}`, { mono: true, size: 14, gap: 10 });
    if (result) add(`${relation} ${result}`, { mono: true, size: 14, weight: 600 });
    add(
      `${explanation.agrees ? "✓ computed again and agrees" : "✗ computed again, it does not agree"}: recorded ${full(explanation.value)}, recomputed ${full(explanation.recomputed)}`,
      { color: explanation.agrees ? "good" : "bad", size: 13, gap: 12 },
    );
  }
  add(`Glassformer · ${words.model} · “${about.prompt}”`, { color: "quiet", size: 13, gap: 14 });

  let y = MARGIN - 6;
  const texts = lines.map(({ text, size, color, mono, weight, gap }) => {
    y += gap + size * 1.4;
    return `<text x="${MARGIN}" y="${y.toFixed(1)}" font-size="${size}" font-weight="${weight}" font-family="${mono ? MONO : SANS}" fill="${palette.color(color)}" xml:space="preserve">${escaped(text)}</text>`;
  });
  const height = Math.ceil(y + MARGIN);
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}">` +
    `<title>${escaped(explanation.address)}</title>` +
    `<rect width="${WIDTH}" height="${height}" rx="14" fill="${palette.color("surface")}" stroke="${palette.color("line")}"/>` +
    `${texts.join("")}</svg>`
  );
}
