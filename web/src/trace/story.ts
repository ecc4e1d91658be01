/** The way of a prompt through the model, in stages; each points at the recorded values it is about. */
import type { TraceNode } from "./node";
import { BACK, BLOCK, CROSS, INTO, OUT, TOLD, WITH_SINK, type Plan } from "./story_plan";
import type { Task } from "./task";
import { blocksOf } from "./towers";
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

/** The scores of a masked attention before its mask. */
const MATCHES = ["attn.scores_raw", "attn.scores_scaled"];

/** The stages of one trace; the middle ones are those of `block`. */
export function stages(trace: Trace, block: number, task: Task): Stage[] {
  return storyOf(trace, block, task).map((stage) => ({
    ...stage,
    ...TOLD[task][stage.id],
  }));
}

function storyOf(trace: Trace, block: number, task: Task): Stage[] {
  const two = task === "translation";
  const forward = trace.ofKind("fwd");
  const ids = trace.nodes.get("token/ids") ?? null;
  const source = two ? trace.node("token/source") : null;
  const result: Stage[] = [
    stage(
      "text",
      "Text",
      "It starts with a text",
      "A language model is given a text and asked one thing: which token comes next?",
      [],
      null,
    ),
    ...(source
      ? [
          stage(
            "source",
            "Source",
            "Every token is a number",
            "The source is cut into tokens, with one that ends it; each is a place in the vocabulary.",
            [source],
            source,
          ),
          ...inTower("encoder", trace, block),
        ]
      : [
          stage(
            "tokens",
            "Tokens",
            "The text is cut into tokens",
            "Tokens are the pieces that the model knows: words, parts of words or single characters.",
            [],
            null,
          ),
        ]),
    stage(
      "ids",
      "Token ids",
      "Every token is a number",
      "The vocabulary is a numbered list of all tokens; from here on the model sees only the numbers.",
      ids ? [ids] : [],
      ids,
    ),
    ...inTower(two ? "decoder" : "", trace, block),
  ];
  const tower = two ? "decoder." : "";
  const blocks = forward.filter(({ address }) =>
    new RegExp(`^fwd/${tower}blocks\\.\\d+\\.resid_post$`).test(address),
  );
  if (blocks.length > 1) {
    const others =
      blocks.length === 2 ? "the other block does" : `the other ${blocks.length - 1} blocks do`;
    const sentence = `This was block ${block}; ${others} the same with weights of their own. Choose one to walk through it.`;
    result.push(
      stage("blocks", "Every block", "The same again in every block", sentence, blocks, null),
    );
  }
  const guess = trace.nodes.get(`fwd/lens.${tower}blocks.${block}.resid_post.best_prob`);
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
  for (const plan of OUT)
    result.push(...planned(plan, plan.act, plan.id === "final-norm" ? tower : "", forward, null));
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
    const table =
      updates.find((node) => node.address === `opt/${tower}embed.W_E`) ?? updates.at(-1)!;
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

/** The way of a text into a tower and through one of its blocks. */
function inTower(tower: string, trace: Trace, block: number): Stage[] {
  const forward = trace.ofKind("fwd");
  const prefix = tower && `${tower}.`;
  const name = tower && `${tower[0].toUpperCase()}${tower.slice(1)}`;
  const last = tower ? blocksOf(trace, tower) - 1 : block;
  const shown = Math.min(block, last); // the other tower may have more
  const scope = `${prefix}blocks.${shown}.`;
  const masked = trace.nodes.get(`fwd/${scope}attn.attn_scores`)?.role === "masked_score";
  const into = INTO.flatMap((plan) => planned(plan, name || plan.act, prefix, forward, null));
  const sinks = trace.nodes.has(`fwd/${scope}attn.sink_exp`);
  const plans = (masked ? BLOCK : BLOCK.filter((plan) => plan.id !== "mask")).map((plan) => {
    if (plan.id === "scores" && masked) return { ...plan, names: MATCHES, faces: MATCHES };
    return plan.id === "softmax" && sinks ? { ...plan, ...WITH_SINK } : plan;
  });
  const act = name ? `${name}, block ${shown}` : `Block ${shown}`;
  const within = [...plans, ...CROSS].flatMap((plan) => planned(plan, act, scope, forward, shown));
  // a norm may stand before its layer or after it
  within.sort((a, b) => forward.indexOf(a.nodes[0]) - forward.indexOf(b.nodes[0]));
  const end = tower === "encoder" ? OUT.slice(0, 1) : [];
  const norm = end.flatMap((plan) => planned(plan, name, prefix, forward, null));
  const result = [...into, ...within, ...norm];
  return tower === "encoder" ? result.map((one) => ({ ...one, id: `encoder-${one.id}` })) : result;
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
  const last = /^fwd\/(\w+\.)?ln_final/.test(nodes[0].address);
  const when = last ? "After the last block" : normPlace(first);
  return `${when} a vector is brought to a standard size: ${how}.`;
}

/** Where a norm stands, by what comes after it. */
function normPlace(next: string): string {
  if (/\.attn\./.test(next)) return "Before attention reads it,";
  if (/\.cross_attn\./.test(next)) return "Before it looks across,";
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
