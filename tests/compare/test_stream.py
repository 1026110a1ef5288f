"""`relations.stream`: one pass over two tensors in pieces, and what adds up."""

from __future__ import annotations

from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckptconv.compare.stream import MAX_CHANGES, Change, Reader, Streamed, compare_stream
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from ckptconv.transfer.pieces import OpenFiles


def streamed(
    folder: Path,
    expected: NDArray[Any],
    found: NDArray[Any],
    strides: tuple[int, ...] | None = None,
) -> Streamed:
    """Compare two arrays, the expected one in pieces of 24 bytes."""
    (folder / "found").write_bytes(found.tobytes())
    spec = TensorSpec("found", str(found.dtype), expected.shape)
    stored = Stored.in_file(spec, folder / "found", (Extent(0, found.nbytes),), strides)
    data = memoryview(expected.tobytes())
    with OpenFiles() as files:
        pieces = (data[start : start + 24] for start in range(0, len(data), 24))
        return compare_stream(pieces, str(expected.dtype), stored, Reader(files))


def test_changes_have_their_places(tmp_path: Path) -> None:
    """Indices count through all pieces, and bits are those of the items."""
    array = np.arange(20, dtype=np.float32)
    second = array.copy()
    second[[3, 17]] = -1
    stream = streamed(tmp_path, array, second)
    bits = {value: int(np.float32(value).view(np.uint32)) for value in (3, 17, -1)}
    assert stream.changes == [Change(3, bits[3], bits[-1]), Change(17, bits[17], bits[-1])]
    assert (stream.same, stream.sums.differing, stream.sums.numel, stream.sums.worst) == (
        False,
        2,
        20,
        18.0,
    )


def test_only_some_changes_are_kept(tmp_path: Path) -> None:
    """However many elements differ, only the first are kept; all are counted."""
    array = np.arange(50, dtype=np.float32)
    stream = streamed(tmp_path, array, array + 1)
    assert ([change.at for change in stream.changes], stream.sums.differing) == (
        list(range(MAX_CHANGES)),
        50,
    )


def test_a_view_that_is_not_row_major(tmp_path: Path) -> None:
    """A view is compared by index, not as it lies."""
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert streamed(tmp_path, array, np.ascontiguousarray(array.T), (1, 3)).same


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_squares_neither_overflow_nor_vanish(tmp_path: Path, scale: float) -> None:
    """Figures are right where float32 has no room for squares."""
    array = np.array([3 * scale, 4 * scale], np.float32)
    figures = streamed(tmp_path, array, 2 * array).sums.figures
    assert figures.rms == pytest.approx(np.sqrt(12.5) * scale)
    assert (figures.relative, figures.cosine) == (pytest.approx(1), pytest.approx(1))


def test_what_is_not_finite_is_left_out_of_the_sums(tmp_path: Path) -> None:
    """One infinity makes the largest difference infinite, and leaves the others measured; equal ones do nothing."""
    first, second = np.array([inf, 1, 3, nan], np.float32), np.array([inf, inf, 4, nan], np.float32)
    figures = streamed(tmp_path, first, second).sums.figures
    assert (figures.differing, figures.worst, figures.rms) == (2, inf, 0.5)
    assert streamed(tmp_path, first, first).sums.figures.worst == 0


def test_against_zeros(tmp_path: Path) -> None:
    """Against zeros a change is infinite in relation, and has no direction."""
    figures = streamed(tmp_path, np.zeros(3, np.float32), np.ones(3, np.float32)).sums.figures
    assert (figures.relative, isnan(figures.cosine)) == (inf, True)


def test_whole_numbers_are_counted_and_not_measured(tmp_path: Path) -> None:
    """Tensors that no table knows may hold whole numbers: they are equal or not."""
    stream = streamed(tmp_path, np.arange(9), np.arange(9) + (np.arange(9) == 4))
    assert (stream.sums.differing, stream.sums.worst) == (1, inf)
    assert streamed(tmp_path, np.arange(9), np.arange(9)).same
