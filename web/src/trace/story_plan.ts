/** The stages of every walk through a model: their words, and the names of the values they are about. */

export interface Plan {
  id: string;
  title: string;
  sentence: string;
  /** Names that belong here; the last one that exists is the stage's main value unless `faces` names some. */
  names: string[];
  faces?: string[];
}

export const INTO: (Plan & { act: string })[] = [
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

export const BLOCK: Plan[] = [
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

export const OUT: (Plan & { act: string })[] = [
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

export const BACK: (Plan & { act: string })[] = [
  {
    id: "loss",
    act: "How wrong?",
    title: "The loss: surprise at what really came",
    sentence:
      "Now the text is the exam: after each token the right answer is the one that really came. Where it had probability p, the loss is -log p: nothing for a sure hit, much for a surprise.",
    names: ["log_partition", "target_logit", "token_loss", "loss"],
  },
];
