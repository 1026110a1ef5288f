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


@pytest.mark.parametrize("shape", [(0,), (0, 7), (7, 0, 2)])
def test_one_empty_tensor(pair: Pair, tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A tensor without elements among sound ones does not fit; nobody knows who emptied it."""
    name = "encoder.encoder.layer.0.attention.self.query.weight"
    pair.arrays[name] = np.zeros(shape, np.float32)
    source = pair.write(tmp_path / "a")
    with pytest.raises(SourceError, match=rf"{name}: expected \[7, 7\].*, found \[") as refusal:
        ckptconv.normalize(source, tmp_path / "b")
    assert "ZeRO" not in str(refusal.value)


@pytest.mark.parametrize("key", ["hidden_size", "vocab_size", "intermediate_size"])
def test_a_size_of_nothing(pair: Pair, tmp_path: Path, key: str) -> None:
    """A config that really says 0 is refused for that, by the key, and not for what a training framework does."""
    for side in ("encoder", "decoder"):
        pair.config[side][key] = 0
    pair.arrays = {
        name: np.zeros((0,) * array.ndim, np.float32) for name, array in pair.arrays.items()
    }
    source = pair.write(tmp_path / "a")
    for verb in (ckptconv.normalize, ckptconv.pt2tf, ckptconv.pt2flax, ckptconv.split):
        with pytest.raises(
            SourceError, match=rf"by a size of 0 \('decoder.{key}', 'encoder"
        ) as refusal:
            verb(source, tmp_path / "b")
        assert len(str(refusal.value).splitlines()) == 1
        assert "ZeRO" not in str(refusal.value)
    assert "by a size of 0" in ckptconv.inspect(source).refusal


FLOAT8 = {"safetensors": "F8_E4M3", "pytorch": "float8_e5m2", "flax": "float8_e4m3fn"}


@pytest.mark.frameworks
@pytest.mark.parametrize("naming", sorted(FLOAT8))
def test_8_bit_floats(pair: Pair, tmp_path: Path, naming: str) -> None:
    """In every format that can hold them they are called codes, in a line, though no config says so."""
    from flax.serialization import msgpack_serialize
    from jax.numpy import zeros
    from torch import float8_e5m2, save
    from torch import zeros as torch_zeros

    source = pair.write(tmp_path / "a")
    if naming == "safetensors":
        weights = (source / "model.safetensors").read_bytes()
        (source / "model.safetensors").write_bytes(weights.replace(b'"F32"', b'"F8_E4M3"', 1))
        header = int.from_bytes(weights[:8], "little") + 4
        with (source / "model.safetensors").open("r+b") as file:
            file.write(header.to_bytes(8, "little"))
    else:
        (source / "model.safetensors").unlink()
    if naming == "pytorch":
        save({"x": torch_zeros(3).to(float8_e5m2)}, source / "pytorch_model.bin")
    if naming == "flax":
        tree = {"x": zeros(3, FLOAT8["flax"])}
        (source / "flax_model.msgpack").write_bytes(msgpack_serialize(tree))
    with pytest.raises(
        SourceError, match=r"8-bit floats.*quantised weights(.|\n)*dequantize"
    ) as refusal:
        ckptconv.inspect(source)
    assert len(str(refusal.value).splitlines()) <= 2


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
