"""The random models of `tests/tiny.py`: the same each time, alive in every tensor, and as asked for."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ckptconv.binding.bind import bind_whole
from ckptconv.binding.plan import make_plan
from ckptconv.schema.model import read_model
from ckptconv.stores.checkpoint import open_checkpoint
from tiny import pairs, plain, random_pair


def contents(folder: Path) -> dict[str, bytes]:
    """Return file name -> bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.frameworks
def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    """A seed decides every byte, and another seed gives other weights under the same config."""
    first, again, changed = (
        contents(random_pair(plain("bert"), plain("gpt2"), tmp_path / name, seed=seed))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert [name for name in first if first[name] != changed[name]] == ["model.safetensors"]


@pytest.mark.frameworks
@pytest.mark.soak
@pytest.mark.parametrize(("encoder", "decoder"), pairs())
def test_every_family_makes_a_pair(encoder: str, decoder: str, tmp_path: Path) -> None:
    """What transformers saves has the names and shapes that the tables expect, through a bridge."""
    checkpoint = open_checkpoint(
        random_pair(plain(encoder), plain(decoder), tmp_path / "pair", bridge=True)
    )
    composition = read_model(checkpoint.config)
    plan = make_plan(bind_whole(composition, checkpoint), "pytorch", what="pair")
    assert composition.has_bridge
    assert not [move.target.name for move in plan.moves if move.source is None]


@pytest.mark.frameworks
def test_every_tensor_matters(tmp_path: Path) -> None:
    """One percent on any tensor changes the logits, but for what no answer can depend on."""
    folder = random_pair(plain("bert"), plain("bert") | {"num_hidden_layers": 1}, tmp_path / "pair")
    torch: Any = import_module("torch")
    model: Any = (
        import_module("transformers").EncoderDecoderModel.from_pretrained(folder).eval().double()
    )
    torch.manual_seed(3)
    inputs = {
        "input_ids": torch.randint(5, 50, (2, 9)),
        "decoder_input_ids": torch.randint(5, 50, (2, 7)),
    }
    idle = []
    with torch.inference_mode():
        expected = model(**inputs).logits
        for name, value in model.named_parameters():
            kept = value.clone()
            value.mul_(1 + 0.01 * torch.rand_like(value))
            change = (model(**inputs).logits - expected).abs().max() / expected.abs().max()
            value.copy_(kept)
            if change < 1e-5:
                idle.append(name)
    assert idle == [
        # the same for every key, so softmax takes it away
        "encoder.encoder.layer.0.attention.self.key.bias",
        "encoder.encoder.layer.1.attention.self.key.bias",
        # never read
        "encoder.pooler.dense.weight",
        "encoder.pooler.dense.bias",
        "decoder.bert.encoder.layer.0.attention.self.key.bias",
        "decoder.bert.encoder.layer.0.crossattention.self.key.bias",
    ]


@pytest.mark.frameworks
def test_what_is_asked_for(tmp_path: Path) -> None:
    """Format, dtype, shards, width and settings of the whole are those that the caller named."""
    folder = random_pair(
        plain("bert"),
        plain("bert"),
        tmp_path / "pair",
        safe=False,
        dtype="bfloat16",
        max_shard_size="40KB",
        bridge=True,
        tie_encoder_decoder=False,
    )
    checkpoint = open_checkpoint(folder)
    config = json.loads((folder / "config.json").read_text())
    assert [path.name for path in checkpoint.weights.files] == [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ]
    assert {stored.spec.dtype for stored in checkpoint.weights.tensors.values()} == {"bfloat16"}
    assert checkpoint.weights.tensors["enc_to_dec_proj.weight"].spec.shape == (21, 27)
    assert (config["decoder_start_token_id"], config["eos_token_id"], config["pad_token_id"]) == (
        1,
        2,
        0,
    )
    assert json.loads((folder / "generation_config.json").read_text()) == {
        "decoder_start_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "transformers_version": "4.57.6",
    }
