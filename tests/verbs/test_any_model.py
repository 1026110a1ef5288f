"""`diff` and `inspect` of what no table knows: name by name, in every format, of a directory or of one file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.layouts import huggingface
from ckptconv.stores.tensor import TensorSpec

if TYPE_CHECKING:
    from conftest import Cli

NAMES = {"safetensors": "adapter.safetensors", "hdf5": "own.h5", "msgpack": "own.msgpack"}
TENSORS = {"shared/weight": (5, 3), "block/0/q": (3, 3), "scale": (7,)}


def made(folder: Path, form: str, *, config: bool, change: str = "", dtype: str = "<f4") -> Path:
    """Write some tensors, one of them changed; return the directory, or the file without a config."""
    folder.mkdir()
    if config:
        (folder / "config.json").write_text(json.dumps({"model_type": "rwkv", "d_model": 3}))
    writer = FORMATS[form]
    path = folder / (huggingface.weights_name(writer) if config else NAMES[form])
    rng = np.random.default_rng(1)
    arrays = {name: rng.standard_normal(shape).astype(dtype) for name, shape in TENSORS.items()}
    if change:
        arrays[change][..., -1] += 1
    specs = [
        TensorSpec(name, {"<f4": "float32", "<f2": "float16"}[dtype], a.shape)
        for name, a in arrays.items()
    ]
    assert writer.create
    places = writer.create(path, specs, writer.namings[0], True)
    with path.open("r+b") as file:
        for name, array in arrays.items():
            file.seek(places[name][0].offset)
            file.write(array.tobytes())
    return folder if config else path


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize("form", NAMES)
def test_name_by_name(tmp_path: Path, form: str, config: bool) -> None:
    """What is equal is equal, what differs is named, and a cast is no difference; whatever the model is."""
    first = made(tmp_path / "a", form, config=config)
    twin = made(tmp_path / "b", form, config=config)
    second = made(tmp_path / "c", form, config=config, change="block/0/q")
    half = made(tmp_path / "d", form, config=config, dtype="<f2")
    assert ckptconv.diff(first, twin).matches
    assert ckptconv.diff(first, first).matches
    differing = ckptconv.diff(first, second)
    assert [tensor.key for tensor in differing.worst_first] == ["block/0/q"]
    assert any("by their names alone" in notice for notice in differing.notices)
    assert {tensor.verdict for tensor in ckptconv.diff(first, half).tensors} == {"cast"}
    inspection = ckptconv.inspect(first, stats=True)
    assert {line.spec.name for line in inspection.tensors} == set(TENSORS)
    assert (inspection.kind, inspection.format) == ("other", form)


def test_without_a_table_names_of_two_frameworks_mean_nothing(tmp_path: Path) -> None:
    """What cannot be matched is refused."""
    first = made(tmp_path / "a", "hdf5", config=True)
    second = made(tmp_path / "b", "msgpack", config=True)
    with pytest.raises(SourceError, match="rwkv"):
        ckptconv.diff(first, second)


def test_files_by_themselves(dates: Path, converted_tf: Path, tmp_path: Path, cli: Cli) -> None:
    """A file is told by its content, whatever its name; one of no format is refused with what it is."""
    odd = tmp_path / "weights.backup"
    shutil.copyfile(dates / "model.safetensors", odd)
    outcome = cli("diff", odd, dates / "model.safetensors")
    assert (outcome.code, "EQUAL" in outcome.out) == (0, True)
    assert cli("inspect", converted_tf / "tf_model.h5").code == 0
    text = tmp_path / "notes.txt"
    text.write_text("mine")
    refused = cli("inspect", text)
    assert (refused.code, "a file of no known format" in refused.err) == (3, True)
