"""Values that no training gives: NaN of every kind, infinities, all the same, almost nothing, nothing at all.

Warnings are errors in these tests, also in the threads that read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ckptconv.compare.analysis import ItemPair, relate
from ckptconv.compare.place_relations import rows, transposed
from ckptconv.compare.statistics import BINS, measure
from ckptconv.compare.stream import Reader, compare_stream
from ckptconv.compare.value_relations import constant, initialised, rounded, scaled
from ckptconv.stores.tensor import FLOATS, Extent, Stored, TensorSpec
from ckptconv.transfer.casting import encode, raw_dtype
from ckptconv.transfer.pieces import OpenFiles

Values = NDArray[Any]
SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-320, -1e-310, 1e-45, 3e38, 1.7e308, -1.7e308]
)
SHAPES = ((), (0,), (1,), (13,), (0, 3), (2, 3), (8, 13), (3, 5, 7))
LABELS = ("out", "in")


def strange(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Iterator[Values]:
    """Return raw items of each kind: any bits, special values, one value, one strange one among drawn ones."""
    size, raw = int(np.prod(shape, dtype=int)), raw_dtype(dtype)
    yield rng.integers(0, 256, size * raw.itemsize, dtype=np.uint8).view(raw)
    drawn = rng.normal(size=size) * rng.choice([1.0, 1e-308, 1e300])
    one_strange = np.where(np.arange(size) == size // 2, rng.choice(SPECIAL), drawn)
    for values in (
        rng.choice(SPECIAL, size),
        np.full(size, rng.choice(SPECIAL)),
        one_strange,
        drawn,
    ):
        with np.errstate(all="ignore"):  # of the test's own casts
            yield encode(values, dtype).view(raw)


@pytest.mark.parametrize("dtype", sorted(FLOATS))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_arithmetic_complains(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Every function that looks at values answers about any values, by themselves and beside any others."""
    tensors = list(strange(np.random.default_rng(len(shape)), shape, dtype))
    for number, actual in enumerate(tensors):
        file = tmp_path / str(number)
        file.write_bytes(actual.tobytes())
        stored = Stored.in_file(TensorSpec("x", dtype, shape), file, (Extent(0, actual.nbytes),))
        (figures,) = measure([stored])
        assert sum(figures.histogram) in (0, figures.sampled)
        for expected in tensors:
            for relation in (constant, rounded, scaled, initialised):
                relation(expected, actual, dtype)
            transposed(expected.reshape(shape), actual.reshape(shape))
            rows(expected.reshape(shape), actual.reshape(shape), LABELS)
            with OpenFiles() as files:
                pieces = iter([memoryview(expected.tobytes())] if actual.size else [])
                streamed = compare_stream(pieces, dtype, stored, Reader(files))
            pair = ItemPair(expected, actual, whole=True)
            difference = relate(streamed, shape, LABELS, partial(lambda loaded: loaded, pair))
            assert (difference is None) == (expected.tobytes() == actual.tobytes())


def test_the_smallest_numbers_have_a_histogram(tmp_path: Path) -> None:
    """Numbers below the normal ones fall into their bins; before, all were divided by a width that is none."""
    values = np.arange(2 * BINS) * 5e-324
    (tmp_path / "x").write_bytes(values.tobytes())
    spec = TensorSpec("x", "float64", values.shape)
    stored = Stored.in_file(spec, tmp_path / "x", (Extent(0, values.nbytes),))
    (figures,) = measure([stored])
    assert (len(figures.histogram), sum(figures.histogram)) == (BINS, 2 * BINS)
    assert max(figures.histogram) <= 3


def test_huge_values_are_not_called_drawn() -> None:
    """Where squares overflow nobody knows a distribution; uniform draws of a usual size are told."""
    rng = np.random.default_rng(0)
    old, new = (rng.uniform(-1, 1, 4096) for _ in range(2))
    raw = raw_dtype("float64")
    assert initialised(old.view(raw), new.view(raw), "float64")
    assert initialised((old * 1e200).view(raw), (new * 1e200).view(raw), "float64") is None
