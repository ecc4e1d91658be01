"""Compile small models with a backend; print, as JSON, how far they are from eager.

Its argument is the backend.
It runs in a process of its own: the annotations that conftest checks do not go with torch.compile.
"""

import json
import sys

import torch
from torch._dynamo.utils import counters

from glassformer.kernels import cross_entropy
from glassformer.model import Config, Decoder

KINDS = {
    "pre-norm, tied": {},
    "post-norm, sinusoidal": {
        "norm_position": "post",
        "position": "sinusoidal",
        "tied": False,
        "head_bias": True,
        "activation": "silu",
        "norm_bias": False,
        "final_norm": False,
    },
    "the fast recipe's": {
        "position": "rotary",
        "norm": "rms",
        "embed_norm": True,
        "norm_gain": False,
        "norm_bias": False,
        "attn_bias": False,
        "mlp_bias": False,
        "activation": "relu_squared",
        "tied": False,
    },
    "loss in chunks": {},
}


def main(backend: str) -> None:
    torch.set_num_threads(1)
    result = {}
    for name, changes in KINDS.items():
        torch.manual_seed(0)
        config = Config(vocab_size=17, n_ctx=8, d_model=12, n_layers=2, n_heads=3, **changes)
        model = Decoder(config)
        ids, targets = torch.randint(17, (2, 2, 8))
        cross_entropy.CHUNK = 100 if name == "loss in chunks" else 2**24
        torch._dynamo.reset()
        counters.clear()
        compiled = torch.compile(model.loss, fullgraph=True, backend=backend)
        eager_loss, loss = model.loss(ids, targets), compiled(ids, targets)
        graphs, breaks = counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())
        parameters = list(model.parameters())
        eager = torch.autograd.grad(eager_loss, parameters)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            logits = torch.compile(model, fullgraph=True, backend=backend)(ids)
            logits_gap = (logits - model(ids)).abs().max().item()
        result[name] = {
            "graphs": graphs,
            "graph_breaks": breaks,
            "logits_gap": logits_gap,
            "loss_gap": (loss - eager_loss).abs().item(),
            "gradient_gap": max(
                (a - b).abs().max().item() for a, b in zip(eager, gradients, strict=True)
            ),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
