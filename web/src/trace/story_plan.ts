/** The stages of every walk through a model: their words, and the names of the values they are about. */
import type { Task } from "./task";

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
    names: ["embed", "embed_scaled", "embed_normalized", "type_embed", "embed_typed"],
  },
  {
    id: "position",
    act: "Order",
    title: "Where each token stands",
    sentence:
      "Every position has a vector too; it is added, so that the same word at another place is another vector.",
    names: ["pos_embed", "resid_start", "embed_dropped"],
  },
  {
    id: "embed-norm",
    act: "Order",
    title: "Normalization before the first block",
    sentence: "Every vector is brought to the same scale before the first block reads it.",
    names: ["ln_embed.*"],
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
    names: ["attn.q", "attn.k", "attn.v", "attn.lora_Q*", "attn.lora_K*", "attn.lora_V*"],
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
    names: ["attn.scores_raw", "attn.scores_scaled", "attn.attn_scores"],
    faces: ["attn.scores_raw", "attn.scores_scaled", "attn.attn_scores"],
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
    names: ["attn.attn_out*", "attn.lora_O*"],
    faces: ["attn.attn_out"],
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
    names: ["mlp.pre*", "mlp.gate*", "mlp.post*", "mlp.expert_out", "mlp.mlp_out*", "mlp.lora_*"],
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
    id: "masked-head",
    act: "Logits",
    title: "One more layer, for blanks",
    sentence:
      "A matrix, an activation and a norm make of each vector what is compared with every token.",
    names: ["masked_head.*"],
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

/** The look across at the source, between a decoder's own attention and its MLP. */
export const CROSS: Plan[] = [
  {
    id: "norm-cross",
    title: "Normalization before the look across",
    sentence: "",
    names: ["ln_cross.*"],
  },
  {
    id: "cross-qkv",
    title: "Queries of the translation, keys and values of the source",
    sentence:
      "Each token of the translation says what it looks for; each token of the source says what it offers, and what it will hand over.",
    names: ["cross_attn.q", "cross_attn.k", "cross_attn.v"],
    faces: ["cross_attn.q", "cross_attn.k", "cross_attn.v"],
  },
  {
    id: "cross-scores",
    title: "Which token of the source matches?",
    sentence: "Every query of the translation is multiplied with every key of the source.",
    names: ["cross_attn.scores_raw", "cross_attn.attn_scores"],
    faces: ["cross_attn.scores_raw", "cross_attn.attn_scores"],
  },
  {
    id: "cross-softmax",
    title: "The bridge: shares of attention over the source",
    sentence:
      "Every token of the translation splits 100% of its attention among the tokens of the source; none of them is masked.",
    names: ["cross_attn.pattern_*", "cross_attn.pattern"],
  },
  {
    id: "cross-mix",
    title: "Copy information from the source",
    sentence: "Each token collects the values of the source, each times its share of attention.",
    names: ["cross_attn.z", "cross_attn.attn_out*"],
  },
  {
    id: "resid-cross",
    title: "Residual: add what the source gave",
    sentence: "The result is added to the token's vector: now it knows of the source too.",
    names: ["resid_cross"],
  },
];

/** Softmax where each head has a sink. */
export const WITH_SINK = {
  sentence:
    "Each row of scores is exponentiated and divided by its sum, to which the head's own sink adds one more: what the sink takes of a token's attention gives nothing.",
  names: ["attn.pattern*", "attn.scores_max", "attn.sink_exp", "attn.keys_sum"],
  faces: ["attn.pattern"],
};

type Told = Partial<Pick<Plan, "title" | "sentence"> & { act: string }>;

/** What stages are called, and what is said of them, where a model is asked for something else than the next token. */
export const TOLD: Record<Task, Record<string, Told>> = {
  next: {},
  blank: {
    text: {
      title: "It starts with a text that has a blank",
      sentence:
        "This model is given a text in which a token is hidden, and asked one thing: what stands there?",
    },
    mask: {
      title: "Only tokens nearby",
      sentence: "Scores of tokens that are too far away, to either side, become minus infinity.",
    },
    softmax: {
      sentence:
        "Each row of scores is exponentiated and divided by its sum: every token splits 100% of its attention among all tokens, those after it too.",
    },
    probabilities: {
      sentence:
        "Exponentiated and divided by their sum, the logits are probabilities of what stands at each place.",
    },
    choice: {
      act: "The blank",
      title: "One token fills the blank",
      sentence: "The most probable token is taken, or one is drawn by its probability.",
    },
    why: {
      act: "The blank",
      sentence:
        "A logit is a sum: every neuron of the last layer wrote a part of it. What is before that layer goes through its activation, so heads have no part of their own here.",
    },
    loss: {
      title: "The loss: surprise at the hidden token",
      sentence:
        "The right answer is the token that was hidden. Where it had probability p, the loss is -log p: nothing for a sure hit, much for a surprise.",
    },
  },
  translation: {
    text: {
      title: "It starts with a source",
      sentence:
        "This model reads a sentence in one language and writes it in another, one token after the other.",
    },
    ids: {
      act: "Translation",
      title: "What is written so far",
      sentence:
        "The decoder reads the start token and the tokens that are written, and says what comes next.",
    },
    "encoder-softmax": {
      sentence:
        "Each row of scores becomes shares: every token of the source splits 100% of its attention among all of them.",
    },
    choice: {
      sentence:
        "The most probable token is taken, or one is drawn; it is written behind the others, until the end token comes.",
    },
    why: {
      sentence:
        "A logit is a sum: the decoder's embedding, its heads, those that look at the source, and its MLPs wrote a part of it each.",
    },
    loss: {
      title: "The loss: surprise at the right translation",
      sentence:
        "After each token the right one is asked for, at the end the end token. Where it had probability p, the loss is -log p: nothing for a sure hit, much for a surprise.",
    },
  },
};
