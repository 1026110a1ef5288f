"""`weights`: stored tensors compared bit for bit, with how many elements differ and by how much."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckptconv import pieces
from ckptconv.dialects import dialects
from ckptconv.errors import PlanError
from ckptconv.moves import Equality, Move
from ckptconv.pieces import OpenFiles, Pieces
from ckptconv.rows import expand
from ckptconv.table import linear
from ckptconv.tensor import Extent, Stored, TensorSpec
from ckptconv.weights import WeightDifference, check_equal, compare_move

(ROW,) = expand([linear("any", 3, 2, bias=False)], dialects())
FILE = "weights.bin"


def stored(folder: Path, name: str, array: NDArray[Any], strides: tuple[int, ...] | None = None) -> Stored:
    """Append an array to a file."""
    start = (folder / FILE).stat().st_size if (folder / FILE).exists() else 0
    with (folder / FILE).open("ab") as file:
        file.write(array.tobytes())
    dtype = "bfloat16" if array.dtype == np.uint16 else str(array.dtype)
    return Stored(TensorSpec(name, dtype, array.shape), folder / FILE, (Extent(start, array.nbytes),), strides)


def compared(source: Stored, found: Stored, **more: Any) -> WeightDifference | None:
    """Compare what a move would write with what is stored."""
    move = Move(ROW, found.spec.renamed("target"), source, source_shape=source.spec.shape, **more)
    with OpenFiles() as files:
        return compare_move(Pieces(files), files, move, found)


@pytest.fixture(autouse=True, params=[64, 4 << 20])
def _piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare in pieces that are smaller and larger than the tensors."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", request.param)


def test_equal_tensors(tmp_path: Path) -> None:
    """The same bits, after the axes change, are no difference; NaN and -0.0 are bits as others."""
    array = np.arange(77, dtype=np.float32).reshape(7, 11)
    array[0, :2] = nan, -0.0
    source, found = stored(tmp_path, "a", array), stored(tmp_path, "b", array.T.copy())
    assert compared(source, found, permutation=(1, 0)) is None


@pytest.mark.parametrize(("value", "worst"), [(4.25, 0.25), (-4.0, 8.0), (nan, inf), (inf, inf)])
def test_one_changed_element(tmp_path: Path, value: float, worst: float) -> None:
    """One element that differs is counted, with the distance; NaN and infinity are infinitely far."""
    array = np.arange(77, dtype=np.float32)
    other = array.copy()
    other[4] = value
    found = compared(stored(tmp_path, "a", array), stored(tmp_path, "b", other))
    assert found == WeightDifference("b", 1, 77, worst)
    assert str(found) == f"1 of 77 elements differ, by at most {worst:.2g}"


def test_a_zero_of_the_other_sign(tmp_path: Path) -> None:
    """-0.0 is equal to 0.0 as a number and not as bits."""
    one, other = stored(tmp_path, "a", np.zeros(5, np.float32)), stored(tmp_path, "b", -np.zeros(5, np.float32))
    assert compared(one, other) == WeightDifference("b", 5, 5, 0.0)


def test_a_square_matrix_that_was_not_transposed(tmp_path: Path) -> None:
    """All but the diagonal differ; the farthest pair gives the distance."""
    array = np.arange(49, dtype=np.float32).reshape(7, 7)
    found = compared(stored(tmp_path, "a", array), stored(tmp_path, "b", array), permutation=(1, 0))
    assert found == WeightDifference("b", 42, 49, 36.0)


def test_equalities_hold(tmp_path: Path) -> None:
    """Equal bytes, the same bytes under two names, and views of other bytes with the same values all pass."""
    array = np.arange(77, dtype=np.float32).reshape(7, 11)
    one, two = stored(tmp_path, "a", array), stored(tmp_path, "b", array)
    columns = stored(tmp_path, "c", array.T.copy())
    view = Stored(one.spec.renamed("c"), columns.path, columns.extents, (1, 7))
    pairs = [(one, two), (one, one), (one, view), (view, one), (view, view)]
    check_equal([Equality(first, second, "not equal", "they are tied") for first, second in pairs])


def test_equalities_that_do_not_hold(tmp_path: Path) -> None:
    """All pairs that differ come together: values, the same bytes read otherwise, and another dtype."""
    array = np.arange(49, dtype=np.float32).reshape(7, 7)
    one, two = stored(tmp_path, "a", array), stored(tmp_path, "b", array + (array == 5))
    turned = Stored(one.spec.renamed("c"), one.path, one.extents, (1, 7))
    half = stored(tmp_path, "d", array.astype(np.float16))
    with pytest.raises(PlanError) as refusal:
        check_equal([Equality(one, other, "not equal", "they are tied") for other in (two, turned, half)])
    assert str(refusal.value) == (
        f"{tmp_path}/{FILE}: 3 problems\n"
        "  not equal   b: 1 of 49 elements differ, by at most 1, from a; they are tied\n"
        "  not equal   c: 42 of 49 elements differ, by at most 36, from a; they are tied\n"
        "  not equal   d: float16, but a is float32; they are tied"
    )
