/** An encoder-decoder's trace: which it is, and what its two towers are called. */
import type { Trace } from "./trace";

export const SPINES = [
  { tower: "encoder", axis: "source_pos", does: "reads the source" },
  { tower: "decoder", axis: "pos", does: "writes the translation" },
] as const;

export const hasTowers = (trace: Trace): boolean =>
  trace.has("fwd/decoder.blocks.0.cross_attn.pattern");

export const blocksOf = (trace: Trace, tower: string): number =>
  trace
    .ofKind("fwd")
    .filter(
      ({ address }) =>
        address.startsWith(`fwd/${tower}.blocks.`) && address.endsWith(".resid_post"),
    ).length;
