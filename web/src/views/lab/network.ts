/** The network from the first stream to the loss: what each branch computes, and the stream that it adds to. */
import type { Trace } from "../../trace/trace";

export interface Part {
  title: string;
  branch: string[];
  stream: string[];
}

const ATTENTION = ["q", "k", "v", "attn_scores", "pattern", "z", "attn_out"];
const MLP = ["pre", "post", "mlp_out"];

export function network(trace: Trace, blocks: number): Part[] {
  const there = (names: string[]) => names.map((name) => `fwd/${name}`).filter(trace.has);
  return [
    { title: "Embedding", stream: there(["resid_start", "embed"]).slice(0, 1), branch: [] },
    ...Array.from({ length: blocks }, (_, block) => [
      {
        title: `Attention ${block}`,
        branch: there(ATTENTION.map((name) => `blocks.${block}.attn.${name}`)),
        stream: there([`blocks.${block}.resid_mid`]),
      },
      {
        title: `MLP ${block}`,
        branch: there(MLP.map((name) => `blocks.${block}.mlp.${name}`)),
        stream: there([`blocks.${block}.resid_post`]),
      },
    ]).flat(),
    {
      title: "Out",
      branch: there(["ln_final.normalized", "logits", "probs", "token_loss", "loss"]),
      stream: [],
    },
  ];
}
