"""A tensor in boxes, compressed or not, gives the bytes of the tensor in one piece, wherever a read begins and ends."""

from __future__ import annotations

import gzip
import random
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from ckptconv.base.errors import SourceError
from ckptconv.binding.plan import Move, Permute
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.tensors import expand, linear, part
from ckptconv.stores.tensor import Box, Chunk, Stored, TensorSpec
from ckptconv.transfer.pieces import OpenFiles, Pieces

COMPRESS = {None: bytes, "zlib": zlib.compress, "gzip": gzip.compress}


def boxes(shape: tuple[int, ...], cuts: tuple[int, ...]) -> list[Box]:
    """Return a grid of boxes of at most `cuts` elements along each axis that covers a shape."""
    ranges = [
        [(start, min(start + cut, size)) for start in range(0, size, cut)]
        for size, cut in zip(shape, cuts, strict=True)
    ]
    return list(product(*ranges))


def stored(
    folder: Path, array: np.ndarray, cuts: tuple[int, ...], codec: str | None, *, files: int = 1
) -> Stored:
    """Write an array box by box, in random order, into one file or several, and return where it lies."""
    rng = random.Random(str((array.shape, cuts, codec)))
    grid = boxes(array.shape, cuts)
    rng.shuffle(grid)
    chunks = []
    for number, box in enumerate(grid):
        path = folder / f"part{number % files}"
        data = COMPRESS[codec](array[tuple(slice(*ends) for ends in box)].tobytes())
        with path.open("ab") as file:
            file.write(b"..")
            chunks.append(Chunk(path, file.tell(), len(data), box, codec))
            file.write(data)
    return Stored(TensorSpec("t", str(array.dtype), array.shape), tuple(chunks))


@pytest.mark.parametrize("codec", COMPRESS)
@pytest.mark.parametrize(
    ("shape", "cuts"),
    [
        ((7,), (3,)),
        ((5, 6), (2, 6)),
        ((5, 6), (5, 4)),
        ((5, 6), (2, 5)),
        ((3, 4, 5), (2, 3, 2)),
        ((3, 1, 5, 2), (2, 1, 5, 1)),
        ((), ()),
    ],
)
def test_every_run_of_bytes(
    tmp_path: Path, shape: tuple[int, ...], cuts: tuple[int, ...], codec: str | None
) -> None:
    """From any byte to any later one, within an element or not, and no byte beyond."""
    array = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)
    tensor, data = stored(tmp_path, array, cuts, codec, files=2), array.tobytes()
    with OpenFiles() as files:
        for start in range(0, len(data), 7):
            for stop in range(start, len(data) + 1, 13):
                buffer = bytearray(stop - start + 1)
                files.read_into(tensor, start, memoryview(buffer)[:-1])
                assert buffer == data[start:stop] + b"\0"


def test_axes_change_as_in_one_piece(tmp_path: Path) -> None:
    """A move that transposes takes boxes as it takes one run."""
    (row,) = [
        row for row in expand(part("x", [linear("l", 5, 7)]), NAMINGS) if row.key.endswith("weight")
    ]
    array = np.arange(35, dtype=np.float32).reshape(5, 7)
    tensor = stored(tmp_path, array, (2, 3), None)
    move = Move(
        row,
        TensorSpec("t", "float32", (7, 5)),
        tensor,
        (Permute((1, 0)),),
    )
    with OpenFiles() as files:
        pieces = b"".join(bytes(piece) for piece in Pieces(files).of(move))
    assert pieces == array.T.tobytes()


@pytest.mark.parametrize(
    ("codec", "data", "says"),
    [
        ("lzma", b"", "a chunk compressed with 'lzma'; known are zlib, gzip."),
        ("zlib", b"no zlib", "the chunk at byte 0 does not decompress to 8 bytes."),
        ("zlib", zlib.compress(bytes(7)), "the chunk at byte 0 does not decompress to 8 bytes."),
        ("gzip", gzip.compress(bytes(1 << 20)), "at byte 0 does not decompress to 8 bytes."),
    ],
)
def test_a_chunk_that_is_not_what_it_should_be(
    tmp_path: Path, codec: str, data: bytes, says: str
) -> None:
    """An unknown codec, damaged data, and data of another size, however much larger, are refused."""
    (tmp_path / "f").write_bytes(data)
    chunk = Chunk(tmp_path / "f", 0, len(data), ((0, 2),), codec)
    with OpenFiles() as files, pytest.raises(SourceError) as refusal:
        files.read_into(
            Stored(TensorSpec("t", "float32", (2,)), (chunk,)), 0, memoryview(bytearray(8))
        )
    assert says in str(refusal.value)


def test_more_files_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor in more files than this process may open is read; one that changes meanwhile is still noticed."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (32, 32))
    array = np.arange(40, dtype=np.float32)
    tensor = stored(tmp_path, array, (1,), None, files=40)
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
