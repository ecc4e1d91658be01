/** The head that is looked at closely: the one that mattered most to an answer. */
import type { RunInfo } from "../../api";
import type { Opened } from "../../source";
import { attributed } from "../../state/attributed";
import { keyShares, refusal } from "../../trace/attribution";
import { partAt } from "../../trace/part";
import { blocksOf } from "../../trace/towers";
import type { Trace } from "../../trace/trace";
import { rowOf } from "./strips";

/** The attention of a block that is shown: to the source, where it has one. */
export const attentionOf = (trace: Trace, scope: string, block: number): string => {
  const at = `fwd/${scope}blocks.${block}`;
  return trace.has(`${at}.cross_attn.pattern`) ? `${at}.cross_attn` : `${at}.attn`;
};

export interface Chosen {
  /** How its values begin. */
  attention: string;
  block: number;
  head: number;
  /** What it wrote towards the answer, in logits; null where logits can't be split by heads. */
  wrote: number | null;
  /** The same by the tokens that it looked at; empty where it can't be split. */
  keys: number[];
}

/** The head that wrote most towards the answer, of those that look at the source where there is one; where logits can't be split by heads, the one that looks most at one other token. */
export async function chooseHead(
  opened: Opened,
  run: RunInfo,
  { pos, token, scope, two }: { pos: number; token: number; scope: string; two: boolean },
): Promise<Chosen> {
  const { trace } = opened;
  if (!refusal(trace, run.config)) {
    const { shares } = await attributed(opened, run, token, pos);
    const heads = shares
      .map(({ address, logits }) => ({ ...partAt(address), logits }))
      .filter(({ kind, crosses }) => kind === "head" && crosses === two);
    if (heads.length) {
      const best = heads.reduce((one, other) => (other.logits > one.logits ? other : one));
      const [block, head] = [best.block!, best.head!];
      const at = { attention: attentionOf(trace, scope, block), block, head };
      const keys = await keyShares(trace, run.config, { token, pos }, at);
      return { ...at, wrote: best.logits, keys };
    }
  }
  let best = { attention: "", block: 0, head: 0, share: -1 };
  for (let block = 0; block < blocksOf(trace, scope.slice(0, -1)); block++) {
    const attention = attentionOf(trace, scope, block);
    const node = trace.node(`${attention}.pattern`);
    for (let head = 0; head < node.shape[1]; head++) {
      const row = await rowOf(trace, node, head, pos);
      const share = Math.max(...row.filter((_, key) => two || key !== pos), -1);
      if (share > best.share) best = { attention, block, head, share };
    }
  }
  return { ...best, wrote: null, keys: [] };
}
