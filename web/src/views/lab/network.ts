/** The network from the first stream to the loss: what each branch computes, and the stream that it adds to. */
import { attentionsOf } from "../../trace/towers";
import type { Trace } from "../../trace/trace";

export interface Part {
  title: string;
  branch: string[];
  stream: string[];
}

const ATTENTION = ["q", "k", "v", "attn_scores", "pattern", "z", "attn_out"];
const MLP = ["pre", "post", "mlp_out"];

export function network(trace: Trace): Part[] {
  const present = (names: string[]) => names.map((name) => `fwd/${name}`).filter(trace.has);
  const all = attentionsOf(trace);
  const titled = (tower: string, what: string) =>
    tower ? `${tower[0].toUpperCase()}${tower.slice(1)}: ${what.toLowerCase()}` : what;
  const start = (tower: string) => ({
    title: titled(tower, "Embedding"),
    stream: present(["resid_start", "embed"].map((name) => `${tower && `${tower}.`}${name}`)).slice(
      0,
      1,
    ),
    branch: [],
  });
  const layers = all.flatMap(({ block, attention, crosses }, i): Part[] => {
    const [, tower = "", number] = /^(?:(\w+)\.)?blocks\.(\d+)$/.exec(block)!;
    const last = all[i + 1]?.block !== block; // of this block
    const begins = number === "0" && !crosses ? [start(tower)] : [];
    const stream = crosses ? "resid_cross" : "resid_mid";
    return [
      ...begins,
      {
        title: titled(tower, `${crosses ? "Across" : "Attention"} ${number}`),
        branch: present(ATTENTION.map((name) => `${attention}.${name}`)),
        stream: present([`${block}.${stream}`]),
      },
      ...(last
        ? [
            {
              title: tower ? `${titled(tower, "")}MLP ${number}` : `MLP ${number}`,
              branch: present(MLP.map((name) => `${block}.mlp.${name}`)),
              stream: present([`${block}.resid_post`]),
            },
          ]
        : []),
    ];
  });
  const out = ["ln_final.normalized", "logits", "probs", "token_loss", "loss"];
  return [...layers, { title: "Out", branch: present(out), stream: [] }];
}
