/** The way that was walked from number to number while the inspector was open; a step back cuts it. */
import { untrack } from "svelte";

class Trail {
  /** Addresses in the order in which they were opened; the last one is open now. */
  steps = $state.raw<string[]>([]);

  /** An address was opened, or (null) the inspector was closed. */
  follow(address: string | null): void {
    const before = untrack(() => this.steps);
    if (address === null) this.steps = [];
    else {
      const at = before.indexOf(address);
      this.steps = at < 0 ? [...before, address] : before.slice(0, at + 1);
    }
  }
}

export const trail = new Trail();
