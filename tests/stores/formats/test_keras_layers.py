"""Keras files in which layers and tensors are not one to one: read where the class would find them, else refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.stores.checkpoint import open_checkpoint

TREE = dict[str, dict[str, Any]]
"""Layer -> name as it is listed -> values."""


def layers_of(path: Path) -> TREE:
    """Return what a file of Keras holds."""
    with h5py.File(path) as file:
        return {
            layer: {
                name.decode(): file[layer][name][()] for name in file[layer].attrs["weight_names"]
            }
            for layer in map(bytes.decode, file.attrs["layer_names"])
        }


def write(path: Path, tree: TREE) -> None:
    """Write a file as Keras does."""
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.encode() for layer in tree])
        for layer, weights in tree.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name in weights])
            for name, values in weights.items():
                group[name] = values


@pytest.fixture
def tf(converted_tf: Path, tmp_path: Path) -> Path:
    """Return a copy of the trained checkpoint in TF's format."""
    return Path(shutil.copytree(converted_tf, tmp_path / "tf"))


Edit = Callable[[Path, Callable[[TREE], TREE]], None]


def edit(folder: Path, change: Callable[[TREE], TREE]) -> None:
    """Change the layers of a checkpoint's file."""
    path = folder / "tf_model.h5"
    write(path, change(layers_of(path)))


def under(model: str, weights: dict[str, Any], side: str) -> dict[str, Any]:
    """Return a side's weights as a model that was built by itself lists them."""
    return {f"{model}/{name.split('/', 2)[2]}": values for name, values in weights.items()}


@pytest.mark.thorough
def test_two_models_that_were_built_apart(tf: Path, dates: Path, tmp_path: Path) -> None:
    """The one with a cross-attention is the decoder, whichever comes first; and it is said."""
    for number, names in enumerate((("tf_bert_model", "tf_bert_lm_head_model"), ("a", "b"))):
        folder = Path(shutil.copytree(tf, tmp_path / f"tf{number}"))

        def apart(tree: TREE, names: tuple[str, str] = names, number: int = number) -> TREE:
            first = under(names[0], tree["encoder"], "encoder")
            second = under(names[1], tree["decoder"], "decoder")
            both = {names[0]: first, names[1]: second}
            return dict(reversed(both.items())) if number else both

        edit(folder, apart)
        result = ckptconv.tf2pt(folder, tmp_path / f"pt{number}")
        assert any("two models that were built apart" in notice for notice in result.notices)
        assert ckptconv.diff(dates, tmp_path / f"pt{number}").matches


def test_a_tensor_under_two_layers(tf: Path, tmp_path: Path) -> None:
    """Equal bytes are one tensor, wherever the copy stands; other bytes are refused with both paths."""
    name = "encoder/bert/embeddings/word_embeddings/weight:0"
    for first in (True, False):
        folder = Path(shutil.copytree(tf, tmp_path / f"tf{first}"))

        def copied(tree: TREE, first: bool = first) -> TREE:
            (listed,) = (weight for weight in tree["encoder"] if weight.endswith(name))
            copy = {"head": {listed: tree["encoder"][listed]}}
            return {**copy, **tree} if first else {**tree, **copy}

        edit(folder, copied)
        assert ckptconv.diff(folder, tf).matches

        def changed(tree: TREE) -> TREE:
            ((listed, values),) = tree["head"].items()
            return {**tree, "head": {listed: values + np.float32(1)}}

        edit(folder, changed)
        with pytest.raises(SourceError) as refusal:
            open_checkpoint(folder)
        text = str(refusal.value)
        assert "have one name" in text
        for layer in ("encoder", "head"):
            assert f"'{layer}/tf_encoder_decoder_model/{name}'" in text


def moves() -> Iterator[tuple[str, Callable[[TREE], TREE]]]:
    """Return ways to list tensors where TF's class does not look for them."""

    def all_of_decoder(tree: TREE) -> TREE:
        return {"encoder": {**tree["encoder"], **tree["decoder"]}}

    def with_an_empty_layer(tree: TREE) -> TREE:
        return {**all_of_decoder(tree), "decoder": {}}

    def one(tree: TREE) -> TREE:
        name, values = tree["decoder"].popitem()
        return {**tree, "encoder": {**tree["encoder"], name: values}}

    def swapped(tree: TREE) -> TREE:
        name, values = tree["encoder"].popitem()
        return {**tree, "decoder": {name: values, **tree["decoder"]}}

    yield from (
        (change.__name__, change) for change in (all_of_decoder, with_an_empty_layer, one, swapped)
    )


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in moves()])
def test_a_tensor_in_the_list_of_another_layer(tf: Path, change: Callable[[TREE], TREE]) -> None:
    """TF's class would leave it as it was drawn, so no verb takes it."""
    edit(tf, change)
    with pytest.raises(
        SourceError, match=r"in the list of layer '\w+': TF's class looks for it in"
    ):
        open_checkpoint(tf)


def test_a_model_inside_of_another(tf: Path, dates: Path) -> None:
    """A layer that is a whole model lists what it likes: its name stands before its own layers."""

    def wrapped(tree: TREE) -> TREE:
        return {
            "tf_encoder_decoder_model": {
                name: values for weights in tree.values() for name, values in weights.items()
            }
        }

    edit(tf, wrapped)
    assert ckptconv.diff(dates, tf).matches


def test_embeddings_as_before_4_30(tmp_path: Path, make_pair: Any) -> None:
    """GPT-2's words were `weight:0`; both spellings are one tensor."""
    source = make_pair("bert", "gpt2").write(tmp_path / "source")
    ckptconv.pt2tf(source, tmp_path / "tf")

    def old(tree: TREE) -> TREE:
        return {
            layer: {
                name.replace("wte/embeddings:0", "wte/weight:0"): v for name, v in weights.items()
            }
            for layer, weights in tree.items()
        }

    edit(tmp_path / "tf", old)
    assert any(
        "wte/weight:0" in name for name in layers_of(tmp_path / "tf" / "tf_model.h5")["decoder"]
    )
    ckptconv.tf2pt(tmp_path / "tf", tmp_path / "back")
    assert ckptconv.diff(source, tmp_path / "back").matches
    assert (
        json.loads((tmp_path / "back" / "config.json").read_text())["decoder"]["model_type"]
        == "gpt2"
    )
