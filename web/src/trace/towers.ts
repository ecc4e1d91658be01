/** An encoder-decoder's trace: which it is, and what its two towers are called. */
import type { Trace } from "./trace";

export const SPINES = [
  { tower: "encoder", axis: "source_pos", does: "reads the source" },
  { tower: "decoder", axis: "pos", does: "writes the translation" },
] as const;

export const hasTowers = (trace: Trace): boolean =>
  trace.has("fwd/decoder.blocks.0.cross_attn.pattern");

/** An attention of a trace: whose it is, in words and by name, and how many heads it has. */
interface Attention {
  name: string;
  block: string;
  attention: string;
  heads: number;
  crosses: boolean;
}

/** Every attention in the order in which they are computed. */
export const attentionsOf = (trace: Trace): Attention[] =>
  trace.ofKind("fwd").flatMap(({ address, axes, shape }) => {
    const match = /^fwd\/(((\w+)\.)?blocks\.(\d+))\.((cross_)?attn)\.z$/.exec(address);
    if (!match) return [];
    const [, block, , tower, number, part, crosses] = match;
    const name = `${tower ? `${tower} ` : ""}block ${number}`;
    const heads = shape[axes.indexOf("head")];
    return [{ name, block, attention: `${block}.${part}`, heads, crosses: !!crosses }];
  });

/** How many blocks a tower has; the only one of a model of one tower is "". */
export const blocksOf = (trace: Trace, tower: string): number =>
  trace
    .ofKind("fwd")
    .filter(
      ({ address }) =>
        address.startsWith(`fwd/${tower && `${tower}.`}blocks.`) && address.endsWith(".resid_post"),
    ).length;
