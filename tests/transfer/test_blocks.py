"""`blocks`: any order of axes against numpy, whatever fits into memory at a time."""

from __future__ import annotations

import tracemalloc
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptconv.binding.plan import Move, Permute
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.tensors import expand, linear
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from ckptconv.transfer import pieces
from ckptconv.transfer.pieces import Block, Gatherer, OpenFiles, Pieces, cut, row_major

(ROW,) = expand([linear("any", 3, 2, bias=False)], NAMINGS)
SHAPES = st.lists(st.sampled_from([1, 2, 3, 5, 7, 11]), min_size=1, max_size=4)


@st.composite
def views(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return an array, and a view of it that skips elements and has its axes in any order."""
    shape = draw(SHAPES)
    steps = [draw(st.sampled_from([1, 2])) for _ in shape]
    base = np.arange(
        prod(size * step for size, step in zip(shape, steps, strict=True)), dtype=np.uint32
    )
    base = base.reshape([size * step for size, step in zip(shape, steps, strict=True)])
    view = base[tuple(slice(None, None, step) for step in steps)]
    return base, view.transpose(draw(st.permutations(range(len(shape)))))


@pytest.mark.thorough
@settings(deadline=None)
@given(
    views(),
    st.sampled_from([1, 2, 7, 50, 10_000]),
    st.sampled_from([1, 3, 20, 500]),
    st.sampled_from([0, 4, 30]),
)
def test_blocks_are_the_whole(
    arrays: tuple[np.ndarray, np.ndarray], most: int, band: int, near: int
) -> None:
    """Gathered one after the other, blocks of any size are numpy's bytes, and none holds more than it may."""
    base, view = arrays
    flat = base.reshape(-1)

    def read(first: int, buffer: memoryview) -> None:
        buffer[:] = memoryview(flat[first : first + len(buffer) // 4]).cast("B")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "BAND_BYTES", band * 4)
        patch.setattr(pieces, "NEAR_BYTES", near * 4)
        gatherer = Gatherer(read, flat.dtype)
        strides = tuple(step // 4 for step in view.strides)
        result = list(cut(Block(0, view.shape, strides), most))
        made = [gatherer.fill(item, np.empty(most, np.uint32)).tobytes() for item in result]
    assert b"".join(made) == view.tobytes()
    assert max(prod(item.shape) for item in result) <= most


def test_strides_of_a_whole() -> None:
    """SchemaTensor-major strides count the items of the axes that follow."""
    assert [row_major(shape) for shape in ((), (5,), (2, 3, 5), (4, 0, 2))] == [
        (),
        (1,),
        (15, 5, 1),
        (0, 2, 1),
    ]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("shape", "order"), [((3001, 701), (1, 0)), ((701, 3001), (1, 0)), ((61, 7, 5003), (2, 0, 1))]
)
def test_a_large_tensor_is_never_held_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], order: tuple[int, ...]
) -> None:
    """A tensor above the bound whose axes change has numpy's bytes, and takes the bound's memory and no more."""
    array = np.random.default_rng(3).standard_normal(shape, dtype=np.float32)
    array.tofile(tmp_path / "w")
    source = Stored.in_file(
        TensorSpec("s", "float32", shape), tmp_path / "w", (Extent(0, array.nbytes),)
    )
    expected = np.ascontiguousarray(array.transpose(order))
    move = Move(
        ROW,
        TensorSpec("t", "float32", expected.shape),
        source,
        (Permute(order),),
    )
    monkeypatch.setattr(pieces, "HELD_BYTES", 1 << 20)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1 << 18)
    monkeypatch.setattr(pieces, "BAND_BYTES", 1 << 18)
    held, start = 0, 0
    tracemalloc.start()
    with OpenFiles() as files:
        for piece in Pieces(files).of(move):
            assert (
                bytes(piece)
                == expected.reshape(-1).view(np.uint8)[start : start + len(piece)].tobytes()
            )
            start += len(piece)
            held = max(held, tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert start == array.nbytes
    assert held < 3 << 20 < array.nbytes
