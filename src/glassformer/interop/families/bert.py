"""BERT (Devlin et al. 2019): an encoder that guesses masked tokens, with norms after additions."""

from glassformer.interop.families import _like_bert as usual
from glassformer.interop.family import Family
from glassformer.interop.settings import ACTIVATIONS, Setting

FAMILY = Family(
    model_type="bert",
    title="BERT",
    architecture="BertForMaskedLM",
    settings=usual.settings(
        Setting("hidden_act", "activation", "gelu", values=ACTIVATIONS), 30522, 512, 2
    ),
    choices=usual.CHOICES,
    fixed=usual.FIXED,
    ignored=usual.IGNORED,
    always=(*usual.ALWAYS, ("token_types", 2, (0,))),
    prefix="bert.",
    layers=usual.LAYERS,
    embeddings=usual.EMBEDDINGS,
    block=usual.BLOCK,
    end={},
    head={
        "masked_head.in": "cls.predictions.transform.dense",
        "masked_head.ln": "cls.predictions.transform.LayerNorm",
        "unembed.U": "cls.predictions",
    },
    suffixes={"unembed.U": (".decoder.weight", ".bias")},
    endings=usual.ENDINGS,
    # of the task to say whether two sentences follow on each other, which logits do not depend on
    buffers=r"bert\.(pooler\..*|embeddings\.position_ids)|cls\.(seq_relationship|predictions\.decoder\.bias).*",
    entering="bert.embeddings",
    activation="intermediate",
    rank=30,
)
