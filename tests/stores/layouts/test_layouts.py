"""Layouts: what weights are called and how they are cut; what `split` wrote is read as one model again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.base.weight_names import FILE_NAMES
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.layouts import LAYOUTS, huggingface
from covering import covering

if TYPE_CHECKING:
    from conftest import MakePair, Pair

PACKAGE = Path(ckptconv.__file__).parent


def test_the_names_of_weights_are_spelt_in_one_place() -> None:
    """No other module of the product has such a name as a value; sentences may name a file."""
    spelt = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for name in FILE_NAMES.values()
        if f'"{name}"' in path.read_text() and "trials" not in path.parts
    }
    assert spelt == {"base/weight_names.py"}


def test_every_format_has_a_name_in_transformers_layout() -> None:
    """Shards and index are spelled as transformers spells them, for every format that there is."""
    assert set(FILE_NAMES) == set(FORMATS)
    form = FORMATS["safetensors"]
    assert (huggingface.index_name(form), huggingface.shard_name(form, 2, 13)) == (
        "model.safetensors.index.json",
        "model-00002-of-00013.safetensors",
    )
    ranked = sorted(LAYOUTS.values(), key=lambda layout: layout.rank)
    assert [layout.name for layout in ranked] == ["huggingface", "split", "artefact"]


@pytest.mark.parametrize(("decoder", "shards"), covering(["bert", "gpt2"], [None, 900]))
def test_the_parts_of_split_are_one_model(
    make_pair: MakePair, tmp_path: Path, decoder: str, shards: int | None
) -> None:
    """What is made of the directory of `split` has the bytes of what is made of the model itself."""
    pair = make_pair("bert", decoder, dec={"n_embd": 5} if decoder == "gpt2" else {})
    source = pair.write(tmp_path / "source")
    options = ckptconv.WriteOptions(max_shard_bytes=shards)
    ckptconv.split(source, tmp_path / "parts", options)
    weights = open_checkpoint(tmp_path / "parts").weights
    assert (weights.layout, set(weights.tensors)) == ("split", set(pair.arrays))
    ckptconv.pt2tf(source, tmp_path / "direct")
    ckptconv.pt2tf(tmp_path / "parts", tmp_path / "parts-tf")
    first, second = (
        {
            path.name: path.read_bytes()
            for path in (tmp_path / name).iterdir()
            if path.name not in ("ckptconv.json", "SHA256SUMS")
        }
        for name in ("direct", "parts-tf")
    )
    assert first == second
    assert ckptconv.check(tmp_path / "parts-tf").whole
    sources = json.loads((tmp_path / "parts-tf" / "ckptconv.json").read_text())["sources"]
    assert {name.split("/")[0] for name in sources["source"]} >= {"encoder", "decoder"}


def test_parts_that_contradict_the_whole(pair: Pair, tmp_path: Path) -> None:
    """A part whose config was changed is no part of that whole any more."""
    ckptconv.split(pair.write(tmp_path / "source"), tmp_path / "parts")
    config = tmp_path / "parts" / "decoder" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "hidden_act": "relu"}))
    with pytest.raises(SourceError) as refusal:
        ckptconv.normalize(tmp_path / "parts", tmp_path / "out")
    assert str(refusal.value) == (
        f"{config}: differs from 'decoder' in {tmp_path / 'parts' / 'config.json'} (hidden_act).\n"
        "`ckptconv join ENCODER DECODER OUT` makes a new model of two parts."
    )


def test_a_file_of_a_part_that_changes_is_noticed(pair: Pair, tmp_path: Path) -> None:
    """The snapshot of a checkpoint in parts covers the folders of its parts."""
    ckptconv.split(pair.write(tmp_path / "source"), tmp_path / "parts")
    checkpoint = open_checkpoint(tmp_path / "parts")
    checkpoint.require_unchanged()
    with (tmp_path / "parts" / "encoder" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(SourceError, match="changed while it was read"):
        checkpoint.require_unchanged()
