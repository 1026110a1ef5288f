"""`join` takes every class in which a family is published, and keeps what the real loaders keep of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import ckptconv
from ckptconv import PlanError
from published import classes, loaded, save
from tiny import decoders, encoders

if TYPE_CHECKING:
    from conftest import Counted

EVERY = bool(os.environ.get("CKPTCONV_SEEDS"))
"""Set by `make soak`: every head of every encoder, too."""
FEWER = (
    "Model",
    "ForCausalLM",
    "LMHeadModel",
    "ForMaskedLM",
    "ForPreTraining",
    "ForConditionalGeneration",
)
"""Ends of the names of encoders' classes that are tried otherwise: a base model, and those that are pre-trained."""
NO_ENCODER = {
    "FunnelForSequenceClassification": "it has no decoder layers, and `FunnelModel` would draw them anew",
    "FunnelForMultipleChoice": "the same",
}
"""Classes that lack layers of the encoder."""
SHARED = {"model.shared.weight", "shared.weight"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the model on the other side."""
    return save("BertModel", "bert", tmp_path_factory.mktemp("bert"))


def joined(bert: Path, model: Path, role: str, out: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Join a model with the other side, and return the tensors that were written."""
    parts = {"encoder": bert, "decoder": bert, role: model}
    ckptconv.join(parts["encoder"], parts["decoder"], out)
    return load_file(out / "model.safetensors")


def cases(role: str) -> list[tuple[str, str]]:
    """Return family and class of what is tried in a role."""
    families = decoders() if role == "decoder" else encoders()
    result = [(family, name) for family in families for name in classes(family)]
    return [
        (family, name)
        for family, name in result
        if role == "decoder" or EVERY or name.endswith(FEWER)
    ]


@pytest.mark.frameworks
@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_every_class(bert: Path, tmp_path: Path, counted: Counted, role: str) -> None:
    """What the loader of the role would keep of a class, `join` writes, bit for bit; what it drops has no place."""
    wrong = []
    for family, name in cases(role):
        model = save(name, family, tmp_path / name)
        if role == "encoder" and name in NO_ENCODER:
            with pytest.raises(PlanError, match=r"missing +encoder\.decoder\.layers\.0"):
                joined(bert, model, role, tmp_path / f"{name}-joined")
            continue
        conversion = joined(bert, model, role, tmp_path / f"{name}-joined")
        expected = dict(loaded(model, role))
        differ = [
            key
            for key in expected.keys() & conversion.keys()
            if not np.array_equal(expected[key], conversion[key])
        ]
        if differ or not expected.keys() & conversion.keys():
            wrong.append((name, differ[:3]))
    assert wrong == []
    counted(f"join takes {len(cases(role))} classes as {role}")


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["BartModel", "BartForConditionalGeneration"])
@pytest.mark.parametrize("safe", [True, False])
def test_the_table_of_a_whole_bart(bert: Path, tmp_path: Path, name: str, safe: bool) -> None:
    """The decoder's words are the model's shared table, which the loader of transformers draws anew."""
    model = save(name, "bart", tmp_path / "bart")
    stored = load_file(model / "model.safetensors")
    (table,) = (array for key, array in stored.items() if key in SHARED)
    if not safe:
        whole = getattr(__import__("transformers"), name).from_pretrained(model)
        whole.save_pretrained(tmp_path / "bin", safe_serialization=False)
        model = tmp_path / "bin"
    conversion = joined(bert, model, "decoder", tmp_path / "out")
    assert np.array_equal(conversion["decoder.model.decoder.embed_tokens.weight"], table)
    assert "decoder.lm_head.weight" not in conversion
    config = __import__("transformers").EncoderDecoderConfig.from_pretrained(tmp_path / "out")
    assert config.decoder.is_encoder_decoder is False
