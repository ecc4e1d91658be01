"""The facts of lessons 9 and 10, of the story and of the printed example, by NumPy."""

import math

import numpy as np

from glassformer.course.lessons import lesson_10b_chain as chain
from glassformer.course.spell import visible
from glassformer.model import Config
from tests.course.by_numpy import Array, forward, softmax, unembedded, weights_of
from tests.course.facts import Facts, Share
from tests.course.facts_00_to_08 import Known

BLOCK = "blocks.0."
ATTN = f"{BLOCK}attn."


def strongest(known: Known) -> int:
    """The head whose last token gives the most to one token before it."""
    return int(known.of[f"{ATTN}pattern"][:, -1, :-1].max(-1).argmax())


def facts_9(known: Known) -> Facts:
    of, config, tokens = known.of, known.config, known.tokens
    head, n = strongest(known), len(tokens)
    q, k, v, z = (of[f"{ATTN}{name}"][:, head] for name in "qkvz")
    pattern = of[f"{ATTN}pattern"]
    if config.d_head <= 4:
        a, b = np.round(q[1], 1), np.round(k[0], 1)
    else:
        state = known.room.state("worked_example")
        ids = state.tokenizer.encode("the cat sat on")
        small = forward(state.model.config, weights_of(state.model), ids)
        a, b = (np.round(small[f"{ATTN}{x}"][at, 0], 1) for x, at in (("q", 1), ("k", 0)))
    two = np.round(of[f"{ATTN}scores"][head, 1, :2], 2)
    powers = np.exp(two)
    share = powers[0] / powers.sum()
    p, values = np.round(pattern[head, 1, :2], 2), np.round(v[:2, 0], 2)
    last = pattern[:, -1]
    return Facts(
        tables={
            f"The row of “{tokens[1]}”": [
                [tokens[0], two[0], powers[0], Share(share)],
                [tokens[1], two[1], powers[1], Share(1 - share)],
            ],
            f"What “{tokens[-1]}” looks at most": [
                [f"head {h}", tokens[int(row.argmax())], Share(row.max())]
                for h, row in enumerate(last)
            ],
        },
        pictures={
            f"What “{tokens[-1]}” looks at": pattern[head, -1],
            "Queries": q,
            "Keys": k,
            "Values": v,
            "Scores: each row asks, each column answers": of[f"{ATTN}scores_raw"][head],
            "Who may look at whom": np.tri(n),
            "Attention weights": pattern[head],
            "What each token gets from this head": z,
            f"The heads' mixes of “{tokens[-1]}”, side by side": of[f"{ATTN}z"][-1].reshape(1, -1),
        },
        tasks=[float(a @ b), float(np.tri(n).sum()), share, float(p @ values)],
        numbers=[
            *pattern[head, -1],
            *range(n),
            head,
            *a,
            *b,
            config.d_head,
            math.sqrt(config.d_head),
            n,
            *two,
            share,
            *powers,
            *p,
            *values,
            config.n_heads,
            config.n_heads * config.d_head,
            config.d_model,
        ],
        constants={
            "2017": "Vaswani et al. 2017",
            "2.718": "e, the base of natural logarithms",
            "0": "a share of a masked token; the number of the block",
            "1": "the sum of all shares",
        },
    )


def facts_story(known: Known) -> Facts:
    of, best, tokens = known.of, known.best, known.tokens
    shares = of[f"{ATTN}pattern"][strongest(known), -1]
    logits = of["logits"][-1]
    post = of[f"{BLOCK}mlp.post"][-1]
    two = np.round(np.sort(logits)[-2:], 2)
    chosen = [*best[:5], best[-1]]
    return Facts(
        tables={
            "Bob's list": [[token, str(i)] for token, i in zip(tokens, known.ids, strict=True)],
            "The first 4 numbers now": [
                [token, *row] for token, row in zip(tokens, of["resid_start"][:, :4], strict=True)
            ],
            "The committee's list": [[visible(known.vocabulary[i]), logits[i]] for i in chosen],
        },
        pictures={
            "What Charlie takes out": of["embed"],
            f"Emma's plan for “{tokens[-1]}”": shares,
            "The calculator's list": known.probs[best[:5]],
        },
        tasks=[math.exp(two[1] - two[0])],
        numbers=[
            *known.probs[best[:4]],
            len(tokens),
            len(known.vocabulary),
            *known.ids,
            known.config.d_model,
            strongest(known),
            *shares,
            len(post),
            (post > 0).sum(),
            known.config.n_layers,
            *two,
            two[1] - two[0],
            *range(len(tokens)),
        ],
        constants={
            "4": "numbers of a vector that are shown",
            "5": "the best tokens that are shown",
            **{str(act): "the number of an act" for act in range(1, 9)},
        },
    )


def facts_10(known: Known) -> Facts:
    of, config, tokens = known.of, known.config, known.tokens
    before, out, after = (
        of[f"{BLOCK}{name}"][-1] for name in ("resid_pre", "attn.attn_out", "resid_mid")
    )
    mlp, post = of[f"{BLOCK}mlp.mlp_out"][-1], of[f"{BLOCK}mlp.post"][-1]
    n, right = min(6, len(before)), known.best[0]
    spread = math.sqrt(before.var() + config.norm_eps)
    x, mean, s = (round(number, 2) for number in (before[0], before.mean(), spread))
    a, b = (round(row[1], 2) for row in (before, out))
    busiest = np.argsort(-np.abs(post), kind="stable")[:8]
    norms = []
    for norm_position, who in (("pre", None), ("post", None)):
        model = known.room.variant(norm_position=norm_position).model
        W = weights_of(model)
        share = forward(model.config, W, known.ids)["probs"][-1, right]
        norms.append([norm_position, who, mean_loss(known, model.config, W), Share(share)])
    streams = [of["resid_start"], *(of[f"blocks.{i}.resid_post"] for i in range(config.n_layers))]
    lens = [softmax(unembedded(config, known.W, stream))[-1] for stream in streams]
    mask = np.tri(len(tokens))
    return Facts(
        tables={
            f"“{tokens[-1]}”, before and after attention": [
                ["was there", *before[:n]],
                ["+ attention", *out[:n]],
                ["= now", *after[:n]],
            ],
            "Before and after": [["before", before.mean(), spread], ["after", "0.00", "1.00"]],
            "The same model with either": norms,
            "The guess on the way": [
                [
                    "before block 0" if i == 0 else f"after block {i - 1}",
                    visible(known.vocabulary[int(p.argmax())]),
                    Share(p.max()),
                    Share(p[right]),
                ]
                for i, p in enumerate(lens)
            ],
        },
        pictures={
            f"The busiest neurons at “{tokens[-1]}”": post[busiest],
            "Encoder: who may look at whom": np.ones_like(mask),
            "Decoder: who may look at whom": mask,
        },
        tasks=[a + b, (x - mean) / s],
        numbers=[
            float(np.linalg.norm(out)),
            float(np.linalg.norm(mlp)),
            len(before),
            *range(n + 1),
            a,
            b,
            x,
            mean,
            s,
            len(post),
            *busiest,
            config.n_layers,
            config.d_model,
            config.d_head,
            config.n_heads,
            config.n_ctx,
            config.vocab_size,
        ],
        constants={
            "0": "the number of the block",
            "1": "the number of a vector that is added by hand",
            "6": "a lesson's number",
            "2017": "Vaswani et al. 2017",
            "12": "blocks of GPT-2, Radford et al. 2019",
            "96": "blocks of GPT-3, Brown et al. 2020",
        },
    )


def mean_loss(known: Known, config: Config, W: dict[str, Array]) -> float:
    """The mean surprise at every token of the text that is measured."""
    recipe = known.room.state().recipe
    losses: list[float] = []
    for batch in known.room.data.held_out(recipe.batch_size):
        for ids, targets in zip(batch.ids.tolist(), batch.targets.tolist(), strict=True):
            probs = forward(config, W, ids)["probs"]
            losses += [-math.log(probs[i, t]) for i, t in enumerate(targets) if t >= 0]
    return sum(losses) / len(losses)


def facts_chain(known: Known) -> Facts:
    state = known.room.state("worked_example")
    config, W = state.model.config, weights_of(state.model)
    of = forward(config, W, state.tokenizer.encode(chain.PROMPT))
    vectors = {
        "x": of["resid_start"],
        "attention adds": of[f"{ATTN}attn_out"],
        "after attention": of[f"{BLOCK}resid_mid"],
        "MLP adds": of[f"{BLOCK}mlp.mlp_out"],
        "after the MLP": of[f"{BLOCK}resid_post"],
    }
    computed = {name: matrix[-1] for name, matrix in vectors.items()}
    printed = {name: np.array(row) for name, row in chain.PRINTED.items()}
    x = printed["x"] + printed["attention adds"]
    normed = (x - x.mean()) / np.sqrt(x.var() + config.norm_eps)
    mlp = np.maximum(normed @ W[f"{BLOCK}mlp.W_in"], 0) @ W[f"{BLOCK}mlp.W_out"]
    going_on = {"after attention": x, "MLP adds": mlp, "after the MLP": x + mlp}
    probs = softmax(unembedded(config, W, x + mlp))
    names = {"W_Q": "attn.W_Q", "W_K": "attn.W_K", "W_V": "attn.W_V", "W_O": "attn.W_O"}
    names |= {"W_1": "mlp.W_in", "W_2": "mlp.W_out"}

    def four(row: Array) -> str:
        return "  ".join(f"{number:.2f}" for number in row)

    def said(a: Array, b: Array) -> str:
        # two printed decimals, and a little for the rounding of a half
        return "agrees" if np.abs(a - b).max() <= 0.0051 else "differs"

    return Facts(
        tables={
            "The vector of `on`, stage by stage": [
                [name, four(printed[name]), four(row), said(printed[name], row)]
                for name, row in computed.items()
            ],
            "The chain, continued": [
                [name, four(printed[name]), four(row), said(printed[name], row)]
                for name, row in going_on.items()
            ],
        },
        pictures={
            "The row of each word": W["embed.W_E"],
            "The row of each place": W["pos_embed.W_pos"],
            "What comes next, then": probs,
            **{title: W[f"{BLOCK}{name}"].reshape(4, 4) for title, name in names.items()},
        },
        tasks=[round(computed["attention adds"][0], 2)],
        numbers=[*probs, printed["attention adds"][0]],
    )


FACTS = {
    "9": facts_9,
    "story": facts_story,
    "10": facts_10,
    "chain": facts_chain,
}
