"""`ckptconv diff`: what a user sees, and the exit code."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

if TYPE_CHECKING:
    from conftest import Cli

QUERY = "encoder.encoder.layer.0.attention.self.query.weight"
BIAS = "decoder.cls.predictions.bias"


@pytest.fixture
def faulty(dates: Path, tmp_path: Path) -> Path:
    """Return a copy of the trained checkpoint with a transposed matrix, a changed bias and another epsilon."""
    folder = shutil.copytree(dates, tmp_path / "faulty")
    arrays = load_file(folder / "model.safetensors")
    arrays[QUERY] = np.ascontiguousarray(arrays[QUERY].T)
    arrays[BIAS][:2] = 0.25, -0.5
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["layer_norm_eps"] = 1e-5
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_equal(cli: Cli, dates: Path, converted_tf: Path) -> None:
    """Two forms of one model: what was compared, the verdict, and exit code 0."""
    outcome = cli("diff", dates, converted_tf)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        f"A  {dates}: bert -> bert, pytorch safetensors\n"
        f"B  {converted_tf}: bert -> bert, tf hdf5\n"
        "\n"
        "EQUAL: 101 tensors, 1.7 MB: 101 equal\n"
    )


def test_different(
    cli: Cli, faulty: Path, converted_flax: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Config keys, layers, then each tensor in both spellings with how it differs; exit code 1."""
    top = os.path.commonpath([faulty, converted_flax])
    monkeypatch.chdir(top)  # lines of short paths, which nothing wraps
    first, second = (os.path.relpath(path, top) for path in (converted_flax, faulty))
    outcome = cli("diff", first, second)
    assert (outcome.code, outcome.err) == (1, "")
    assert (
        outcome.out
        == f"""\
A  {first}: bert -> bert, flax msgpack
B  {second}: bert -> bert, pytorch safetensors

config                  in A    in B
----------------------  ------  ------
decoder.layer_norm_eps  1e-12   1e-05

part             layer         differ    parameters    change    largest
                                                       of RMS     change
---------------  ----------  --------  ------------  --------  ---------
encoder          embeddings    0 of 5        10,944         0          0
encoder          layer 0      1 of 16        74,784      0.48       0.45
encoder          layer 1      0 of 16        74,784         0          0
encoder                        0 of 2         9,312         0          0
decoder          embeddings    0 of 5        10,944         0          0
decoder          layer 0      0 of 16        74,784         0          0
cross-attention  layer 0      0 of 10        37,440         0          0
decoder          layer 1      0 of 16        74,784         0          0
cross-attention  layer 1      0 of 10        37,440         0          0
head                           1 of 5         9,550     0.045       0.44

decoder/cls/predictions/bias
  in B: decoder.cls.predictions.bias
  2 elements changed: [0] -0.0563900508 -> 0.25, [1] -0.0577026308 -> -0.5; 2 of 46 elements differ,
    1.5 of the RMS, by at most 0.44
encoder/encoder/layer/0/attention/self/query/kernel
  in B: encoder.encoder.layer.0.attention.self.query.weight
  transposed; 9120 of 9216 elements differ, 1.4 of the RMS, by at most 0.45

DIFFERENT: 101 tensors, 1.7 MB: 1 element, 1 transposed, 99 equal, 1 config key
"""
    )
    assert max(map(len, outcome.out.splitlines()[2:])) <= 100


def test_json(cli: Cli, faulty: Path, converted_flax: Path) -> None:
    """Every tensor is there, the equal ones too, with figures that are numbers or null."""
    outcome = cli("diff", converted_flax, faulty, "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, document["verdict"], len(document["tensors"])) == (1, "different", 101)
    assert document["config"] == [
        {"key": "decoder.layer_norm_eps", "first": 1e-12, "second": 1e-05}
    ]
    (bias,) = [tensor for tensor in document["tensors"] if tensor["tensor"] == BIAS]
    figures = bias["relation"]
    assert {key: figures[key] for key in ("kind", "differing", "elements")} == {
        "kind": "element",
        "differing": 2,
        "elements": 46,
    }
    assert (bias["first"], bias["second"]) == ("decoder/cls/predictions/bias", BIAS)
    assert (bias["part"], bias["layer"], bias["parameters"]) == ("head", "", 46)
    layers = {
        (layer["part"], layer["layer"]): layer["differing_tensors"] for layer in document["layers"]
    }
    assert {place: count for place, count in layers.items() if count} == {
        ("encoder", "layer 0"): 1,
        ("head", ""): 1,
    }


def test_quiet(cli: Cli, faulty: Path, dates: Path, converted_tf: Path) -> None:
    """The exit code alone tells."""
    for pair, code in (((dates, faulty), 1), ((dates, converted_tf), 0)):
        outcome = cli("diff", *pair, "--quiet")
        assert (outcome.code, outcome.out, outcome.err) == (code, "", "")


def test_all_tensors(cli: Cli, dates: Path, faulty: Path) -> None:
    """--tensors lists every tensor with its verdict."""
    lines = cli("diff", dates, faulty, "--tensors").out.splitlines()
    listed = lines[lines.index("verdict     tensor") + 2 : -2]
    assert len(listed) == 101
    assert [line for line in listed if not line.startswith("equal ")] == [
        f"transposed  {QUERY}",
        f"element     {BIAS}",
    ]


def test_what_is_no_checkpoint(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """What cannot be read is refused with code 3."""
    outcome = cli("diff", dates, tmp_path)
    assert (outcome.code, outcome.out) == (3, "")
    assert "no config.json here" in outcome.err
