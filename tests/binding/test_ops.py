"""Operations: each gives the shape that it says, and its inverse gives the array back."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptconv.binding.plan import Cast, Concat, Fill, Op, Permute, Reshape, Rows, Slice, ops_between
from ckptconv.schema.fixes import RowRange
from ckptconv.transfer.pieces import applied

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@st.composite
def operations(draw: st.DrawFn) -> tuple[tuple[int, ...], Op]:
    """Draw a shape and an operation that takes an array of it."""
    shape = draw(SHAPES)
    rows = shape[0]
    first = draw(st.integers(0, rows))
    every = [RowRange(0, first), RowRange(first, rows, draw(st.integers(1, 3)))]
    kinds: list[Op] = [
        Reshape(shape, (prod(shape),)),
        Permute(tuple(draw(st.permutations(range(len(shape)))))),
        Rows(tuple(reversed(every)) if draw(st.booleans()) else tuple(every)),
        Cast("float32", "float64"),
    ]
    return shape, draw(st.sampled_from(kinds))


@given(operations())
def test_an_inverse_gives_the_array_back(drawn: tuple[tuple[int, ...], Op]) -> None:
    """There and back is the same array, bit for bit, in the shape that the operation promised."""
    shape, op = drawn
    array = np.random.default_rng(7).standard_normal(shape, np.float32).view(np.uint32)  # as moved
    there = applied([op], [array])
    assert there.shape == op.shape(shape)
    assert not isinstance(op, Slice)
    (back,) = op.inverse()
    assert applied([back], [there]).tobytes() == array.tobytes()


@given(SHAPES, st.data())
def test_slices_undo_a_concatenation(shape: tuple[int, ...], data: st.DataObject) -> None:
    """Several arrays joined along any axis come back, each by its slice."""
    axis = data.draw(st.integers(0, len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple))
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    arrays = [np.full(each, n, np.float32) for n, each in enumerate(shapes)]
    concat = Concat(axis, sizes)
    joined = applied([concat], arrays)
    assert joined.shape == concat.shape(*shapes)
    slices = concat.inverse()
    assert [op.shape(joined.shape) for op in slices] == shapes
    for op, array in zip(slices, arrays, strict=True):
        assert np.array_equal(applied([op], [joined]), array)


def test_what_is_filled_leaves_nothing() -> None:
    """Values that no source held are not kept on the way back."""
    assert Fill(std=0.02).inverse() == ()


def test_a_concatenation_of_other_lengths_is_a_fault() -> None:
    """An operation is run on what it was made for, or not at all."""
    with pytest.raises(AssertionError, match="other lengths"):
        applied([Concat(0, (2, 2))], [np.zeros(2, np.float32), np.zeros(3, np.float32)])


@given(st.permutations(["out", "in", "kernel"]), st.permutations(["out", "in", "kernel"]))
def test_axes_go_by_their_labels(axes: list[str], wanted: list[str]) -> None:
    """Whatever the two orders, and with an axis of length one that comes or goes, numpy agrees."""
    sizes = {"out": 2, "in": 3, "kernel": 5}
    array = np.random.default_rng(1).standard_normal([sizes[axis] for axis in axes], np.float32)
    ops = ops_between(("1", *axes), (1, *array.shape), (*wanted, "1"))
    expected = array.transpose([axes.index(axis) for axis in wanted])[..., None]
    assert np.array_equal(applied(ops, [array[None]]), expected)
