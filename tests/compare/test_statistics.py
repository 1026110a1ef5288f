"""Figures of tensors in files against numpy's own, in float64, over all elements at once."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ckptconv.compare.statistics import BINS, SAMPLE, Statistics, measure
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from ckptconv.transfer.casting import encode
from ckptconv.transfer.pieces import PIECE_BYTES

Values = NDArray[Any]


def stored(path: Path, values: Values, dtype: str = "") -> Stored:
    """Write values as they are, after a byte that belongs to nobody."""
    path.write_bytes(b"\0" + values.tobytes())
    return Stored.in_file(
        TensorSpec("x", dtype or str(values.dtype), values.shape), path, (Extent(1, values.nbytes),)
    )


def figures(path: Path, values: Values, dtype: str = "") -> Statistics:
    """Return the figures of one tensor."""
    (result,) = measure([stored(path, values, dtype)])
    return result


def expected(values: Values) -> tuple[float, float, float, float]:
    """Return smallest, largest, mean and standard deviation."""
    exact = values.astype(np.float64)
    return float(exact.min()), float(exact.max()), float(exact.mean()), float(exact.std())


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "int64", "int32", "int8", "uint8"]
)
@pytest.mark.parametrize("count", [1, 1023, 1025, PIECE_BYTES // 4 + 7])
def test_every_dtype_and_size(tmp_path: Path, dtype: str, count: int) -> None:
    """Whatever the dtype, and however the elements fall into rows and pieces, the figures are numpy's."""
    values = (np.random.default_rng(count).standard_normal(count) * 20 + 30).astype(dtype)
    statistics = figures(tmp_path / "x", values)
    assert (
        statistics.minimum,
        statistics.maximum,
        statistics.mean,
        statistics.std,
    ) == pytest.approx(expected(values), rel=2e-6)
    assert (statistics.numel, statistics.zeros) == (count, int(np.count_nonzero(values == 0)))


def test_bfloat16(tmp_path: Path) -> None:
    """The bits of bfloat16 are read as numbers."""
    bits = encode(np.array([1.5, -2.0, 0.0, 0.5], np.float32), "bfloat16")
    statistics = figures(tmp_path / "x", bits, "bfloat16")
    assert (statistics.minimum, statistics.maximum, statistics.mean, statistics.zeros) == (
        -2.0,
        1.5,
        0.0,
        1,
    )


@pytest.mark.parametrize(
    ("centre", "spread"), [(1.0, 1e-4), (1e6, 1.0), (0.0, 1e-30), (0.0, 1e30), (-3.0, 0.5)]
)
def test_spread_keeps_its_digits(tmp_path: Path, centre: float, spread: float) -> None:
    """A small spread around a large mean, and values whose squares no float32 holds, are right to 1 in 10,000."""
    values = (np.random.default_rng(3).standard_normal(1_500_000) * spread + centre).astype(
        np.float32
    )
    statistics = figures(tmp_path / "x", values)
    assert (
        statistics.minimum,
        statistics.maximum,
        statistics.mean,
        statistics.std,
    ) == pytest.approx(expected(values), rel=1e-4, abs=spread / 1e3)
    assert statistics.std == pytest.approx(expected(values)[3], rel=1e-4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_whatever_the_values(values: list[float]) -> None:
    """NaN and infinities are counted and left out of the other figures, wherever they stand."""
    array = np.array(values, np.float32)
    finite = array[np.isfinite(array)]
    with TemporaryDirectory() as folder:
        statistics = figures(Path(folder) / "x", array)
    assert (statistics.nans, statistics.infinities) == (
        int(np.isnan(array).sum()),
        int(np.isinf(array).sum()),
    )
    assert statistics.zeros == int(np.count_nonzero(finite == 0))
    assert statistics.finite is (len(finite) == len(array))
    if len(finite):
        assert (
            statistics.minimum,
            statistics.maximum,
            statistics.mean,
            statistics.std,
        ) == pytest.approx(expected(finite), rel=1e-4, abs=1e-37)


def test_nothing_finite(tmp_path: Path) -> None:
    """Without a finite element there is no figure, and without an element neither."""
    statistics = figures(tmp_path / "x", np.array([nan, inf, -inf], np.float32))
    assert (
        str(statistics.minimum),
        str(statistics.std),
        statistics.nans,
        statistics.infinities,
        statistics.histogram,
    ) == (
        "nan",
        "nan",
        1,
        2,
        (),
    )
    empty = figures(tmp_path / "y", np.empty((0, 7), np.float32))
    assert (empty.numel, str(empty.mean), empty.zeros, empty.constant) == (0, "nan", 0, False)


def test_constant(tmp_path: Path) -> None:
    """All the same is constant; a NaN among them is not."""
    same = np.full(70_000, 0.25, np.float32)
    statistics = figures(tmp_path / "x", same)
    assert (statistics.constant, statistics.mean, statistics.std, statistics.histogram) == (
        True,
        0.25,
        0.0,
        (),
    )
    same[5] = nan
    assert not figures(tmp_path / "x", same).constant


def test_kurtosis_and_histogram(tmp_path: Path) -> None:
    """Of all elements where they are few, and of an even sample where they are many."""
    values = np.random.default_rng(1).uniform(-1, 1, 3 * SAMPLE).astype(np.float32)
    few, many = figures(tmp_path / "x", values[:5000]), figures(tmp_path / "y", values)
    exact = np.histogram(values[:5000], BINS, (values[:5000].min(), values[:5000].max()))[0]
    assert (few.sampled, few.histogram) == (5000, tuple(exact.tolist()))
    assert (many.sampled, sum(many.histogram)) == (SAMPLE, SAMPLE)
    assert min(many.histogram) > 0.9 * SAMPLE / BINS
    assert (few.kurtosis, many.kurtosis) == pytest.approx((1.8, 1.8), abs=0.05)


def test_a_view(tmp_path: Path) -> None:
    """A PyTorch view that is not row-major has the figures of its own elements only."""
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    whole = stored(tmp_path / "x", table)
    spec = replace(whole.spec, shape=(4,))
    column = Stored.in_file(spec, whole.path, [Extent(5, 40)], strides=(3,))
    (result,) = measure([column])
    assert (result.minimum, result.maximum, result.mean) == (1.0, 10.0, 5.5)


def test_progress_ends_with_every_byte(tmp_path: Path) -> None:
    """The callback gets bytes done and to do, and ends with all."""
    steps: list[tuple[int, int]] = []
    tensors = [stored(tmp_path / str(n), np.ones(n, np.float32)) for n in (5, PIECE_BYTES // 2, 9)]
    measure(tensors, lambda done, total: steps.append((done, total)))
    total = sum(tensor.spec.nbytes for tensor in tensors)
    assert (steps[-1], len(steps), {one for _, one in steps}) == ((total, total), 4, {total})
