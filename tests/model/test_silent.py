"""Silent costs nothing: it is the same calls as a GPT written plainly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from glassformer.model import Config, Decoder
from tests.model.variety import random_ids, random_model, random_targets

GPT = Config(
    vocab_size=23, n_ctx=9, d_model=12, n_layers=2, n_heads=3, head_bias=True, activation="gelu"
)


def linear(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    flat = x.reshape(-1, x.shape[-1])
    y = flat @ W if b is None else torch.addmm(b, flat, W)
    return y.view(*x.shape[:-1], -1)


def plain_logits(p: dict[str, Tensor], config: Config, ids: Tensor) -> Tensor:
    """A pre-norm GPT with nothing but PyTorch's functions; `p` is a state_dict."""

    def norm(x: Tensor, name: str) -> Tensor:
        w, b = p.get(f"{name}.w"), p.get(f"{name}.b")
        return F.layer_norm(x, (config.d_model,), w, b, config.norm_eps)

    batch, n = ids.shape
    x = F.embedding(ids, p["embed.W_E"]) + F.embedding(torch.arange(n), p["pos_embed.W_pos"])
    for i in range(config.n_layers):
        at = f"blocks.{i}"
        qkv = linear(norm(x, f"{at}.ln1"), p[f"{at}.attn.W_QKV"], p.get(f"{at}.attn.b_QKV"))
        heads = qkv.view(batch, n, 3, config.n_heads, config.d_head)
        q, k, v = (part.transpose(1, 2) for part in heads.unbind(2))
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + linear(z.flatten(2), p[f"{at}.attn.W_O"], p.get(f"{at}.attn.b_O"))
        pre = linear(norm(x, f"{at}.ln2"), p[f"{at}.mlp.W_in"], p.get(f"{at}.mlp.b_in"))
        x = x + linear(F.gelu(pre), p[f"{at}.mlp.W_out"], p.get(f"{at}.mlp.b_out"))
    W_U = p["embed.W_E"].T if config.tied else p["unembed.W_U"]
    return linear(norm(x, "ln_final"), W_U, p.get("unembed.b_U"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize(
    "changes",
    [{}, {"tied": False, "attn_bias": False, "mlp_bias": False, "head_bias": False}],
    ids=["tied, biases", "untied, no biases"],
)
def test_eager_silent_is_bitwise_the_same_calls_written_plainly(changes, dtype):
    config = GPT.replace(**changes)
    model = random_model(config, 1, dtype)
    ids = random_ids(config, 2)
    targets = random_targets(config, 2, ids)
    parameters = {
        name: value.detach().requires_grad_() for name, value in model.state_dict().items()
    }
    logits = plain_logits(parameters, config, ids)
    assert torch.equal(model(ids), logits)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
    ours = model.loss(ids, targets)
    assert torch.equal(ours, loss)
    loss.backward()
    ours.backward()
    assert set(parameters) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        plain = parameters[name].grad
        assert parameter.grad is not None
        assert plain is not None
        assert torch.equal(parameter.grad, plain), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_watched_and_silent_logits_differ_by_rounding_only(dtype):
    model = random_model(GPT, 1, dtype)
    ids = random_ids(GPT, 2)
    silent, watched = model(ids), model.watch(ids)["logits"]
    # two layers of a few hundred roundings each, logits and residuals of size up to 8
    atol = 8 * 300 * torch.finfo(dtype).eps if dtype != torch.bfloat16 else 0.5
    torch.testing.assert_close(silent, watched, rtol=0, atol=atol)


def test_watching_changes_neither_the_model_nor_what_it_computes():
    model = random_model(GPT, 1, torch.float32)
    ids = random_ids(GPT, 2)
    before, state = model(ids), {name: w.clone() for name, w in model.state_dict().items()}
    model.watch(ids, random_targets(GPT, 2, ids))
    assert torch.equal(before, model(ids))
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, state[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())


def compiled(backend: str) -> dict[str, dict[str, float]]:
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run(
        [sys.executable, str(script), backend],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# aot_eager: traced whole, forward and backward, but run by PyTorch's own kernels
@pytest.mark.heavy
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_silent_is_one_graph_and_equal_within_rounding(backend):
    for name, result in compiled(backend).items():
        assert result["graphs"] == 1, name
        assert result["graph_breaks"] == 0, name
        # float32, sums of at most 48 terms in another order, numbers of unit size
        assert result["logits_gap"] < 1e-5, name
        assert result["loss_gap"] < 1e-5, name
        assert result["gradient_gap"] < 1e-5, name


def test_a_model_can_be_made_on_the_meta_device():
    with torch.device("meta"):
        model = Decoder(GPT)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model(torch.zeros(2, 5, dtype=torch.int64, device="meta")).shape == (2, 5, 23)
