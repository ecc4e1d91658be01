/** A relative change in words: 12 %, or what it is when there is nothing to relate it to. */
import { count } from "../../trace/number";
export function share(relative: number): string {
  if (relative === 0) return "unchanged";
  if (!Number.isFinite(relative)) return "was all zero";
  const percent = relative * 100;
  if (percent < 0.01) return "< 0.01%";
  return `${percent < 1 ? percent.toPrecision(1) : percent < 10 ? percent.toFixed(1) : count(Math.round(percent))}%`;
}
