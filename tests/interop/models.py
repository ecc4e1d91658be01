"""Small models to write and read, and configurations drawn at random."""

import torch
from hypothesis import strategies as st

from glassformer.interop.settings import ACTIVATIONS as FAMILIAR
from glassformer.model import Config, Decoder
from glassformer.ops import ACTIVATIONS

ODD = Config(vocab_size=97, n_ctx=11, d_model=30, n_layers=3, n_heads=5, d_mlp=44)


def random_model(config: Config, dtype: torch.dtype = torch.float32, seed: int = 0) -> Decoder:
    """A model whose every parameter is random, gains and biases too, so that none is forgotten."""
    generator = torch.Generator().manual_seed(seed)
    model = Decoder(config).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if name.endswith(".w") else 0.0
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(mean + 0.3 * noise)
    return model


def random_ids(config: Config, batch: int = 2, seed: int = 0) -> torch.Tensor:
    """Token ids [batch, pos] that fill the context."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, config.n_ctx), generator=generator)


def same_weights(one: Decoder, other: Decoder) -> bool:
    """Whether two models have the same parameters, bit for bit."""
    ours, theirs = one.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[n], theirs[n]) for n in ours)


@st.composite
def configs(draw: st.DrawFn, as_gpt2: bool = False) -> Config:
    """Any small configuration; with `as_gpt2` one that GPT-2's form expresses."""
    flag = st.booleans()
    activations = sorted({*FAMILIAR.values()} if as_gpt2 else ACTIVATIONS)
    norm_bias = draw(flag)
    n_heads, d_head = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    d_model = n_heads * d_head if as_gpt2 else draw(st.integers(1, 15))
    return Config(
        vocab_size=draw(st.integers(1, 60)),
        n_ctx=draw(st.integers(1, 9)),
        d_model=d_model,
        n_layers=draw(st.integers(1, 3)),
        n_heads=n_heads,
        d_head=d_head,
        d_mlp=draw(st.integers(1, 20)),
        position=draw(st.sampled_from(["learned", "sinusoidal", "none"])),
        norm="layer" if as_gpt2 or norm_bias else draw(st.sampled_from(["layer", "rms"])),
        embed_norm=not as_gpt2 and draw(flag),
        norm_position="pre" if as_gpt2 else draw(st.sampled_from(["pre", "post", "none"])),
        final_norm=as_gpt2 or draw(flag),
        norm_gain=draw(flag),
        norm_bias=norm_bias,
        norm_eps=draw(st.sampled_from([1e-5, 1e-6, 0.1])),
        attn_bias=draw(flag),
        mlp_bias=draw(flag),
        head_bias=not as_gpt2 and draw(flag),
        activation=draw(st.sampled_from(activations)),
        tied=draw(flag),
        dropout=draw(st.sampled_from([0.0, 0.25])),
    )
