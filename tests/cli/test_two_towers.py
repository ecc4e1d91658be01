"""Commands on an encoder-decoder: each works, or says in one line why not."""

import json
import re
from typing import Any

import pytest
import torch

import glassformer as gf
from glassformer.training.translation import translated

SENTENCES = ["the cat sleeps .", "le chat dort ."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two towers with random weights that know a few words, as a folder."""
    tokenizer = gf.Tokenizer.of_sentences(SENTENCES)
    tower = gf.Config(
        vocab_size=tokenizer.vocab_size, n_ctx=9, d_model=8, n_layers=2, n_heads=2, init_std=0.5
    )
    decoder = tower.replace(head_bias=True)
    config = gf.TowersConfig(encoder=tower.replace(causal=False), decoder=decoder, start_id=1)
    model = gf.EncoderDecoder(config, torch.Generator().manual_seed(3))
    path = tmp_path_factory.mktemp("towers")
    gf.save(model, tokenizer, path)
    return str(path)


def opened(folder: str) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The model, what its decoder reads and is asked, and the source."""
    model, tokenizer = gf.load(folder)
    assert isinstance(model, gf.EncoderDecoder)
    assert tokenizer is not None
    ids, targets, source = translated(model, tokenizer, "the cat sleeps")
    return model, ids, targets, source


def test_ask_answers_with_what_is_written_for_the_text(folder, glassformer):
    model, tokenizer = gf.load(folder)
    assert tokenizer is not None
    source = [tokenizer.encode_source("the cat sleeps")]
    ends = () if tokenizer.eos_id is None else (tokenizer.eos_id,)
    expected = list(gf.generate(model, source=source, temperature=0, stop_ids=ends))
    printed = json.loads(glassformer("ask", folder, "the cat sleeps", "--json").stdout)
    assert [token["id"] for token in printed["tokens"]] == expected
    assert [token["id"] for token in printed["source_tokens"]] == source[0]
    assert [token["token"] for token in printed["prompt_tokens"]] == ["<s>"]
    assert "Token 1, after <s>:" in glassformer("ask", folder, "the cat sleeps", "--table").stdout
    written = glassformer("ask", folder, "the cat sleeps").stdout
    assert written.strip() == tokenizer.decode(expected).strip()


@pytest.mark.parametrize(
    ("command", "edit"),
    [
        (("ablate", "--head", "1.1"), {"decoder.blocks.1.attn.z[head=1]": 0.0}),
        (("ablate", "--head", "encoder.0.1"), {"encoder.blocks.0.attn.z[head=1]": 0.0}),
        (("ablate", "--neuron", "encoder.1.3"), {"encoder.blocks.1.mlp.post[d_mlp=3]": 0.0}),
        (
            ("ablate", "--layer", "0", "--cross", "1.0"),
            {
                "decoder.blocks.0.attn.attn_out": 0.0,
                "decoder.blocks.0.cross_attn.attn_out": 0.0,
                "decoder.blocks.0.mlp.mlp_out": 0.0,
                "decoder.blocks.1.cross_attn.z[head=0]": 0.0,
            },
        ),
        (
            ("edit", "encoder.blocks.0.attn.pattern[head=1,source_query=0,source_key=2]=0.5"),
            {"encoder.blocks.0.attn.pattern[head=1,source_query=0,source_key=2]": 0.5},
        ),
        (("edit", "weight/unembed.b_U[vocab=4]=3"), {"weight/unembed.b_U[vocab=4]": 3.0}),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_change_in_either_tower_says_what_becomes_of_every_written_word(
    folder, glassformer, command, edit
):
    name, *options = command
    printed = json.loads(
        glassformer("lab", name, folder, "the cat sleeps", *options, "--json").stdout
    )
    model, ids, targets, source = opened(folder)
    before = model.watch(ids, source=source)["probs"]
    after = model.watch(ids, source=source, edit=edit)["probs"]
    asked = targets[0].tolist()
    assert len(printed["written"]) == len(asked)
    assert not torch.equal(before, after)
    for pos, word in enumerate(printed["written"]):
        assert word["before"] == before[pos, asked[pos]].item()
        assert word["after"] == after[pos, asked[pos]].item()


def test_what_another_source_made_of_a_word_is_put_into_this_one(folder, glassformer):
    address = "encoder.blocks.1.resid_post[source_pos=1]"
    command = ("lab", "patch", folder, "the cat sleeps", address, "--from", "the . sleeps")
    answer = json.loads(glassformer(*command, "--json").stdout)
    model, ids, targets, source = opened(folder)
    value = model.watch([[1]], source="the . sleeps")[address]
    after = model.watch(ids, source=source, edit={address: value})["probs"]
    probabilities = [word["after"] for word in answer["written"]]
    assert probabilities == [
        after[pos, token].item() for pos, token in enumerate(targets[0].tolist())
    ]
    printed = glassformer(*command).stdout
    assert "It reads: the cat sleeps </s>" in printed
    assert "8 numbers of the other text" in printed


def test_readings_of_the_decoders_stream_end_in_what_it_writes(folder, glassformer):
    printed = json.loads(glassformer("lab", "lens", folder, "the cat sleeps", "--json").stdout)
    names = [point["point"] for point in printed["points"]]
    assert names == [
        f"decoder.blocks.{at}" for at in ("0.resid_pre", "0.resid_post", "1.resid_post")
    ]
    model, ids, _, source = opened(folder)
    probs = model.watch(ids, source=source)["probs"]
    best = printed["points"][-1]["best"]
    assert [after[0]["prob"] for after in best] == pytest.approx(probs.max(-1).values.tolist())
    assert "layer 1" in glassformer("lab", "lens", folder, "the cat sleeps").stdout
    address = "lens.decoder.blocks.0.resid_post.probs[pos=0,vocab=3]"
    assert json.loads(glassformer("explain", folder, "the cat sleeps", address, "--json").stdout)[
        "agrees"
    ]


def test_a_step_learns_the_translation_that_is_given(folder, glassformer, tmp_path):
    command = ("step", folder, "the cat sleeps", "--reply", "le chat dort")
    answer = json.loads(glassformer(*command, "--json").stdout)
    assert answer["source"] == ["the", "cat", "sleeps", "</s>"]
    assert [token["token"] for token in answer["tokens"]] == ["<s>", "le", "chat", "dort"]
    assert [asked["target"]["token"] for asked in answer["asked"]] == ["le", "chat", "dort", "</s>"]
    assert answer["loss_after"] < answer["loss_before"]
    printed = glassformer(*command).stdout
    assert "It reads: the cat sleeps </s>" in printed
    [address] = re.findall(r"--reply 'le chat dort'|'(opt/[^']+)'", printed)[:1]
    shown = glassformer("explain", *command[1:3], address, *command[3:], "--json")
    assert json.loads(shown.stdout)["agrees"]
    learned = glassformer(*command, "--steps", "2", "--out", str(tmp_path)).stdout
    assert learned.endswith(f"glassformer ask {tmp_path} 'the cat sleeps'\n")


def test_shares_of_a_logit_with_those_of_cross_attention_add_up_to_it(folder, glassformer):
    printed = json.loads(
        glassformer("lab", "attribution", folder, "the cat sleeps", "--json").stdout
    )
    parts = [share["part"] for share in printed["shares"]]
    assert {"layer 0 head 1", "layer 1 cross-head 0", "layer 1 MLP"} <= {*parts}
    size = 1 + sum(abs(share["logits"]) for share in printed["shares"])
    assert abs(printed["total"] - printed["logit"]) < 1e-5 * size  # float32's digits


def test_neighbors_and_the_way_to_the_first_word_are_shown(folder, glassformer):
    printed = glassformer("lab", "neighbors", folder, "cat").stdout
    assert (
        "weight/decoder.embed.W_E[vocab=" in printed or "weight/encoder.embed.W_E[vocab=" in printed
    )
    shown = glassformer("ask", folder, "the cat sleeps", "--show").stdout
    for title in (
        *("TOKENIZATION of the source", "ENCODER LAYER 0", "TOKENIZATION of the translation"),
        *("DECODER LAYER 1", "Cross-attention weights", "OUTPUT HEAD", "Predicted next token"),
    ):
        assert title in shown, title


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("lab", "in-context", "RUN"), "two towers read one source and no examples"),
        (("lab", "ablate", "RUN", "the cat", "--head", "0.0", "--target", "cat"), "every written"),
        (("lab", "ablate", "RUN", "the cat"), "--head encoder.0.1"),
        (("lab", "ablate", "RUN", "the cat", "--expert", "0.0"), "no experts"),
        (("lab", "ablate", "RUN", "the cat", "--head", "encoder.7.0"), "layers go from 0 to 1"),
        (("ask", "RUN", "the cat", "--weights", "int8"), "two towers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_of_one_tower_alone_is_refused_in_one_line(folder, glassformer, command, said):
    shown = glassformer(*(folder if part == "RUN" else part for part in command))
    assert shown.code == 2
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr
