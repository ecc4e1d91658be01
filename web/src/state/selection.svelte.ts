/** What is selected: the token, block and head that every view follows. */
import { stages } from "../trace/story";
import { route } from "./route.svelte";
import { session } from "./session.svelte";

class Selection {
  /** The followed token; the one that is asked about unless another was chosen. */
  get pos(): number {
    return this.index("pos", this.tokens, session.about ? session.asked : 0);
  }

  get block(): number {
    return this.index("block", this.blocks);
  }

  get head(): number {
    return this.index("head", this.heads);
  }

  /** What the URL asks for and there is not, and what is shown instead: a sentence each. */
  get problems(): string[] {
    const asked = [
      ["token", "pos", this.tokens],
      ["block", "block", this.blocks],
      ["head", "head", this.heads],
    ] as const;
    const result = asked.flatMap(([what, field, n]) => {
      const [wanted, shown] = [route.get(field), this[field]];
      if (wanted === undefined || Number(wanted) === shown) return [];
      return `There is no ${what} ${wanted}: ${n > 1 ? `they go from 0 to ${n - 1}. This is` : "the only one is"} ${what} ${shown}.`;
    });
    const [stage, trace] = [route.get("stage"), session.trace];
    const isKnown =
      route.view !== "story" ||
      !stage ||
      !trace ||
      stages(trace, this.block, session.task).some(({ id }) => id === stage);
    return isKnown
      ? result
      : [...result, `There is no stage “${stage}” in this story. This is its beginning.`];
  }

  /** How the names of the blocks begin of the stream that ends in the answer. */
  get stream(): string {
    return session.task === "translation" ? "decoder.blocks" : "blocks";
  }

  /** The attention of a block that says most: to the source, where there is one. */
  get looks(): string {
    return session.task === "translation" ? "cross_attn" : "attn";
  }

  /** The table in which the tokens that are read look up their rows. */
  get table(): string {
    const scope = session.task === "translation" ? "decoder." : "";
    return session.trace?.nodes.get(`fwd/${scope}embed`)?.operands.W_E ?? "weight/embed.W_E";
  }

  get blocks(): number {
    return (
      session.trace
        ?.ofKind("fwd")
        .filter((node) => /^fwd\/(decoder\.)?blocks\.\d+\.resid_post$/.test(node.address)).length ||
      1
    );
  }

  get heads(): number {
    const nodes = session.trace?.nodes;
    const pattern =
      nodes?.get("fwd/blocks.0.attn.pattern") ?? nodes?.get("fwd/decoder.blocks.0.attn.pattern");
    return pattern?.shape[pattern.axes.indexOf("head")] ?? 1;
  }

  private get tokens(): number {
    return session.about?.ids.length ?? 1;
  }

  /** The index that the URL asks for, or the nearest there is. */
  private index(field: "pos" | "block" | "head", n: number, otherwise = 0): number {
    return Math.min(Math.max(Math.trunc(route.number(field, otherwise)), 0), n - 1);
  }
}

export const selection = new Selection();
