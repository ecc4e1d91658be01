/** The way of a prompt through the model, in stages; each points at the recorded values it is about. */
import type { TraceNode } from "./node";
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

interface Plan {
  id: string;
  title: string;
  sentence: string;
  /** Names that belong here; the last one that exists is the stage's main value unless `faces` names some. */
  names: string[];
  faces?: string[];
}

const INTO: (Plan & { act: string })[] = [
  {
    id: "embedding",
    act: "Meaning",
    title: "Each id looks up its row",
    sentence:
      "The embedding table has a row of numbers for every token of the vocabulary; a token's id picks its row.",
    names: ["embed", "embed_scaled", "embed_normalized"],
  },
  {
    id: "position",
    act: "Order",
    title: "Where each token stands",
    sentence:
      "Every position has a vector too; it is added, so that the same word at another place is another vector.",
    names: ["pos_embed", "resid_start", "embed_dropped"],
  },
];

const BLOCK: Plan[] = [
  {
    id: "norm-1",
    title: "Normalization: bring every vector to the same scale",
    sentence: "",
    names: ["ln1.*"],
  },
  {
    id: "qkv",
    title: "Query, key and value",
    sentence:
      "Three weight matrices turn each vector into three: what the token looks for, what it offers to be found by, and what it will hand over.",
    names: ["attn.q", "attn.k", "attn.v"],
    faces: ["attn.q", "attn.k", "attn.v"],
  },
  {
    id: "qk-norm",
    title: "QK-norm: make queries and keys equally long",
    sentence: "Queries and keys are divided by their own size: only their directions are compared.",
    names: ["attn.q_normed*", "attn.k_normed*"],
    faces: ["attn.q_normed", "attn.k_normed"],
  },
  {
    id: "rotary",
    title: "Rotary positions (RoPE): rotate by position",
    sentence:
      "Queries and keys are turned by an angle that grows with the token's place; between two of them only their distance is left.",
    names: ["attn.rot_q*", "attn.rot_k*"],
    faces: ["attn.rot_q", "attn.rot_k"],
  },
  {
    id: "scores",
    title: "How well do they match?",
    sentence:
      "Every query is multiplied with every key, number by number, and the products are added up: a large sum is a good match. Divided by the root of their count, it does not grow with the width of a head.",
    names: ["attn.scores_raw", "attn.scores_scaled"],
    faces: ["attn.scores_raw", "attn.scores_scaled"],
  },
  {
    id: "mask",
    title: "No looking ahead",
    sentence:
      "A token may look at itself and at what came before; scores of later tokens become minus infinity.",
    names: ["attn.attn_scores"],
  },
  {
    id: "softmax",
    title: "Softmax: scores become shares of attention",
    sentence:
      "Each row of scores is exponentiated and divided by its sum: every token splits 100% of its attention among itself and earlier tokens.",
    names: ["attn.pattern_max", "attn.pattern_exp", "attn.pattern_sum", "attn.pattern"],
  },
  {
    id: "mix",
    title: "Copy information from the tokens it attends to",
    sentence:
      "Each token collects the values of the tokens it looks at, each times its share of attention.",
    names: ["attn.z"],
  },
  {
    id: "merge",
    title: "The heads are put together",
    sentence:
      "Every head has its own mix; one more matrix turns them into one vector for the token.",
    names: ["attn.attn_out*"],
  },
  {
    id: "resid-mid",
    title: "Residual: add attention's result to the token",
    sentence:
      "What attention found is added to the token's vector; what was there before stays in the sum.",
    names: ["resid_mid"],
  },
  {
    id: "norm-2",
    title: "Normalization again",
    sentence: "",
    names: ["ln2.*"],
  },
  {
    id: "router",
    title: "A few experts are chosen",
    sentence:
      "A router scores every expert for every token; the token goes to its best ones, each with a weight, and to no other.",
    names: ["mlp.router_*", "mlp.experts", "mlp.expert_weights"],
    faces: ["mlp.router_scores", "mlp.expert_weights"],
  },
  {
    id: "mlp",
    title: "Each token by itself",
    sentence:
      "The MLP (feed-forward network) widens the vector, keeps what passes its activation, and narrows it again; tokens do not meet.",
    names: ["mlp.pre*", "mlp.gate*", "mlp.post*", "mlp.expert_out", "mlp.mlp_out*"],
    faces: ["mlp.pre", "mlp.post", "mlp.mlp_out"],
  },
  {
    id: "resid-post",
    title: "Residual: add the MLP's result too",
    sentence: "What the MLP made is added too; the next block starts from here.",
    names: ["resid_post"],
  },
];

const OUT: (Plan & { act: string })[] = [
  {
    id: "final-norm",
    act: "Logits",
    title: "Final normalization",
    sentence: "",
    names: ["ln_final.*"],
  },
  {
    id: "logits",
    act: "Logits",
    title: "A score for every word",
    sentence:
      "Each vector is multiplied with a column for every token of the vocabulary: one score, a logit, for each.",
    names: ["logits"],
  },
  {
    id: "probabilities",
    act: "Softmax",
    title: "Scores become probabilities",
    sentence:
      "Exponentiated and divided by their sum, the logits are probabilities of what comes next.",
    names: ["logits_max", "logits_exp", "logits_sum", "probs"],
  },
];

const BACK: (Plan & { act: string })[] = [
  {
    id: "loss",
    act: "How wrong?",
    title: "The loss: surprise at what really came",
    sentence:
      "Now the text is the exam: after each token the right answer is the one that really came. Where it had probability p, the loss is -log p: nothing for a sure hit, much for a surprise.",
    names: ["log_partition", "target_logit", "token_loss", "loss"],
  },
];

/** The stages of one trace; the middle ones are those of `block`. */
export function stages(trace: Trace, block: number): Stage[] {
  const forward = trace.ofKind("fwd");
  const ids = trace.nodes.get("token/ids") ?? null;
  const found: Stage[] = [
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
  for (const plan of INTO) found.push(...planned(plan, plan.act, "", forward, null));
  const within = BLOCK.flatMap((plan) =>
    planned(plan, `Block ${block}`, `blocks.${block}.`, forward, block),
  );
  // a norm may stand before its layer or after it
  found.push(...within.sort((a, b) => forward.indexOf(a.nodes[0]) - forward.indexOf(b.nodes[0])));
  const blocks = forward.filter(({ address }) => /^fwd\/blocks\.\d+\.resid_post$/.test(address));
  if (blocks.length > 1) {
    const others =
      blocks.length === 2 ? "the other block does" : `the other ${blocks.length - 1} blocks do`;
    const sentence = `This was block ${block}; ${others} the same with weights of their own. Choose one to walk through it.`;
    found.push(
      stage("blocks", "Every block", "The same again in every block", sentence, blocks, null),
    );
  }
  const guess = trace.nodes.get(`fwd/lens.blocks.${block}.resid_post.best_prob`);
  if (guess) {
    found.push(
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
  for (const plan of OUT) found.push(...planned(plan, plan.act, "", forward, null));
  const chosen = trace.nodes.get("choose/token") ?? null;
  const choice = trace.ofKind("choose");
  if (choice.length) {
    found.push(
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
  found.push(
    stage(
      "why",
      "Next token",
      "Why this token?",
      "A logit is a sum: every head, every MLP and the embedding wrote a part of it.",
      [],
      null,
    ),
  );
  for (const plan of BACK) found.push(...planned(plan, plan.act, "", forward, null));
  const gradients = trace.ofKind("bwd");
  if (gradients.length) {
    const logits = trace.nodes.get("bwd/logits") ?? gradients[0];
    found.push(
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
    found.push(
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
  return found;
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
  const when = last ? "After the last block" : normPlace(first);
  return `${when} a vector is brought to a standard size: ${how}.`;
}

/** Where a norm stands, by what comes after it. */
function normPlace(next: string): string {
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
