"""`inspect --json`: everything that was found, as JSON that every parser takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import ckptconv
from ckptconv.report.inspect import inspection_json
from ckptconv.report.text import dump

if TYPE_CHECKING:
    from conftest import Pair


def test_every_field(pair: Pair, tmp_path: Path) -> None:
    """Every field of the result stands in it, the properties of figures too."""
    result = ckptconv.inspect(pair.write(tmp_path / "source"), stats=True)
    document = json.loads(dump(inspection_json(result)))
    fields = set(type(result).__slots__) - {"nbytes", "measured", "naming"} | {"bytes", "dialect"}
    assert document.keys() - {"schema", "schema_version"} == fields
    assert (document["findings"], document["kind"], document["bytes"]) == (
        [],
        "pair",
        result.nbytes,
    )
    line, tensor = result.tensors[0], document["tensors"][0]
    assert line.statistics
    assert tensor.pop("statistics") == {
        "min": line.statistics.minimum,
        "max": line.statistics.maximum,
        "mean": line.statistics.mean,
        "std": line.statistics.std,
        "kurtosis": line.statistics.kurtosis,
        "nan": 0,
        "inf": 0,
        "zeros": 0,
        "sampled": 7,
        "histogram": list(line.statistics.histogram),
    }
    assert tensor == {
        "name": "decoder.bert.embeddings.LayerNorm.bias",
        "part": "decoder",
        "layer": None,
        "dtype": "float32",
        "shape": [7],
        "bytes": 28,
        "file": "model.safetensors",
        "signs": [],
    }
    assert [target["verb"] for target in document["targets"] if target["converts"]] == [
        "split",
        "normalize",
        "pt2tf",
        "pt2flax",
    ]


def test_without_values(pair: Pair, tmp_path: Path) -> None:
    """What was not read is null or absent, so that nobody takes it for an empty answer."""
    document = inspection_json(
        ckptconv.inspect(pair.write(tmp_path / "source")), tensors="encoder.pooler*"
    )
    assert document["findings"] is None
    assert isinstance(document["tensors"], list)
    assert [
        (tensor["name"], "statistics" in tensor)
        for tensor in document["tensors"]
        if isinstance(tensor, dict)
    ] == [("encoder.pooler.dense.bias", False), ("encoder.pooler.dense.weight", False)]


def test_nan_is_null(pair: Pair, tmp_path: Path) -> None:
    """JSON has no NaN."""
    pair.arrays["encoder.pooler.dense.bias"][:] = np.nan
    text = dump(inspection_json(ckptconv.inspect(pair.write(tmp_path / "source"), stats=True)))
    document = json.loads(text, parse_constant=lambda name: f"{name} is no JSON")
    (bias,) = (
        tensor for tensor in document["tensors"] if tensor["name"] == "encoder.pooler.dense.bias"
    )
    assert (
        bias["statistics"]["min"],
        bias["statistics"]["nan"],
        "is no JSON" in str(document),
    ) == (
        None,
        7,
        False,
    )
    assert document["findings"][0] == {
        "sign": "not finite",
        "tensors": ["encoder.pooler.dense.bias"],
        "text": "encoder.pooler.dense.bias: 7 NaN, 0 infinite",
    }
