"""A tensor in several runs gives the bytes of the tensor in one piece, wherever a read begins and ends."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from ckptconv.base.errors import SourceError
from ckptconv.binding.plan import Move, Permute
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.tensors import expand, linear, part
from ckptconv.stores.tensor import Chunk, Stored, TensorSpec
from ckptconv.transfer.pieces import OpenFiles, Pieces


def stored(folder: Path, array: np.ndarray, cut: int, *, files: int = 1) -> Stored:
    """Write an array run by run, in random order, into one file or several, and return where it lies."""
    data, runs = array.tobytes(), dict[int, Chunk]()
    starts = list(range(0, len(data), cut))
    random.Random(str((array.shape, cut))).shuffle(starts)
    for number, start in enumerate(starts):
        path, run = folder / f"part{number % files}", data[start : start + cut]
        with path.open("ab") as file:
            file.write(b"..")
            runs[start] = Chunk(path, file.tell(), len(run))
            file.write(run)
    spec = TensorSpec("t", str(array.dtype), array.shape)
    return Stored(spec, tuple(runs[start] for start in sorted(runs)))


@pytest.mark.parametrize(("shape", "cut"), [((7,), 12), ((5, 6), 48), ((3, 4, 5), 7), ((), 4)])
def test_every_run_of_bytes(tmp_path: Path, shape: tuple[int, ...], cut: int) -> None:
    """From any byte to any later one, within an element or not, and no byte beyond."""
    array = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)
    tensor, data = stored(tmp_path, array, cut, files=2), array.tobytes()
    with OpenFiles() as files:
        for start in range(0, len(data), 7):
            for stop in range(start, len(data) + 1, 13):
                buffer = bytearray(stop - start + 1)
                files.read_into(tensor, start, memoryview(buffer)[:-1])
                assert buffer == data[start:stop] + b"\0"


def test_axes_change_as_in_one_piece(tmp_path: Path) -> None:
    """A move that transposes takes several runs as it takes one."""
    (row,) = [
        row for row in expand(part("x", [linear("l", 5, 7)]), NAMINGS) if row.key.endswith("weight")
    ]
    array = np.arange(35, dtype=np.float32).reshape(5, 7)
    tensor = stored(tmp_path, array, 24)
    move = Move(
        row,
        TensorSpec("t", "float32", (7, 5)),
        tensor,
        (Permute((1, 0)),),
    )
    with OpenFiles() as files:
        pieces = b"".join(bytes(piece) for piece in Pieces(files).of(move))
    assert pieces == array.T.tobytes()


def test_more_files_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor in more files than this process may open is read; one that changes meanwhile is still noticed."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (32, 32))
    array = np.arange(40, dtype=np.float32)
    tensor = stored(tmp_path, array, 4, files=40)
    buffer = bytearray(160)
    with OpenFiles() as files:
        for _ in range(2):
            files.read_into(tensor, 0, memoryview(buffer))
            assert buffer == array.tobytes()
        assert len(files._files) <= 8
    files = OpenFiles()
    files.read_into(tensor, 0, memoryview(buffer))
    tensor.chunks[0].path.write_bytes(b"other")
    with pytest.raises(SourceError, match="changed while it was read"):
        files.__exit__(None, None, None)
