/** The way that was walked from number to number: the link holds it, the open number last, so that it can be shared and stepped back. */
import { untrack } from "svelte";
import type { Explanation } from "../trace/explain";
import { kindOf } from "../trace/address";
import { route } from "./route.svelte";

const LONGEST = 60; // steps that a link holds

class Trail {
  /** Addresses in the order in which they were opened; the last one is open now. */
  get steps(): string[] {
    return route.get("trail")?.split(" ").filter(Boolean) ?? [];
  }

  /** An address was opened: by a step on, by a step back, or by a link that knows it already. */
  follow(address: string): void {
    const steps = untrack(() => this.steps);
    if (steps.at(-1) === address) return;
    const at = steps.indexOf(address);
    const walked = at < 0 ? [...steps, address].slice(-LONGEST) : steps.slice(0, at + 1);
    route.adjust({ trail: walked.join(" ") });
  }

  /** At the end of so many steps at once. */
  jump(steps: string[]): void {
    const walked = [...untrack(() => this.steps), ...steps].slice(-LONGEST);
    route.adjust({ at: steps.at(-1)!, trail: walked.join(" ") });
  }
}

export const trail = new Trail();

const MOST = 4096; // operands that are weighed

/** The operand through which most of a number came that leads on towards a token; null at the end of the way. */
export function towardsToken({ groups }: Explanation): string | null {
  let best: { address: string; weight: number } | null = null;
  for (const { path, operands } of groups) {
    const kind = kindOf(path);
    if (kind === "token") return operands.at(0).address;
    if (kind === "weight" || kind === "const") continue;
    for (const { address, value, derivative } of operands.first(MOST)) {
      const weight = Math.abs(value * derivative) || 0; // what is masked or undefined carries nothing
      if (!best || weight > best.weight) best = { address, weight };
    }
  }
  return best?.address ?? null;
}
