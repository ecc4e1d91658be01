/** The way of a prompt through the model, in stages; each points at the recorded values it is about. */
import type { TraceNode } from "./node";
import { BACK, BLOCK, INTO, OUT, type Plan } from "./story_plan";
import type { Trace } from "./trace";

export interface Stage {
  id: string;
  act: string;
  title: string;
  /** One plain sentence. */
  sentence: string;
  /** The value that the stage is about, shown large. */
  main: TraceNode | null;
  /** Values that are its equals, such as keys and values beside queries; `main` is one of them. */
  faces: TraceNode[];
  /** The values on the way there, smallest step first; `main` among them. */
  nodes: TraceNode[];
  block: number | null;
}

/** The stages of one trace; the middle ones are those of `block`. */
export function stages(trace: Trace, block: number): Stage[] {
  const forward = trace.ofKind("fwd");
  const ids = trace.nodes.get("token/ids") ?? null;
  const result: Stage[] = [
    stage(
      "text",
      "Text",
      "It starts with a text",
      "A language model is given a text and asked one thing: which token comes next?",
      [],
      null,
    ),
    stage(
      "tokens",
      "Tokens",
      "The text is cut into tokens",
      "Tokens are the pieces that the model knows: words, parts of words or single characters.",
      [],
      null,
    ),
    stage(
      "ids",
      "Token ids",
      "Every token is a number",
      "The vocabulary is a numbered list of all tokens; from here on the model sees only the numbers.",
      ids ? [ids] : [],
      ids,
    ),
  ];
  for (const plan of INTO) result.push(...planned(plan, plan.act, "", forward, null));
  const within = BLOCK.flatMap((plan) =>
    planned(plan, `Block ${block}`, `blocks.${block}.`, forward, block),
  );
  // a norm may stand before its layer or after it
  result.push(...within.sort((a, b) => forward.indexOf(a.nodes[0]) - forward.indexOf(b.nodes[0])));
  const blocks = forward.filter(({ address }) => /^fwd\/blocks\.\d+\.resid_post$/.test(address));
  if (blocks.length > 1) {
    const others =
      blocks.length === 2 ? "the other block does" : `the other ${blocks.length - 1} blocks do`;
    const sentence = `This was block ${block}; ${others} the same with weights of their own. Choose one to walk through it.`;
    result.push(
      stage("blocks", "Every block", "The same again in every block", sentence, blocks, null),
    );
  }
  const guess = trace.nodes.get(`fwd/lens.blocks.${block}.resid_post.best_prob`);
  if (guess) {
    result.push(
      stage(
        "guess",
        "Block by block",
        "The model's guess at each layer",
        "The last norm and the unembedding, put to the stream before its end, tell what the model would say if it stopped there.",
        [guess],
        guess,
      ),
    );
  }
  for (const plan of OUT) result.push(...planned(plan, plan.act, "", forward, null));
  const chosen = trace.nodes.get("choose/token") ?? null;
  const choice = trace.ofKind("choose");
  if (choice.length) {
    result.push(
      stage(
        "choice",
        "Next token",
        "One token is chosen",
        "The most probable token is taken, or one is drawn by its probability; joined to the text, it starts the same walk again.",
        choice,
        chosen ?? choice.at(-1)!,
      ),
    );
  }
  result.push(
    stage(
      "why",
      "Next token",
      "Why this token?",
      "A logit is a sum: every head, every MLP and the embedding wrote a part of it.",
      [],
      null,
    ),
  );
  for (const plan of BACK) result.push(...planned(plan, plan.act, "", forward, null));
  const gradients = trace.ofKind("bwd");
  if (gradients.length) {
    const logits = trace.nodes.get("bwd/logits") ?? gradients[0];
    result.push(
      stage(
        "gradients",
        "Who is to blame?",
        "The surprise travels back",
        "By the chain rule, every number learns how the loss would change if it were a little larger: its gradient.",
        gradients,
        logits,
      ),
    );
  }
  const updates = trace.ofKind("opt");
  if (updates.length) {
    const table = updates.find((node) => node.address === "opt/embed.W_E") ?? updates.at(-1)!;
    result.push(
      stage(
        "update",
        "Better weights",
        "Every weight takes a small step",
        "The optimizer moves each weight against its gradient, a little: before plus change is after.",
        updates,
        table,
      ),
    );
  }
  return result;
}

const stage = (
  id: string,
  act: string,
  title: string,
  sentence: string,
  nodes: TraceNode[],
  main: TraceNode | null,
): Stage => ({
  id,
  act,
  title,
  sentence,
  nodes,
  main,
  faces: main ? [main] : [],
  block: null,
});

function planned(
  plan: Plan,
  act: string,
  prefix: string,
  forward: TraceNode[],
  block: number | null,
): Stage[] {
  const nodes = plan.names.flatMap((pattern) =>
    forward.filter((node) => fits(node.address, `fwd/${prefix}${pattern}`)),
  );
  const unique = [...new Set(nodes)].sort((a, b) => forward.indexOf(a) - forward.indexOf(b));
  if (!unique.length) return [];
  const named = (plan.faces ?? []).map((name) =>
    unique.find((node) => node.address === `fwd/${prefix}${name}`),
  );
  const faces = named.filter((node) => node !== undefined);
  if (!faces.length) faces.push(unique.at(-1)!);
  const sentence = plan.sentence || normSentence(unique, forward);
  return [
    {
      id: plan.id,
      act,
      title: plan.title,
      sentence,
      nodes: unique,
      main: faces[0],
      faces,
      block,
    },
  ];
}

/** What a norm does, and where: before a layer, after it, or at the end. */
function normSentence(nodes: TraceNode[], forward: TraceNode[]): string {
  const centers = nodes.some(({ address }) => /\.mean$/.test(address));
  const how = centers
    ? "its mean is subtracted and it is divided by its spread"
    : "it is divided by the root of its mean square";
  const first = forward[forward.indexOf(nodes.at(-1)!) + 1]?.address ?? "";
  const last = nodes[0].address.startsWith("fwd/ln_final");
  const when = last ? "After the last block" : normPosition(first);
  return `${when} a vector is brought to a standard size: ${how}.`;
}

/** Where a norm stands, by what comes after it. */
function normPosition(next: string): string {
  if (/\.attn\./.test(next)) return "Before attention reads it,";
  if (/\.mlp\./.test(next)) return "Before the MLP reads it,";
  return /\.resid_/.test(next)
    ? "Before a layer's output is added,"
    : "After a layer has added to it,";
}

const fits = (address: string, pattern: string): boolean =>
  pattern.endsWith("*") ? address.startsWith(pattern.slice(0, -1)) : address === pattern;

/** The number of the block that a value belongs to; null outside the blocks. */
export function blockOf(address: string): number | null {
  const match = /\/(?:.*\.)?blocks\.(\d+)\./.exec(address);
  return match ? Number(match[1]) : null;
}
