"""`digests`: sha256 of files in blocks, of sources in the background, and of what the tables say."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader
from ckptconv.stores.tensor import Extent
from ckptconv.transfer import manifest
from ckptconv.transfer.manifest import (
    FileDigest,
    Stopped,
    digested,
    extents_digest,
    file_digest,
    tables_digest,
)

if TYPE_CHECKING:
    from conftest import MakePair, Pair


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small files have several blocks."""
    monkeypatch.setattr(manifest, "BLOCK_BYTES", 64)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
def test_files_of_any_size(tmp_path: Path, size: int) -> None:
    """The digest is hashlib's of the whole file, and of its runs one after the other."""
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert file_digest(tmp_path / "f") == FileDigest(size, sha256(data).hexdigest())
    runs = [Extent(size // 2, size - size // 2), Extent(0, size // 2)]
    with FileReader(tmp_path / "f") as file:
        assert (
            extents_digest(file, runs) == sha256(data[size // 2 :] + data[: size // 2]).hexdigest()
        )


def test_sources_in_the_background(tmp_path: Path) -> None:
    """Every file of every role, in order; a file that is not there is an error of the source."""
    for name in "abc":
        (tmp_path / name).write_text(name)
    a, b, c = (tmp_path / name for name in "abc")
    with digested({"one": (a, b), "two": (c,)}) as pending:
        result = pending.result()
    assert result == {
        "one": {"a": file_digest(a), "b": file_digest(b)},
        "two": {"c": file_digest(c)},
    }
    c.unlink()
    with (
        pytest.raises(SourceError, match="c: cannot be read"),
        digested({"two": (a, c)}) as pending,
    ):
        pending.result()


def test_a_source_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was hashed must be what is there at the end."""
    path = tmp_path / "a"
    path.write_bytes(bytes(1000))

    def slow(file: FileReader, extents: list[Extent], stop: Event) -> str:
        path.write_bytes(bytes(999))
        return "0" * 64

    monkeypatch.setattr(manifest, "extents_digest", slow)
    with pytest.raises(SourceError, match="chang"), digested({"source": (path,)}) as pending:
        pending.result()


def test_a_run_that_ends_early_does_not_wait(tmp_path: Path) -> None:
    """Once the run has failed, hashing stops at the next block."""
    (tmp_path / "a").write_bytes(bytes(1000))
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        file_digest(tmp_path / "a", stop)
    with pytest.raises(ZeroDivisionError), digested({"source": (tmp_path / "a",) * 3}):
        raise ZeroDivisionError


def test_tables(make_pair: MakePair, pair: Pair) -> None:
    """Only what is said of the namings in question counts, and all of that."""
    rows = pair.rows
    digest = tables_digest(rows, ("pytorch", "tf"))
    assert tables_digest(rows, ("tf", "pytorch", "tf")) == digest
    assert (
        tables_digest(make_pair(enc={"hidden_dropout_prob": 0.5}).rows, ("pytorch", "tf")) == digest
    )
    tf = replace(rows[0].spellings["tf"], names=("other",))
    flax = replace(rows[0].spellings["flax"], names=("other",))
    others = (
        make_pair(enc={"vocab_size": 29}).rows,
        rows[1:],
        (replace(rows[0], tied_to="x"), *rows[1:]),
        (replace(rows[0], spellings={**rows[0].spellings, "tf": tf}), *rows[1:]),
    )
    assert (
        len(
            {
                digest,
                tables_digest(rows, ("pytorch",)),
                *(tables_digest(item, ("pytorch", "tf")) for item in others),
            }
        )
        == 6
    )
    same = (replace(rows[0], spellings={**rows[0].spellings, "flax": flax}), *rows[1:])
    assert tables_digest(same, ("pytorch", "tf")) == digest
