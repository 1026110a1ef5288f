"""Checkpoints whose tensors are not the model's numbers are refused in one line; `inspect` and `diff` show them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.stores.checkpoint import read_weights

if TYPE_CHECKING:
    from conftest import Pair


def test_quantised(pair: Pair, tmp_path: Path) -> None:
    """What says that it is quantised is refused by its method's name, whatever its tensors look like."""
    pair.config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    source = pair.write(tmp_path / "a")
    for verb in (ckptconv.normalize, ckptconv.pt2tf, ckptconv.pt2flax, ckptconv.split):
        with pytest.raises(SourceError) as refusal:
            verb(source, tmp_path / "b")
        assert len(str(refusal.value).splitlines()) == 1
        assert "quantised ('bitsandbytes')" in str(refusal.value)
    assert any("quantised" in notice for notice in ckptconv.inspect(source).reading)
    assert ckptconv.diff(source, source).matches


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_part_is_quantised(pair: Pair, tmp_path: Path, part: str) -> None:
    """`split` would write the key where the part's own class reads it, so it counts in a part as well."""
    pair.config[part]["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    with pytest.raises(SourceError, match=r"quantised \('gptq'\)"):
        ckptconv.split(pair.write(tmp_path / "a"), tmp_path / "b")


@pytest.mark.parametrize("name", ["weight", "qweight", "weight_scale"])
def test_quantised_without_a_word(pair: Pair, tmp_path: Path, name: str) -> None:
    """Where the config does not say it, the names of the codes do, or the bytes in place of a weight."""
    query = "encoder.encoder.layer.0.attention.self.query"
    values = pair.arrays.pop(f"{query}.weight")
    pair.arrays[f"{query}.{name}"] = values.astype(np.int8)
    source = pair.write(tmp_path / "a")
    with pytest.raises(SourceError, match=f"quantised: '{query}.{name}' are codes") as refusal:
        ckptconv.normalize(source, tmp_path / "b")
    assert len(str(refusal.value).splitlines()) == 1
    assert any("quantised" in notice for notice in ckptconv.inspect(source).reading)


def test_emptied(pair: Pair, tmp_path: Path) -> None:
    """Tensors of no elements are what ZeRO-3 leaves: one line with their number, not one for each."""
    pair.arrays = {name: np.zeros(0, np.float32) for name in pair.arrays}
    source = pair.write(tmp_path / "a")
    with pytest.raises(SourceError) as refusal:
        ckptconv.normalize(source, tmp_path / "b")
    assert len(str(refusal.value).splitlines()) == 1
    assert f"{len(pair.arrays)} of {len(pair.arrays)} tensors are empty" in str(refusal.value)
    assert "ZeRO-3" in str(refusal.value)


@pytest.mark.thorough
def test_shards_are_linear(tmp_path: Path) -> None:
    """Eight thousand empty shards are refused in the CPU time of a few thousand reads, not of its square."""
    (tmp_path / "config.json").write_text("{}")
    names = [f"model-{number:05d}-of-08000.safetensors" for number in range(1, 8001)]
    for name in names:
        (tmp_path / name).touch()
    index = {"weight_map": {f"t{number}": name for number, name in enumerate(names)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    start = time.process_time()
    with pytest.raises(SourceError, match="found an empty file"):
        read_weights(tmp_path)
    assert time.process_time() - start < 3
