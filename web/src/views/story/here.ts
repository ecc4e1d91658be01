/** What a stage did with this prompt: one sentence with its own numbers. */
import { maxIndex } from "d3-array";
import { line } from "../../trace/slice";
import { chance, number } from "../../trace/number";
import type { Stage } from "../../trace/story";
import type { Trace } from "../../trace/trace";

/** Empty where the stage's own picture says it. `pos`, `head`: what is followed. */
export async function here(
  { id, block, main }: Stage,
  trace: Trace,
  pos: number,
  head: number,
): Promise<string> {
  const word = (at: number) => `“${trace.word("pos", at).trim() || trace.word("pos", at)}”`;
  const scope = main?.address.split("blocks.")[0]; // a tower's, where there are two
  const at = (name: string) => `${scope}blocks.${block}.${name}`;
  if (id === "scores" || id === "softmax") {
    const path = at(id === "scores" ? "attn.attn_scores" : "attn.pattern");
    const row = await line(trace, path, { batch: 0, head, query: pos });
    const [key, value] = [maxIndex(row), Math.max(...row)];
    return id === "scores"
      ? `Here, in head ${head}, the query of ${word(pos)} fits the key of ${word(key)} best: ${number(value, 3)}.`
      : `Here, in head ${head}, ${word(pos)} gives most to ${key === pos ? "itself" : word(key)}: ${chance(value)} of its attention.`;
  }
  const post = trace.nodes.get(at("mlp.post"));
  if (id !== "mlp" || post?.axes.length !== 3) return "";
  const row = await line(trace, post.address, { batch: 0, pos });
  const active = row.filter((value) => value > 0).length;
  const top = maxIndex(row);
  return `Here, for ${word(pos)}, ${active} of ${row.length} neurons are above zero; neuron ${top} is the strongest: ${number(row[top], 3)}.`;
}
