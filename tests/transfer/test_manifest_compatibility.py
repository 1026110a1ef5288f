"""What ckptconv 0.1 wrote is still checked, to the tensor: `tests/data/flax-0.1` is its own output."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ckptconv

WRITTEN = Path(__file__).parents[1] / "data" / "flax-0.1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a copy of an output of 0.1."""
    return Path(shutil.copytree(WRITTEN, tmp_path / "old"))


def test_it_is_whole(old: Path) -> None:
    """Nothing is found, with sha256 of each tensor as the manifest then had."""
    result = ckptconv.check(old)
    assert (result.whole, result.findings, result.manifest.layout) == (True, (), 1)
    algorithms = {
        tensor.algorithm
        for file in result.manifest.files.values()
        for tensor in file.tensors.values()
    }
    assert algorithms == {"sha256"}


def test_a_changed_tensor_is_named(old: Path) -> None:
    """One flipped bit leads to the one tensor that holds it."""
    weights = old / "model.safetensors"
    digests = ckptconv.check(old).manifest.files["model.safetensors"].tensors
    name = next(name for name in digests if name.endswith("query/kernel") or "query.kernel" in name)
    raw = bytearray(weights.read_bytes())
    raw[digests[name].extents[0].offset] ^= 1
    weights.write_bytes(raw)
    findings = ckptconv.check(old).findings
    assert [finding.name for finding in findings if finding.kind == "tensor"] == [name]


def test_it_is_replaced(old: Path) -> None:
    """`--overwrite` knows it as an output of ckptconv."""
    source = Path(__file__).parents[2] / "fixtures" / "dates"
    ckptconv.pt2flax(source, old, options=ckptconv.WriteOptions(overwrite=True))
    assert ckptconv.check(old).manifest.layout == 2
