"""RoBERTa (Liu et al. 2019): a BERT with GPT-2's tokens, its first position in row 2."""

from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop.families import _like_bert as usual
from glassformer.interop.family import Family
from glassformer.interop.layouts import rows_in_front
from glassformer.interop.settings import Setting

FRONT = 2  # positions are counted from the padding token's id, which is 1, and one more


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    rows = settings["max_position_embeddings"]
    if rows <= FRONT:
        raise GlassformerError(
            f"max_position_embeddings={rows} must be more than {FRONT}: the first {FRONT} rows are"
            " for padding"
        )
    return {"n_ctx": rows - FRONT}


FAMILY = Family(
    model_type="roberta",
    title="RoBERTa",
    architecture="RobertaForMaskedLM",
    settings=usual.settings(
        Setting("hidden_act", "activation", "gelu", values={"gelu": "gelu"}), 50265, 512, 2
    ),
    choices=usual.CHOICES,
    more=_more,
    write_more=lambda config: {"max_position_embeddings": config.n_ctx + FRONT, "pad_token_id": 1},
    fixed={**usual.FIXED, "pad_token_id": (1,)},
    ignored=usual.IGNORED,
    always=(*usual.ALWAYS, ("token_types", 1, (0,))),
    prefix="roberta.",
    layers=usual.LAYERS,
    embeddings=usual.EMBEDDINGS,
    layouts={"pos_embed.pos": lambda _: rows_in_front(FRONT)},
    block=usual.BLOCK,
    end={},
    head={
        "masked_head.in": "lm_head.dense",
        "masked_head.ln": "lm_head.layer_norm",
        "unembed.U": "lm_head",
    },
    suffixes={"unembed.U": (".decoder.weight", ".bias")},
    endings=usual.ENDINGS,
    buffers=r"roberta\.(pooler\..*|embeddings\.position_ids)|lm_head\.decoder\.bias",
    entering="roberta.embeddings",
    activation="intermediate",
    rank=40,
)
