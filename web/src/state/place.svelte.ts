/** Where in the story the reader is: which token, block and head are followed. */
import { route } from "./route.svelte";
import { session } from "./session.svelte";

const within = (value: number, n: number) => Math.min(Math.max(value, 0), Math.max(n - 1, 0));

class Place {
  /** The followed token; the last one unless another was chosen. */
  get pos(): number {
    const n = session.about?.ids.length ?? 1;
    return within(route.number("pos", n - 1), n);
  }

  get block(): number {
    return within(route.number("block"), this.blocks);
  }

  get head(): number {
    return within(route.number("head"), this.heads);
  }

  /** What is wrong with the block that the URL asks for, in one sentence. */
  get problem(): string {
    const asked = route.get("block");
    if (asked === undefined || (Number(asked) >= 0 && Number(asked) < this.blocks)) return "";
    return `There is no block ${asked}: they go from 0 to ${this.blocks - 1}. This is block ${this.block}.`;
  }

  get blocks(): number {
    return session.trace?.ofKind("fwd").filter((step) => /^fwd\/blocks\.\d+\.resid_post$/.test(step.address)).length || 1;
  }

  get heads(): number {
    const pattern = session.trace?.steps.get("fwd/blocks.0.attn.pattern");
    return pattern?.shape[pattern.axes.indexOf("head")] ?? 1;
  }
}

export const place = new Place();
