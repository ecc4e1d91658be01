import type { RunSummary } from "../api";
import { count } from "../trace/number";

/** How far a run came whose recipe plans more steps; "" where none is left. */
export function unfinished({ steps_done, steps_left }: RunSummary): string {
  const done = steps_done ?? 0;
  return steps_left
    ? `unfinished: ${count(done)} of the ${count(done + steps_left)} steps planned`
    : "";
}
