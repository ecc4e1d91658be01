/** A relative change in words: 12 %, or what it is when there is nothing to relate it to. */
export function share(relative: number): string {
  if (relative === 0) return "unchanged";
  if (!Number.isFinite(relative)) return "was all zero";
  const percent = relative * 100;
  return percent < 0.01 ? "< 0.01 %" : `${percent.toPrecision(percent < 1 ? 1 : 2).replace(/e\+\d+/, "")} %`;
}
