"""The index of a sharded checkpoint: what transformers' versions write is read, what does not agree is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.stores.checkpoint import read_weights
from ckptconv.stores.formats import safetensors
from ckptconv.stores.parsers.shard_index import read_index
from ckptconv.stores.tensor import TensorSpec

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def sharded(folder: Path, total: object = None) -> Path:
    """Write two shards with 12 bytes of floats and 8 flags, and an index."""
    for file, spec in (
        (ONE, TensorSpec("a", "float32", (3,))),
        (TWO, TensorSpec("b", "bool", (8,))),
    ):
        safetensors.create(folder / file, [spec], "pytorch", True)
    metadata = {} if total is None else {"total_size": total}
    index = {"metadata": metadata, "weight_map": {"a": ONE, "b": TWO}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("total", [None, 20, 20.0, 13, 13.0])
def test_sizes_that_transformers_writes(tmp_path: Path, total: float | None) -> None:
    """Without a total, with all bytes, and with a flag as an eighth of one (`dtype_byte_size`)."""
    weights = read_weights(sharded(tmp_path, total))
    assert [file.name for file in weights.files] == [ONE, TWO]
    assert {name: one.path.name for name, one in weights.tensors.items()} == {"a": ONE, "b": TWO}


def test_another_size(tmp_path: Path) -> None:
    """A total that no way of counting gives is refused, with both numbers."""
    with pytest.raises(SourceError) as refusal:
        read_weights(sharded(tmp_path, 19))
    assert (
        str(refusal.value)
        == f"{tmp_path}/model.safetensors.index.json: total_size is 19, the shards hold 20 bytes"
    )


def test_what_an_index_says(tmp_path: Path) -> None:
    """Files in order, each once."""
    index = read_index(sharded(tmp_path, 20) / "model.safetensors.index.json")
    assert (index.files, index.weight_map, index.total_size) == (
        (ONE, TWO),
        {"a": ONE, "b": TWO},
        20,
    )


def test_all_problems_with_files_at_once(tmp_path: Path) -> None:
    """A shard that is not there and one that is left over stand in one message."""
    sharded(tmp_path)
    (tmp_path / TWO).rename(tmp_path / "model-00002-of-00003.safetensors")
    with pytest.raises(SourceError) as refusal:
        read_weights(tmp_path)
    assert str(refusal.value) == (
        f"{tmp_path}/model.safetensors.index.json: shards: 2 problems\n"
        f"  missing     {TWO}: the index names this file\n"
        "  unexpected  model-00002-of-00003.safetensors: a shard that the index does not name\n"
        "Fetch or save the checkpoint again."
    )


def test_one_file_comes_before_an_index(tmp_path: Path) -> None:
    """As in transformers: with both there, the single file is the model."""
    sharded(tmp_path)
    safetensors.create(
        tmp_path / "model.safetensors", [TensorSpec("c", "float32", ())], "pytorch", False
    )
    assert list(read_weights(tmp_path).tensors) == ["c"]
