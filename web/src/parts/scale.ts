/** How long the bar of a probability is: as it is, or on a log scale where one token has nearly all. */
import { route } from "../state/route.svelte";

const PEAKED = 0.02; // the bar of a second token below it tells nothing
const MOST = 12; // decades

export interface BarScale {
  /** Powers of ten from the shortest bar to 1; 0: the scale is not logarithmic. */
  decades: number;
  share: (p: number) => number;
  says: string;
}

/** The scale for bars of tokens with these probabilities on each side; the reader's choice goes before the page's. */
export function barScale(...sides: number[][]): BarScale {
  const [, second] = sides[0]
    .map((_, i) => Math.max(...sides.map((probs) => probs[i])))
    .sort((a, b) => b - a);
  const asked = route.get("bars");
  if (asked ? asked !== "log" : !(second < PEAKED))
    return { decades: 0, share: (p) => p, says: "Bars go from 0 to 1." };
  const least = Math.min(...sides.flat().filter((p) => p > 0));
  const decades = Math.min(Math.floor(1 - Math.log10(least)), MOST);
  return {
    decades,
    share: (p) => Math.max(1 + Math.log10(p) / decades, 0),
    says: `Bars go from 1e-${decades} to 1 on a log scale, in steps of ten times.`,
  };
}
