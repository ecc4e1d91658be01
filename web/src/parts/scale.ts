/** How long the bar of a probability is: as it is, or on a log scale where the reader asks for it. */
import { route } from "../state/route.svelte";

const MOST = 12; // decades

export interface BarScale {
  /** Powers of ten from the shortest bar to 1; 0: the scale is not logarithmic. */
  decades: number;
  share: (p: number) => number;
  summary: string;
}

/** The powers of ten from the least of some probabilities to 1. */
export function decadesOf(probs: number[]): number {
  return Math.min(Math.floor(1 - Math.log10(Math.min(...probs.filter((p) => p > 0)))), MOST);
}

/** The scale for bars of these probabilities. */
export function barScale(probs: number[]): BarScale {
  if (route.get("bars") !== "log")
    return { decades: 0, share: (p) => p, summary: "Bars go from 0 to 100%." };
  const decades = decadesOf(probs);
  return {
    decades,
    share: (p) => Math.max(1 + Math.log10(p) / decades, 0),
    summary: `Bars go from 1e-${decades} to 1 on a log scale, in steps of ten times.`,
  };
}
