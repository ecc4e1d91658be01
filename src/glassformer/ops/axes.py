"""The glossary of axes: every letterless name that a shape, a formula or an address may use.

An address such as ``fwd/blocks.0.attn.pattern[head=1,query=3,key=2]`` uses these words, and so does
every shape comment in the source.
"""

AXES: dict[str, str] = {
    "batch": "one row per text that is read at once",
    "pos": "position of a token in its text, counted from 0",
    "query": "position that looks: the row of an attention map",
    "key": "position that is looked at: the column of an attention map",
    "source_pos": "position of a token in the text that is translated, counted from 0",
    "source_query": "position of the source that looks, in the encoder",
    "source_key": "position of the source that is looked at, in the encoder or from the decoder",
    "bucket": "range of distances from query to key that are treated alike",
    "head": "attention head",
    "kv_head": "head of keys and values, shared by a group of attention heads",
    "d_model": "dimension of the residual stream",
    "d_head": "dimension of one head's queries, keys and values",
    "d_mlp": "neuron of an MLP (feed-forward layer)",
    "d_lora": "dimension between the two matrices of an adapter, as many as its rank",
    "expert": "one of many MLPs, to a few of which each token goes",
    "choice": "place among a token's experts, the best one first",
    "pair": "two replies to the same words, of which one is preferred",
    "reply": "one of a pair's replies: 0 the chosen one, 1 the rejected one",
    "vocab": "entry of the vocabulary, that is, a token id",
    "rank": "place in the list of tokens sorted by probability, most probable first",
    "element": "one number of a weight, whichever axes the weight has",
    "other": "a second entry of the same kind, with which one is compared",
    "rest": "every axis of a weight but d_model, taken together",
}
