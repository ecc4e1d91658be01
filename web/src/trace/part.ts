/** The parts of a model that write to the residual stream: which of them an address is of, and what it is called. */
import { parse } from "./address";
import { blockOf } from "./story";

type PartKind = "embedding" | "position" | "head" | "mlp" | "neuron" | "bias";

/** Which part wrote to an address; `neuron`: of a masked head. */
export interface Part {
  kind: PartKind;
  block: number | null;
  head: number | null;
  /** Whether it is a head of cross-attention. */
  crosses: boolean;
}

/** Which part wrote what stands at an address. */
export function partAt(address: string): Part {
  const { path, index } = parse(address);
  const of = (kind: PartKind, head: number | null = null): Part => ({
    kind,
    block: blockOf(path),
    head,
    crosses: path.endsWith(".cross_attn.z"),
  });
  if (path.startsWith("weight/")) return of("bias");
  if (path.endsWith("attn.z")) return of("head", index.head);
  if (path.endsWith(".mlp_out")) return of("mlp");
  if (path === "fwd/masked_head.post") return of("neuron");
  return of(path.endsWith("pos_embed") ? "position" : "embedding");
}

/** The part that wrote what stands at an address, in words. */
export function partName(address: string): string {
  const { kind, block, head, crosses } = partAt(address);
  if (kind === "head")
    return crosses
      ? `head ${head} of cross-attention in block ${block}`
      : `head ${head} of block ${block}`;
  if (kind === "mlp") return `the MLP of block ${block}`;
  if (kind === "neuron") return `neuron ${parse(address).index.d_mlp} of the masked head`;
  return kind === "position" ? "the position" : kind === "bias" ? "a bias" : "the embedding";
}
