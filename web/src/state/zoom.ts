/** Zooming between levels of the map: what stands for the same thing before and after glides from place to place. */
import { tick } from "svelte";
import { still } from "./motion";

/** What is to be measured before another place is shown. */
export const leaving = new Set<() => void>();

/** Change the page; within the map, and where the browser can, as a transition. */
export function zoomed(change: () => void): void {
  if (still.matches || !document.startViewTransition) return change();
  const transition = document.startViewTransition(async () => {
    change();
    await tick();
  });
  // one that is overtaken by the next has shown what it should: its change was made
  transition.ready.catch(() => {});
  transition.finished.catch(() => {});
}

/** The name under which a value, or a block, is found again on another level. */
export const zoomName = (address: string): string => `zoom-${address.replace(/[^\w-]/g, "-")}`;
