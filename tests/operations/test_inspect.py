"""`inspect`: what a checkpoint is, from its headers; what no table knows is shown as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptconv
from ckptconv import Problem

if TYPE_CHECKING:
    from conftest import MakePair, Pair


def shifted(header: str, start: int, size: int) -> str:
    """Return a header in which the empty tensor at `start` has `size` bytes, and what follows moves on."""
    entries = json.loads(header)
    for name, entry in entries.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            empty = begin == end
            later = begin > start or (begin == start and not empty)
            entry["data_offsets"] = [begin + size * later, end + size * (later or empty)]
    return json.dumps(entries, separators=(",", ":"))


def test_parts_add_up(make_pair: MakePair, tmp_path: Path) -> None:
    """Every tensor is in one part; the parts come in the order of the data flow."""
    pair = make_pair(dec={"hidden_size": 5})
    found = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert [part.name for part in found.parts] == ["encoder", "bridge", "decoder", "cross-attention", "head"]
    counts = [sum(values) for values in zip(*((p.tensors, p.parameters, p.nbytes) for p in found.parts), strict=True)]
    size = sum(array.size for array in pair.arrays.values())
    assert counts == [len(pair.arrays), size, 4 * size] == [len(found.tensors), found.parameters, found.nbytes]
    assert [(line.spec.name, line.spec.shape) for line in found.tensors] == sorted(
        (name, array.shape) for name, array in pair.arrays.items()
    )
    assert next(part for part in found.parts if part.name == "bridge").parameters == 5 * 7 + 5


@pytest.mark.parametrize("target", ["pt2tf", "pt2flax"])
def test_converted_checkpoints_are_complete(make_pair: MakePair, tmp_path: Path, target: str) -> None:
    """What was written has no problem, healed or not, and as many tensors in each part as the source."""
    pair = make_pair("roberta", "gpt2")
    source = ckptconv.inspect(pair.write(tmp_path / "source"))
    getattr(ckptconv, target)(tmp_path / "source", tmp_path / "out")
    found = ckptconv.inspect(tmp_path / "out")
    assert (found.problems, found.refusal, found.pair) == ((), "", "roberta -> gpt2")
    assert [(part.name, part.tensors) for part in found.parts] == [(p.name, p.tensors) for p in source.parts]


def test_problems_are_part_of_the_result(pair: Pair, tmp_path: Path) -> None:
    """What a conversion would refuse is listed; the rest is shown all the same."""
    pair.arrays["stray"] = np.zeros((2, 3), np.float16)
    bias = pair.arrays.pop("decoder.cls.predictions.bias")
    found = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert found.problems == (
        Problem("missing", "decoder.cls.predictions.bias", f"expected {list(bias.shape)}"),
        Problem("unexpected", "stray", "float16 [2, 3]"),
    )
    assert [(part.name, part.tensors) for part in found.parts][-1] == ("unknown", 1)
    assert found.dtypes == ("float16", "float32")


def test_other_models_are_shown_too(pair: Pair, tmp_path: Path) -> None:
    """A model that is no encoder-decoder has no pair and no parts, but tensors, and the reason is given."""
    pair.config = {"model_type": "t5"}
    found = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert (found.pair, found.model_type, found.saved_by, found.problems) == ("", "t5", "", ())
    assert [part.name for part in found.parts] == ["unknown"]
    assert len(found.tensors) == len(pair.arrays)
    assert found.refusal.startswith(f"{tmp_path}/source/config.json: model type 't5' is not 'encoder-decoder'.")


def test_ties(make_pair: MakePair, tmp_path: Path) -> None:
    """Tied tensors are listed with what they repeat, and whether the file holds them twice."""
    pair = make_pair()
    words, output = "decoder.bert.embeddings.word_embeddings.weight", "decoder.cls.predictions.decoder.weight"
    pair.arrays[output] = pair.arrays[words]
    found = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert found.ties == (
        (output, words, True),
        ("decoder.cls.predictions.decoder.bias", "decoder.cls.predictions.bias", False),
    )
    untied = make_pair(dec={"tie_word_embeddings": False}).write(tmp_path / "untied")
    assert [name for name, _, _ in ckptconv.inspect(untied).ties] == ["decoder.cls.predictions.decoder.bias"]


def test_only_headers_are_read(pair: Pair, tmp_path: Path) -> None:
    """Not one value: a file whose data is a hole of 300 GB is inspected at once."""
    pair.config["encoder"]["vocab_size"] = 10_000_000_019
    pair.arrays["encoder.embeddings.word_embeddings.weight"] = np.zeros((0, 7), np.float32)
    path = pair.write(tmp_path / "source") / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    size = 10_000_000_019 * 28
    old, header = '"shape":[0,7],"data_offsets":', raw[8 : 8 + length].decode()
    start = int(header.split(old)[1].split("[")[1].split(",")[0])
    assert header.count(old) == 1
    new = shifted(header, start, size).replace('"shape":[0,7]', '"shape":[10000000019,7]').encode()
    with path.open("wb") as file:
        file.write(len(new).to_bytes(8, "little") + new)
        file.truncate(8 + len(new) + len(raw) - 8 - length + size)
    found = ckptconv.inspect(tmp_path / "source")
    assert (found.problems, found.nbytes) == ((), size + sum(array.nbytes for array in pair.arrays.values()))
