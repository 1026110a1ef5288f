"""Configs from before transformers 3.1: what they do not say, the weights show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import ckptconv
from ckptconv import SourceError
from covering import covering

if TYPE_CHECKING:
    from conftest import MakePair, Pair

UNSAID = (("add_cross_attention",), ("add_cross_attention", "is_decoder"))
CROSS = ("crossattention", "ln_cross_attn", "encoder_attn")


def aged(pair: Pair, unsaid: tuple[str, ...], model_type: str = "encoder-decoder") -> Pair:
    """Return a pair whose config is as old versions wrote it."""
    decoder = {key: value for key, value in pair.config["decoder"].items() if key not in unsaid}
    config = {**pair.config, "model_type": model_type, "decoder": decoder}
    return type(pair)(config, pair.arrays, pair.files)


def config_of(folder: Path) -> dict[str, Any]:
    """Return a directory's config."""
    return dict(json.loads((folder / "config.json").read_text()))


@pytest.mark.parametrize(
    ("sides", "unsaid", "model_type"),
    covering(["bert bert", "roberta gpt2"], UNSAID, ["encoder-decoder", "encoder_decoder"]),
)
def test_the_weights_show_it(
    make_pair: MakePair, tmp_path: Path, sides: str, unsaid: tuple[str, ...], model_type: str
) -> None:
    """Every verb takes such a checkpoint for what it is, writes the keys, and says so."""
    pair = make_pair(*sides.split())
    today = pair.write(tmp_path / "today")
    old = aged(pair, unsaid, model_type).write(tmp_path / "old")
    result = ckptconv.normalize(old, tmp_path / "again")
    expected = [
        f"{old}: config.json: no decoder.{key}, as in transformers before 3.1;"
        " taken as true, since the weights hold a cross-attention"
        for key in ("is_decoder", "add_cross_attention")
        if key in unsaid
    ]
    assert [notice for notice in result.notices if "before 3.1" in notice] == expected
    assert config_of(tmp_path / "again") == {
        **pair.config,
        "architectures": ["EncoderDecoderModel"],
    }
    arrays = load_file(tmp_path / "again" / "model.safetensors")
    assert all(np.array_equal(arrays[name], pair.arrays[name]) for name in pair.arrays)
    assert ckptconv.verify(today, old, "weights").matches
    assert ckptconv.verify(old, today, "weights").matches
    assert ckptconv.diff(old, today).matches
    assert ckptconv.inspect(old).problems == ()
    ckptconv.split(old, tmp_path / "parts")
    assert config_of(tmp_path / "parts" / "decoder")["add_cross_attention"] is True


@pytest.mark.parametrize("verb", [ckptconv.pt2tf, ckptconv.pt2flax])
def test_conversions(pair: Pair, tmp_path: Path, verb: Any) -> None:
    """What is converted is what today's config would give."""
    verb(pair.write(tmp_path / "today"), tmp_path / "a")
    verb(aged(pair, UNSAID[0]).write(tmp_path / "old"), tmp_path / "b")
    assert config_of(tmp_path / "a") == config_of(tmp_path / "b")
    assert ckptconv.verify(tmp_path / "today", tmp_path / "b", "weights").matches


def test_a_wrapper_hides_nothing(pair: Pair, tmp_path: Path) -> None:
    """The cross-attention is seen below whatever stands before the names."""
    old = aged(pair, UNSAID[0])
    old.arrays = {f"_orig_mod.{name}": array for name, array in pair.arrays.items()}
    assert ckptconv.normalize(old.write(tmp_path / "old"), tmp_path / "out").files


def test_a_decoder_without_cross_attention(pair: Pair, tmp_path: Path) -> None:
    """Where the weights hold none, the config says what is true: these are two models."""
    old = aged(pair, UNSAID[0])
    old.arrays = {
        name: array
        for name, array in pair.arrays.items()
        if not any(part in name for part in CROSS)
    }
    with pytest.raises(SourceError, match=r"`ckptconv join ENCODER DECODER OUT` makes"):
        ckptconv.normalize(old.write(tmp_path / "old"), tmp_path / "out")


def test_a_config_that_says_no(pair: Pair, tmp_path: Path) -> None:
    """What a config denies is not set in its place; the refusal says what to set."""
    pair.config["decoder"]["add_cross_attention"] = False
    with pytest.raises(
        SourceError, match="hold a cross-attention, set 'add_cross_attention' to true"
    ):
        ckptconv.normalize(pair.write(tmp_path / "source"), tmp_path / "out")


def test_the_class_cannot_run_it(pair: Pair, tmp_path: Path) -> None:
    """The outputs of what no class loads whole are not compared; the refusal says how to get there."""
    old = aged(pair, UNSAID[0]).write(tmp_path / "old")
    ckptconv.normalize(old, tmp_path / "new")
    for source, target in ((old, tmp_path / "new"), (tmp_path / "new", old)):
        with pytest.raises(
            SourceError, match="drops the cross-attention, and cannot run"
        ) as refusal:
            ckptconv.verify(source, target)
        assert "`ckptconv normalize`" in str(refusal.value)
