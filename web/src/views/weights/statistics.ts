/** What the page itself counts over the recorded numbers of one value. */
import type { Counts } from "../../api";

const BINS = 41; // odd: zero lies in the middle of one

/** Mean, spread, the largest number, and a histogram symmetric about zero; numbers that are not finite are left out. */
export function statistics(values: Float64Array): Counts {
  const finite = values.filter(Number.isFinite);
  const n = Math.max(finite.length, 1);
  const mean = finite.reduce((sum, value) => sum + value, 0) / n;
  const spread = Math.sqrt(finite.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n);
  const reach = finite.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const width = (2 * reach || 1) / BINS;
  const bins = Array.from({ length: BINS }, (_, k) => ({
    from: (k - BINS / 2) * width,
    to: (k + 1 - BINS / 2) * width,
    count: 0,
  }));
  let largest = 0;
  values.forEach((value, i) => {
    if (!Number.isFinite(value)) return;
    bins[Math.min(Math.floor(value / width + BINS / 2), BINS - 1)].count++;
    if (!(Math.abs(value) <= Math.abs(values[largest]))) largest = i;
  });
  return { mean, spread, largest, finite: finite.length, bins };
}
