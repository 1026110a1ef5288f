"""`relations.comparison`: stored tensors against what they should be; each kind of fault gets its name."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptconv.binding.align import TensorPair
from ckptconv.binding.plan import Move, Permute
from ckptconv.compare import analysis, comparison
from ckptconv.compare.comparison import compare
from ckptconv.compare.stream import Relation
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.tensors import expand, linear
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from ckptconv.transfer import pieces
from ckptconv.transfer.pieces import OpenFiles
from damaging import BIAS, FAULTS, RANDOM, SQUARE, TABLE, Array, at, bfloat16

FILE = "weights.bin"


def stored(folder: Path, name: str, array: Array, strides: tuple[int, ...] | None = None) -> Stored:
    """Append an array to a file."""
    start = (folder / FILE).stat().st_size if (folder / FILE).exists() else 0
    with (folder / FILE).open("ab") as file:
        file.write(array.tobytes())
    dtype = "bfloat16" if array.dtype == np.uint16 else str(array.dtype)
    return Stored.in_file(
        TensorSpec(name, dtype, array.shape), folder / FILE, (Extent(start, array.nbytes),), strides
    )


def case(folder: Path, name: str, expected: Array, found: Array, **more: Any) -> TensorPair:
    """Return the case of one tensor that is moved as it is, under a row of its own."""
    (row,) = expand([linear(name, 3, 2, bias=False)], NAMINGS)
    source, target = (
        stored(folder, f"{name}.weight", expected),
        stored(folder, f"{name}/kernel", found),
    )
    spec = TensorSpec(target.spec.name, source.spec.dtype, target.spec.shape)
    order = more.pop("permutation", ())
    move = Move(row, spec, source, (Permute(order),) if order else ())
    return TensorPair(move, target, ("row", "dim"), **more)


def related(folder: Path, *pairs: tuple[Array, Array]) -> list[Relation | None]:
    """Compare pairs of arrays, called a, b, c ...; what is told is the same where equal pairs are not measured."""
    with OpenFiles() as files:
        cases = [case(folder, "abcdef"[n], *pair) for n, pair in enumerate(pairs)]
        relations = [outcome.relation for outcome in compare(cases, files)]
        unmeasured = [outcome.relation for outcome in compare(cases, files, measured=False)]
    assert unmeasured == relations or "nan" in repr(relations)
    return relations


def said(folder: Path, *pairs: tuple[Array, Array]) -> list[tuple[str, str]]:
    """Return kind and sentence of each relation."""
    return [(item.kind, item.detail) if item else ("equal", "") for item in related(folder, *pairs)]


@pytest.fixture(autouse=True, params=[64, 4 << 20])
def _piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare in pieces that are smaller and larger than the tensors."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", request.param)


@pytest.mark.thorough
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_name(tmp_path: Path, fault: str) -> None:
    """Each kind of fault is told from all others, by a sentence with places and values."""
    expected, change, kind, detail = FAULTS[fault]
    assert said(tmp_path, (expected, np.ascontiguousarray(change(expected)))) == [(kind, detail)]


def test_what_is_equal_has_no_relation(tmp_path: Path) -> None:
    """The same bits are no difference, NaN and -0.0 among them."""
    array = at(at(TABLE, 3, nan), 4, -0.0)
    assert said(tmp_path, (array, array.copy()), (BIAS, BIAS)) == [("equal", ""), ("equal", "")]


def test_equal_after_the_axes_change(tmp_path: Path) -> None:
    """What is compared is what the move writes."""
    with OpenFiles() as files:
        (result,) = compare([case(tmp_path, "a", TABLE, TABLE.T.copy(), permutation=(1, 0))], files)
    assert result.relation is None


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        (np.float32, np.float16, "equal after a cast from float32 to float16"),
        (np.float16, np.float32, "equal after a cast from float16 to float32"),
        (np.float64, np.float32, "equal after a cast from float64 to float32"),
    ],
)
def test_casts(tmp_path: Path, one: type, other: type, sentence: str) -> None:
    """Values that agree in the narrower dtype are equal after a cast, whichever side is the wider."""
    wide = SQUARE.astype(np.float64)
    array = wide if one is np.float64 else SQUARE
    assert said(tmp_path, (array.astype(one), array.astype(other))) == [("cast", sentence)]


def test_a_fault_behind_a_cast(tmp_path: Path) -> None:
    """A fault is found in the narrower dtype too, and only what differs there is counted."""
    second = at(SQUARE.astype(np.float16), 20, 9)
    (result,) = related(tmp_path, (SQUARE, second))
    assert result is not None
    assert result.figures is not None
    assert (result.kind, result.figures.differing) == ("element", 1)


def test_bfloat16(tmp_path: Path) -> None:
    """Values that numpy has no type for are told apart as well, and so are float64's."""
    bits = (bfloat16(SQUARE).view(np.uint32) >> 16).astype(np.uint16)
    halved = (bfloat16(SQUARE * np.float32(0.5)).view(np.uint32) >> 16).astype(np.uint16)
    wide = SQUARE.astype(np.float64) / 3
    assert said(
        tmp_path,
        (bits, halved),
        (bits, bits.T.copy()),
        (wide, wide.astype(np.float32).astype(np.float64)),
    ) == [
        ("scaled", "scaled by 0.5"),
        ("transposed", "transposed"),
        ("rounded", "rounded to float32 precision"),
    ]


def test_swapped_and_copied(tmp_path: Path) -> None:
    """Values of another tensor of the same shape are recognised: exchanged, or held twice."""
    a, b, c, d = (RANDOM.standard_normal((13, 13)).astype(np.float32) for _ in range(4))
    assert said(tmp_path, (a, b), (b, a), (c, d), (d, d)) == [
        ("swapped", "swapped with b/kernel"),
        ("swapped", "swapped with a/kernel"),
        ("copied", "holds the values of d/kernel"),
        ("equal", ""),
    ]


def test_tensors_that_only_begin_alike_are_not_swapped(tmp_path: Path) -> None:
    """Suspicion comes from the beginning, the verdict from all of it."""
    a, b = (RANDOM.standard_normal((40, 11)).astype(np.float32) for _ in range(2))
    result = b.copy()
    result[-1] = a[-1]
    assert said(tmp_path, (a, result), (b, b))[0][0] == "initialised"


def test_untied(tmp_path: Path) -> None:
    """A tensor that differs while the one it repeats is right has lost its tie."""
    with OpenFiles() as files:
        cases = [
            case(tmp_path, "a", TABLE, TABLE),
            case(tmp_path, "b", TABLE, TABLE + TABLE**2 / 9, repeats="a.weight"),
        ]
        _, result = compare(cases, files)
    assert str(result.relation) == "no longer repeats a.weight, to which it is tied: changed"


def test_figures_count_and_measure(tmp_path: Path) -> None:
    """Counts, distances and the angle are those of the whole tensor."""
    (result,) = related(
        tmp_path, (np.array([3, 4, 0, 0], np.float32), np.array([3, 0, 0, 4], np.float32))
    )
    assert result is not None
    figures = result.figures
    assert figures is not None
    assert (figures.differing, figures.numel, figures.worst) == (2, 4, 4.0)
    assert figures.rms == pytest.approx(8**0.5)
    assert figures.relative == pytest.approx(32**0.5 / 5)
    assert figures.cosine == pytest.approx(9 / 25)


@pytest.mark.parametrize(
    ("value", "worst"), [(4.25, 0.25), (-4.0, 8.0), (nan, inf), (inf, inf), (3e38, 3e38)]
)
def test_the_worst_element(tmp_path: Path, value: float, worst: float) -> None:
    """NaN and infinity are infinitely far; nothing overflows."""
    array = np.arange(77, dtype=np.float32)
    (result,) = related(tmp_path, (array, at(array, 4, value)))
    assert result is not None
    assert result.figures is not None
    assert result.figures.worst == pytest.approx(worst)


def test_a_zero_of_the_other_sign(tmp_path: Path) -> None:
    """-0.0 is equal to 0.0 as a number and not as bits."""
    (result,) = related(tmp_path, (np.zeros(5, np.float32), -np.zeros(5, np.float32)))
    assert result is not None
    assert str(result.figures) == "5 of 5 elements differ, by at most 0"


def test_a_large_tensor_is_looked_at_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit only the beginning is held: values are told, places are not."""
    monkeypatch.setattr(analysis, "LARGE_BYTES", 400)
    scaled, turned = SQUARE * np.float32(0.3), SQUARE.T.copy()
    assert [kind for kind, _ in said(tmp_path, (SQUARE, scaled), (SQUARE, turned))] == [
        "scaled",
        "changed",
    ]


def test_training_is_told_without_a_second_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large tensor that moved a little everywhere is not read again; one that moved much is."""
    monkeypatch.setattr(analysis, "SMALL_BYTES", 0)
    reads: list[str] = []
    load = comparison._Relater._load

    def counted(self: Any, case: TensorPair, dtype: str) -> Any:
        reads.append(case.stored.spec.name)
        return load(self, case, dtype)

    monkeypatch.setattr(comparison._Relater, "_load", counted)
    trained = SQUARE + np.random.default_rng(1).normal(0, 0.02, SQUARE.shape).astype(np.float32)
    kinds = [kind for kind, _ in said(tmp_path, (SQUARE, trained), (TABLE, np.roll(TABLE, 1, 0)))]
    assert (kinds, set(reads)) == (["changed", "shifted"], {"b/kernel"})
