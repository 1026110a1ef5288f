"""`pieces`: a target's bytes against numpy, whatever the size of a piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from ckptconv.base.errors import SourceError
from ckptconv.binding.plan import Fill, Move, Permute, Reshape, Rows
from ckptconv.schema.fixes import RowRange
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.tensors import expand, linear
from ckptconv.stores.tensor import ITEMSIZE, Extent, Stored, TensorSpec
from ckptconv.transfer import pieces
from ckptconv.transfer.casting import Counts
from ckptconv.transfer.pieces import OpenFiles, Pieces
from covering import over

(ROW,) = expand([linear("any", 3, 2, bias=False)], NAMINGS)
SIZES = [1, 7, 64, 1000, 4 << 20]
NUMPY = {"bfloat16": ml_dtypes.bfloat16}


@pytest.fixture(params=SIZES)
def piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Set the size of a piece: smaller than an item, than a row, than a tensor, and the real one."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", max(request.param, 8) // 8 * 8)
    return int(pieces.PIECE_BYTES)


def sample(shape: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
    """Return random bits as an array of a dtype."""
    data = np.random.default_rng(4).bytes(int(np.prod(shape)) * ITEMSIZE[dtype])
    return np.frombuffer(data, NUMPY.get(dtype, dtype)).reshape(shape)


def stored(
    path: Path,
    array: NDArray[Any],
    cuts: Sequence[int] = (),
    strides: tuple[int, ...] | None = None,
) -> Stored:
    """Put an array into a file, in runs that end at `cuts`, with other bytes around each."""
    data, extents, content = array.tobytes(), [], b"before"
    for start, stop in zip((0, *cuts), (*cuts, len(data)), strict=True):
        extents.append(Extent(len(content), stop - start))
        content += data[start:stop] + b"between"
    path.write_bytes(content)
    return Stored.in_file(
        TensorSpec("source", str(array.dtype), array.shape), path, tuple(extents), strides
    )


def made(move: Move) -> bytes:
    """Return all bytes of a move's target."""
    with OpenFiles() as files:
        return b"".join(bytes(piece) for piece in Pieces(files).of(move))


def move_of(
    source: Stored,
    shape: tuple[int, ...],
    dtype: str | None = None,
    permutation: tuple[int, ...] = (),
    rows: tuple[RowRange, ...] = (),
) -> Move:
    """Return a move of a source to a shape and a dtype."""
    target = TensorSpec("target", dtype or source.spec.dtype, shape)
    ops = (*([Permute(permutation)] if permutation else []), *([Rows(rows)] if rows else []))
    return Move(ROW, target, source, ops)


@over("dtype", ITEMSIZE)
def test_plain_bytes(tmp_path: Path, piece_bytes: int, dtype: str) -> None:
    """A tensor without a change is copied bit for bit, over runs that are cut anywhere."""
    array = sample((7, 11, 3), dtype)
    source = stored(tmp_path / "w", array, cuts=(1, 8, 9, 160))
    assert made(move_of(source, array.shape)) == array.tobytes()


@over("shape", [(), (0,), (0, 5), (5, 0), (1, 1)])
@over("permuted", [False, True])
def test_small_shapes(tmp_path: Path, shape: tuple[int, ...], permuted: bool) -> None:
    """A scalar, nothing at all and a single element pass, in any order of the axes."""
    array = sample(shape)
    order = tuple(reversed(range(len(shape)))) if permuted else ()
    move = move_of(
        stored(tmp_path / "w", array),
        tuple(reversed(shape)) if permuted else shape,
        permutation=order,
    )
    assert made(move) == array.tobytes()


@over("dtype", ["bool", "bfloat16", "float32", "float64"])
@over(
    ("shape", "order"),
    [
        ((67, 101), (1, 0)),
        ((37, 37), (1, 0)),
        ((7, 5, 3), (2, 0, 1)),
        ((7, 5, 3), (0, 2, 1)),
        ((2, 3, 5, 7), (3, 1, 2, 0)),
    ],
)
def test_axes_in_another_order(
    tmp_path: Path, piece_bytes: int, dtype: str, shape: tuple[int, ...], order: tuple[int, ...]
) -> None:
    """Every order of axes gives numpy's bytes, also for a square matrix and a type that numpy has not."""
    array = sample(shape, dtype)
    expected = np.ascontiguousarray(array.transpose(order))
    assert (
        made(move_of(stored(tmp_path / "w", array), expected.shape, permutation=order))
        == expected.tobytes()
    )


def test_an_axis_of_length_one_comes_and_goes(tmp_path: Path) -> None:
    """TF's (1, n) and PyTorch's (n,) are the same bytes."""
    array = sample((1, 13))
    target = TensorSpec("t", "float32", (13,))
    move = Move(ROW, target, stored(tmp_path / "w", array), (Reshape((1, 13), (13,)),))
    assert made(move) == array.tobytes()


RANGES = (RowRange(2, 11), RowRange(0, 1, 5), RowRange(0, 2), RowRange(4, 4))


@pytest.mark.parametrize("strided", [False, True])
def test_rows_move(tmp_path: Path, piece_bytes: int, strided: bool) -> None:
    """Ranges of rows, one of them repeated, from a table that lies by rows or by columns."""
    table = sample((11, 5), "bfloat16")
    expected = np.concatenate(
        [np.tile(table[item.start : item.stop], (item.times, 1)) for item in RANGES]
    )
    source = stored(tmp_path / "w", np.ascontiguousarray(table.T if strided else table))
    if strided:
        source = Stored.in_file(
            TensorSpec("source", "bfloat16", (11, 5)), source.path, source.extents, (1, 11)
        )
    assert made(move_of(source, expected.shape, rows=RANGES)) == expected.tobytes()


@pytest.mark.parametrize("order", [(), (1, 0)])
def test_a_view_that_is_not_row_major(
    tmp_path: Path, piece_bytes: int, order: tuple[int, ...]
) -> None:
    """Strides of a view that skips elements are followed, before the axes change."""
    base = sample((9, 8))
    view = base[:, ::2].T[1:]
    path = tmp_path / "w"
    path.write_bytes(base.tobytes())
    span = 1 + sum((size - 1) * stride for size, stride in zip(view.shape, (2, 8), strict=True))
    source = Stored.in_file(
        TensorSpec("source", "float32", view.shape), path, (Extent(2 * 4, span * 4),), (2, 8)
    )
    expected = np.ascontiguousarray(view.transpose(order) if order else view)
    assert made(move_of(source, expected.shape, permutation=order)) == expected.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_cast_comes_last(tmp_path: Path, piece_bytes: int, dtype: str) -> None:
    """Permuted, then cast: numpy's own result."""
    array = np.random.default_rng(6).standard_normal((31, 29)).astype(np.float32)
    move = move_of(stored(tmp_path / "w", array), (29, 31), dtype, permutation=(1, 0))
    assert made(move) == array.T.astype(NUMPY.get(dtype, dtype)).tobytes()


@pytest.mark.parametrize(
    ("dtype", "lost"),
    [
        ("float32", {}),
        ("float16", {"overflowed": 3, "zeroed": 2, "subnormal": 1}),
        ("bfloat16", {"overflowed": 0}),
    ],
)
def test_what_is_not_finite_or_lost_is_counted(
    tmp_path: Path, piece_bytes: int, dtype: str, lost: dict[str, int]
) -> None:
    """Over all pieces: NaN and infinities of the source, and with a cast what becomes infinite, zero or subnormal."""
    array = np.ones((40, 50), np.float32)
    array[3, 3], array[39, 49], array[20, 0], array[1, 1] = 70000, -1e30, 65520, np.inf
    array[5, :2], array[7, 7], array[38, 1], array[38, 2], array[0, 0] = (
        np.nan,
        1e-30,
        -1e-9,
        1e-5,
        -0.0,
    )
    move = move_of(stored(tmp_path / "w", array), (40, 50), dtype)
    with OpenFiles() as files:
        pieces = Pieces(files)
        data = b"".join(bytes(piece) for piece in pieces.of(move))
        assert pieces.counts == Counts(nan=2, infinite=1, **lost)
        with np.errstate(over="ignore"):
            assert data == array.astype(NUMPY.get(dtype, dtype)).tobytes()
        assert b"".join(bytes(piece) for piece in pieces.of(move)) == data
        assert pieces.counts == Counts(nan=2, infinite=1, **lost)


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float32", "0000803f"), ("float16", "003c"), ("bfloat16", "803f")]
)
def test_without_a_source_values_are_made(dtype: str, expected: str) -> None:
    """A fill gives its mean throughout, in the target's dtype, at any length."""
    target = TensorSpec("t", dtype, (1031, 1033))
    assert (
        made(Move(ROW, target, None, fill=Fill(mean=1.0))) == bytes.fromhex(expected) * target.numel
    )


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    """What the header promised and the file does not hold is a refusal with its name."""
    source = stored(tmp_path / "w", sample((7, 11)))
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:100])
    with pytest.raises(SourceError, match=f"{tmp_path}/w: cut short at byte 100"):
        made(move_of(source, (7, 11)))
    with pytest.raises(SourceError, match="cut short at byte 100"):
        made(move_of(source, (11, 7), permutation=(1, 0)))
