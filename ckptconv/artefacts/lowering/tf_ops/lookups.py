"""Operators that read or write at indices, in TensorFlow; an entry an operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ckptconv.artefacts.lowering.graph import Call, Entry
from ckptconv.artefacts.lowering.tf_ops.base import Tensor, cast, entry, rank, size, wrapped
from ckptconv.base.errors import SourceError


@entry("embedding.default")
def _embedding(call: Call, weight: Tensor, index: Tensor, *options: Any) -> Tensor:
    return tf.gather(weight, index)


@entry("index_select.default")
def _index_select(call: Call, x: Tensor, axis: int, index: Tensor) -> Tensor:
    return tf.gather(x, index, axis=axis)


def _places(index: Tensor, axis: int) -> Tensor:
    """Return the full coordinates of elements that an index names along one axis: [elements, rank]."""
    grids = tf.meshgrid(
        *(tf.range(tf.cast(size(index, place), tf.int64)) for place in range(rank(index))),
        indexing="ij",
    )
    grids[axis] = cast(index, tf.int64)
    return tf.reshape(tf.stack(grids, -1), [-1, rank(index)])


@entry("gather.default")
def gather(call: Call, x: Tensor, axis: int, index: Tensor, **options: Any) -> Tensor:
    """Take the elements that an index of as many axes names along one of them."""
    if rank(x) == 0:
        return tf.broadcast_to(x, tf.shape(index))
    result = tf.gather_nd(x, _places(index, axis % rank(x)))
    return tf.reshape(result, tf.shape(index))


def _scattered(update: Callable[..., Tensor]) -> Entry:
    def scatter(
        call: Call, x: Tensor, axis: int, index: Tensor, source: Any, **options: Any
    ) -> Tensor:
        source = cast(source, x.dtype)
        if rank(source) == 0:
            values = tf.fill(tf.shape(index), source)
        else:
            values = tf.slice(source, [0] * rank(source), tf.shape(index))
        return update(x, _places(index, axis % rank(x)), tf.reshape(values, [-1]))

    return scatter


entry("scatter.src", "scatter.value")(_scattered(tf.tensor_scatter_nd_update))
entry("scatter_add.default")(_scattered(tf.tensor_scatter_nd_add))


@entry("scatter_reduce.two")
def _scatter_reduce(
    call: Call,
    x: Tensor,
    axis: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    updates = {
        "sum": tf.tensor_scatter_nd_add,
        "amax": tf.tensor_scatter_nd_max,
        "amin": tf.tensor_scatter_nd_min,
    }
    if reduce not in updates or not include_self:
        raise SourceError(
            f"scatter_reduce by {reduce!r}, include_self={include_self}, cannot be written for TensorFlow"
        )
    return _scattered(updates[reduce])(call, x, axis, index, source)


def _indexed(x: Tensor, indices: Sequence[Tensor | None]) -> tuple[Tensor, Tensor, list[int], int]:
    """Return x with the indexed axes in front, coordinates in these, the order of axes, and where results belong."""
    chosen = [axis for axis, index in enumerate(indices) if index is not None]
    order = chosen + [axis for axis in range(rank(x)) if axis not in chosen]
    tensors = [
        wrapped(index, size(x, axis)) for axis, index in enumerate(indices) if index is not None
    ]
    common = tensors[0]
    for tensor in tensors[1:]:
        common = common + tf.zeros_like(tensor)
    spread = [tensor + tf.zeros_like(common) for tensor in tensors]
    adjacent = chosen[-1] - chosen[0] + 1 == len(chosen)
    return tf.transpose(x, order), tf.stack(spread, -1), order, chosen[0] if adjacent else 0


def _by_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (tf.bool, tf.uint8) for index in indices)


@entry("index.Tensor")
def _index(call: Call, x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    if _by_mask(indices):
        raise SourceError("the traced program selects by a mask, so that a shape depends on values")
    moved, places, _, front = _indexed(x, indices)
    result = tf.gather_nd(moved, places)
    count = rank(places) - 1
    rest = list(range(count, rank(result)))
    return tf.transpose(result, [*rest[:front], *range(count), *rest[front:]]) if front else result


@entry("index_put.default")
def _index_put(
    call: Call,
    x: Tensor,
    indices: Sequence[Tensor | None],
    values: Tensor,
    accumulate: bool = False,
) -> Tensor:
    values = cast(values, x.dtype)
    if _by_mask(indices):
        return _masked_put(call, x, indices, values, accumulate)
    moved, places, order, front = _indexed(x, indices)
    count = rank(places) - 1
    free = rank(x) - places.shape[-1]
    target = tf.concat([tf.shape(places)[:-1], tf.shape(moved)[places.shape[-1] :]], 0)
    if front:  # the axes of the result as PyTorch orders them -> indexed axes in front
        back = [*range(front, front + count), *range(front), *range(front + count, count + free)]
        ordered = tf.gather(target, [back.index(axis) for axis in range(count + free)])
        values = tf.transpose(tf.broadcast_to(values, ordered), back)
    else:
        values = tf.broadcast_to(values, target)
    update = tf.tensor_scatter_nd_add if accumulate else tf.tensor_scatter_nd_update
    return tf.transpose(
        update(moved, places, values), [order.index(axis) for axis in range(rank(x))]
    )


def _masked_put(
    call: Call, x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool
) -> Tensor:
    if len(indices) != 1 or call.argument(2).numel() != 1:
        raise SourceError(
            "the traced program writes many values by a mask, so that a shape depends on values"
        )
    mask = indices[0]
    assert mask is not None
    mask = tf.reshape(
        cast(mask, tf.bool), tf.concat([tf.shape(mask), [1] * (rank(x) - rank(mask))], 0)
    )
    value = tf.reshape(values, [])
    return tf.where(mask, x + value if accumulate else value, x)
