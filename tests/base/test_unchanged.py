"""A source that changes while it is read is noticed, whatever changed it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader, Snapshot
from ckptconv.transfer import pieces

if TYPE_CHECKING:
    from conftest import Cli, MakePair, Pair

WEIGHTS = "model.safetensors"
CHANGED = "changed while it was read; nothing was published.\nRun again when nothing writes to it."


def append(path: Path) -> None:
    """Make a file longer."""
    with path.open("ab") as file:
        file.write(b" ")


def overwrite(path: Path) -> None:
    """Change a byte in place and leave the size and the time of the change as they were."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Put a copy with the same bytes and time in the place of a file."""
    before = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.rename(path)


CHANGES = (append, overwrite, replace, Path.unlink)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_open(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """A file that is written to, replaced or removed while it is open is not the same any more."""
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    with FileReader(path) as file:
        file.read(0, 7)
        file.require_unchanged()
        change(path)
        with pytest.raises(SourceError) as refusal:
            file.require_unchanged()
    assert str(refusal.value) == f"{path}: {CHANGED}"


def test_a_snapshot_knows_what_was_there(tmp_path: Path) -> None:
    """A file that appears is a change as well; a folder that is not there has no files."""
    (tmp_path / "one").write_text("1")
    before = Snapshot.of(tmp_path, tmp_path / "none")
    before.require_unchanged([tmp_path / "one"])
    (tmp_path / "two").write_text("2")
    with pytest.raises(SourceError, match="two: changed while it was read"):
        before.require_unchanged([tmp_path / "one", tmp_path / "two"])


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["pt2flax", "split", "normalize"])
@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "vocab.txt"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_meanwhile(
    cli: Cli,
    pair: Pair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    name: str,
    change: Callable[[Path], None],
) -> None:
    """Weights, config or tokenizer changed in the midst of a conversion: exit code 3, the file's name, no output."""
    pair.files["vocab.txt"] = "one\ntwo\n"
    source = pair.write(tmp_path / "source")
    real, todo = pieces.OpenFiles.read_into, [change]

    def read_into(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        if todo:
            todo.pop()(source / name)

    monkeypatch.setattr(pieces.OpenFiles, "read_into", read_into)
    outcome = cli(verb, source, tmp_path / "out")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.endswith(f"Error: {source}/{name}: {CHANGED}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["pt2flax", "split", "normalize"])
@pytest.mark.parametrize(
    "name",
    ["generation_config.json", "tokenizer.json", "tf_model.h5", "pytorch_model.bin.index.json"],
)
def test_a_companion_that_appears_meanwhile(
    cli: Cli, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, name: str
) -> None:
    """Settings, a tokenizer or other weights that come while the weights are read: exit code 3, no output."""
    source = pair.write(tmp_path / "source")
    real = pieces.OpenFiles.read_into

    def read_into(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        (source / name).write_text("{}")

    monkeypatch.setattr(pieces.OpenFiles, "read_into", read_into)
    outcome = cli(verb, source, tmp_path / "out")
    assert (outcome.code, outcome.out) == (3, "")
    assert f"Error: {source}/{name}: appeared while the other files were read" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_nobody_reads_may_change(
    cli: Cli, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that a training run goes on writing beside the checkpoint is no reason to refuse it."""
    pair.files["train.log"] = "step 1\n"
    source = pair.write(tmp_path / "source")
    real = pieces.OpenFiles.read_into

    def read_into(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        append(source / "train.log")

    monkeypatch.setattr(pieces.OpenFiles, "read_into", read_into)
    assert cli("pt2flax", source, tmp_path / "out").code == 0


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["whole's config", "whole's tokenizer", "new tokenizer", "bridge"])
def test_what_lies_around_the_parts_of_a_join(
    cli: Cli, make_pair: MakePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The config and the tokenizer of the whole above, and the projection, are part of what is read."""
    pair = make_pair("bert", "gpt2", dec={"n_embd": 5})
    pair.files["vocab.txt"] = "one\ntwo\n"
    parts = tmp_path / "parts"
    assert cli("split", pair.write(tmp_path / "source"), parts).code == 0
    path = {
        "whole's config": parts / "config.json",
        "whole's tokenizer": parts / "vocab.txt",
        "new tokenizer": parts / "tokenizer.json",
        "bridge": parts / "bridge" / "config.json",
    }[what]
    real = pieces.OpenFiles.read_into

    def read_into(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        append(path)

    monkeypatch.setattr(pieces.OpenFiles, "read_into", read_into)
    outcome = cli("join", parts / "encoder", parts / "decoder", tmp_path / "out")
    assert (outcome.code, f"{path}: " in outcome.err, (tmp_path / "out").exists()) == (
        3,
        True,
        False,
    )
