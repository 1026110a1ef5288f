"""`weights`: tensors that must hold the same bytes, and how a difference is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckptconv.base.errors import PlanError
from ckptconv.binding.bind import Equality
from ckptconv.compare.comparison import WeightDifference, check_equal
from ckptconv.compare.stream import Figures, Relation
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.tensors import expand, linear
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from ckptconv.transfer import pieces

FILE = "weights.bin"


def stored(folder: Path, name: str, array: NDArray[Any]) -> Stored:
    """Append an array to a file."""
    start = (folder / FILE).stat().st_size if (folder / FILE).exists() else 0
    with (folder / FILE).open("ab") as file:
        file.write(array.tobytes())
    return Stored.in_file(
        TensorSpec(name, str(array.dtype), array.shape),
        folder / FILE,
        (Extent(start, array.nbytes),),
    )


@pytest.fixture(autouse=True, params=[64, 4 << 20])
def _piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare in pieces that are smaller and larger than the tensors."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", request.param)


def test_a_difference_tells_how_and_how_much() -> None:
    """The sentence of the relation, then the figures."""
    relation = Relation("scaled", "scaled by 2", Figures(7, 9, 0.25, 0.1, 0.1, 1.0))
    (row,) = expand([linear("a", 3, 2, bias=False)], NAMINGS)
    difference = WeightDifference("b", "a", relation, row)
    assert str(difference) == "scaled by 2; 7 of 9 elements differ, by at most 0.25"
    assert (difference.differing, difference.numel, difference.worst) == (7, 9, 0.25)


def test_equalities_hold(tmp_path: Path) -> None:
    """Equal bytes, the same bytes under two names, and views of other bytes with the same values all pass."""
    array = np.arange(77, dtype=np.float32).reshape(7, 11)
    one, two = stored(tmp_path, "a", array), stored(tmp_path, "b", array)
    columns = stored(tmp_path, "c", array.T.copy())
    view = Stored.in_file(one.spec.renamed("c"), columns.path, columns.extents, (1, 7))
    pairs = [(one, two), (one, one), (one, view), (view, one), (view, view)]
    check_equal([Equality(first, second, "not equal", "they are tied") for first, second in pairs])


def test_equalities_that_do_not_hold(tmp_path: Path) -> None:
    """All pairs that differ come together: values, the same bytes read otherwise, and another dtype."""
    array = np.arange(49, dtype=np.float32).reshape(7, 7)
    one, two = stored(tmp_path, "a", array), stored(tmp_path, "b", array + (array == 5))
    turned = Stored.in_file(one.spec.renamed("c"), one.path, one.extents, (1, 7))
    half = stored(tmp_path, "d", array.astype(np.float16))
    with pytest.raises(PlanError) as refusal:
        check_equal(
            [Equality(one, other, "not equal", "they are tied") for other in (two, turned, half)]
        )
    assert str(refusal.value) == (
        f"{tmp_path}/{FILE}: 3 problems\n"
        "  not equal   b: 1 of 49 elements differ, by at most 1, from a; they are tied\n"
        "  not equal   c: 42 of 49 elements differ, by at most 36, from a; they are tied\n"
        "  not equal   d: float16, but a is float32; they are tied"
    )
