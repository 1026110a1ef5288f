"""`readback`: what a file holds now against what was poured, and the digests that come of it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3

import ckptconv
from ckptconv.base.errors import DestinationError
from ckptconv.base.workers import workers
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.tensor import TensorSpec
from ckptconv.transfer.loop import ReadingBack, WrittenTensor, digests_of, require_written
from ckptconv.transfer.manifest import FileDigest

if TYPE_CHECKING:
    from conftest import Pair

FORM = FORMATS["msgpack"]


@pytest.fixture
def file(pair: Pair, tmp_path: Path) -> Path:
    """Return a file of weights."""
    ckptconv.pt2flax(pair.write(tmp_path / "a"), tmp_path / "b")
    return tmp_path / "b" / "flax_model.msgpack"


def poured(file: Path) -> dict[str, WrittenTensor]:
    """Return what was poured into a file."""
    result, data = FORM.read(file).tensors, file.read_bytes()
    return {
        name: WrittenTensor(
            one.spec,
            blake3(
                b"".join(data[run.offset : run.offset + run.nbytes] for run in one.extents)
            ).hexdigest(),
        )
        for name, one in result.items()
    }


def read_back(
    file: Path, expected: dict[str, WrittenTensor], progress: Callable[[int], None]
) -> FileDigest:
    """Read a file back and hold it against what was poured."""
    places = {name: stored.extents for name, stored in FORM.read(file).tensors.items()}
    with workers(2) as pool:
        digests = digests_of(ReadingBack(file, places), pool, progress)()
    return require_written(FORM, file, expected, places, digests)


def test_digests(file: Path) -> None:
    """The file's own, and every tensor's with its place; progress counts every byte of data."""
    expected, seen = poured(file), []
    digest = read_back(file, expected, seen.append)
    assert (digest.nbytes, digest.sha256) == (
        file.stat().st_size,
        sha256(file.read_bytes()).hexdigest(),
    )
    assert {name: one.digest for name, one in digest.tensors.items()} == {
        name: one.blake3 for name, one in expected.items()
    }
    assert {name: one.extents for name, one in digest.tensors.items()} == {
        name: one.extents for name, one in FORM.read(file).tensors.items()
    }
    assert sum(seen) == sum(item.spec.nbytes for item in expected.values())


@pytest.mark.parametrize("lie", ["more", "shape", "less", "bytes"])
def test_another_content(file: Path, lie: str) -> None:
    """A tensor that is missing, too many, of another shape or of other bytes is named, and nothing is published."""
    expected = poured(file)
    name = "encoder/embeddings/word_embeddings/embedding"
    one = expected[name]
    if lie == "more":
        name = "new"
        expected[name] = WrittenTensor(TensorSpec(name, "float32", (1,)), one.blake3)
    elif lie == "less":
        del expected[name]
    else:
        spec = TensorSpec(name, "float32", (7, 23)) if lie == "shape" else one.spec
        expected[name] = WrittenTensor(spec, "0" * 64 if lie == "bytes" else one.blake3)
    with pytest.raises(DestinationError) as refusal:
        read_back(file, expected, lambda nbytes: None)
    assert str(refusal.value) == (
        f"flax_model.msgpack: read-back check failed:"
        f" data on disk differs from what was written: {name}; nothing was published.\n"
        "The disk or the memory of this machine may be faulty."
    )
