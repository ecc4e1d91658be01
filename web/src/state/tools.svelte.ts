/** Whether the controls of those who know their way are out: address, run, ids. */

import { keep, kept } from "./kept";

const KEY = "glassformer-tools";

class Tools {
  open = $state(kept(KEY) === "open");

  flip(): void {
    this.open = !this.open;
    keep(KEY, this.open ? "open" : "");
  }
}

export const tools = new Tools();
