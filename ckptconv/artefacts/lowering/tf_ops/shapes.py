"""Operators that move elements, or make new tensors, in TensorFlow; an entry an operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ckptconv.artefacts.lowering.graph import Call
from ckptconv.artefacts.lowering.tf_ops.base import (
    END,
    Size,
    Tensor,
    axes,
    cast,
    dtype_of,
    entry,
    rank,
    shape,
    size,
    wrapped,
)

entry("sym_size.int")(lambda call, x, axis: size(x, axis))
entry("sym_numel.default")(lambda call, x: tf.size(x, out_type=tf.int64))
entry("unsqueeze.default")(lambda call, x, axis: tf.expand_dims(x, axis))
entry("permute.default")(lambda call, x, order: tf.transpose(x, [axis % rank(x) for axis in order]))
entry("flip.default")(lambda call, x, chosen: tf.reverse(x, axes(x, chosen)) if chosen else x)


@entry("view.default", "_unsafe_view.default", "reshape.default")
def _view(call: Call, x: Tensor, sizes: Sequence[Size]) -> Tensor:
    free = [position for position, value in enumerate(sizes) if not isinstance(value, int)]
    listed = list(sizes)
    if len(free) == 1 and -1 not in [value for value in sizes if isinstance(value, int)]:
        listed[free[0]] = -1
    return tf.reshape(x, shape(listed))


@entry("squeeze.dims", "squeeze.dim", "squeeze.default")
def _squeeze(call: Call, x: Tensor, chosen: int | Sequence[int] | None = None) -> Tensor:
    return tf.reshape(x, shape(call.shape))


@entry("expand.default")
def _expand(call: Call, x: Tensor, sizes: Sequence[Size], **options: Any) -> Tensor:
    return tf.broadcast_to(x, shape(call.shape))


@entry("repeat.default")
def _repeat(call: Call, x: Tensor, counts: Sequence[Size]) -> Tensor:
    front = len(counts) - rank(x)
    x = (
        tf.reshape(x, shape([1] * front + [size(x, axis) for axis in range(rank(x))]))
        if front
        else x
    )
    return tf.tile(x, shape(counts))


@entry("slice.Tensor")
def _slice(
    call: Call,
    x: Tensor,
    axis: int = 0,
    start: Size | None = None,
    end: Size | None = None,
    step: int = 1,
) -> Tensor:
    key = [slice(None)] * rank(x)
    first = None if start is None or (isinstance(start, int) and start == 0) else start
    last = None if end is None or (isinstance(end, int) and end >= END) else end
    key[axis] = slice(first, last, None if step == 1 else step)
    return x if key[axis] == slice(None) else x[tuple(key)]


@entry("select.int")
def _select(call: Call, x: Tensor, axis: int, index: Size) -> Tensor:
    key: list[Any] = [slice(None)] * rank(x)
    key[axis] = index
    return x[tuple(key)]


def _span(x: Tensor, axis: int, start: Size | None, end: Size | None, step: int) -> Tensor:
    """Return the positions that a slice takes."""
    positions = tf.range(tf.cast(size(x, axis), tf.int64))
    return positions[slice(start, None if isinstance(end, int) and end >= END else end, step)]


@entry("slice_scatter.default")
def _slice_scatter(
    call: Call,
    x: Tensor,
    source: Tensor,
    axis: int = 0,
    start: Size | None = None,
    end: Size | None = None,
    step: int = 1,
) -> Tensor:
    return _placed(x, axis % rank(x), _span(x, axis, start, end, step), source)


@entry("select_scatter.default")
def _select_scatter(call: Call, x: Tensor, source: Tensor, axis: int, index: Size) -> Tensor:
    place = wrapped(tf.reshape(tf.cast(index, tf.int64), [1]), size(x, axis))
    return _placed(x, axis % rank(x), place, tf.expand_dims(source, axis))


def _placed(x: Tensor, axis: int, positions: Tensor, source: Tensor) -> Tensor:
    """Write rows of an axis."""
    order = [axis, *(place for place in range(rank(x)) if place != axis)]
    source = cast(source, x.dtype)
    moved = tf.tensor_scatter_nd_update(
        tf.transpose(x, order), positions[:, None], tf.transpose(source, order)
    )
    return tf.transpose(moved, [order.index(position) for position in range(rank(x))])


@entry("copy.default")
def _copy(call: Call, x: Tensor, source: Tensor, *options: Any) -> Tensor:
    return tf.broadcast_to(cast(source, x.dtype), tf.shape(x))


@entry("cat.default")
def _cat(call: Call, tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    dtype = dtype_of(call.dtype)
    parts = [cast(part, dtype) for part in tensors if not (rank(part) == 1 and part.shape[0] == 0)]
    return (
        tf.concat(parts, axis) if len(parts) > 1 else parts[0] if parts else cast(tensors[0], dtype)
    )


@entry("stack.default")
def _stack(call: Call, tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    return tf.stack([cast(part, dtype_of(call.dtype)) for part in tensors], axis)


@entry("split_with_sizes.default")
def _split(call: Call, x: Tensor, sizes: Sequence[Size], axis: int = 0) -> tuple[Tensor, ...]:
    return tuple(tf.split(x, shape(sizes), axis, num=len(sizes)))


@entry("unbind.int")
def _unbind(call: Call, x: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    return tuple(tf.unstack(x, call.argument(0).shape[axis], axis))


@entry("constant_pad_nd.default")
def _pad(call: Call, x: Tensor, amounts: Sequence[Size], value: Any = 0) -> Tensor:
    for position in range(0, len(amounts), 2):
        axis = rank(x) - 1 - position // 2
        for side, amount in enumerate(amounts[position : position + 2]):
            x = _padded(x, axis, amount, bool(side), value)
    return x


def _padded(x: Tensor, axis: int, amount: Size, after: bool, value: Any) -> Tensor:
    if isinstance(amount, int) and amount <= 0:
        keys = [slice(None)] * rank(x)
        keys[axis] = (
            (slice(None, amount) if after else slice(-amount, None)) if amount else slice(None)
        )
        return x[tuple(keys)]
    sizes = [size(x, place) if place != axis else amount for place in range(rank(x))]
    border = tf.fill(shape(sizes), cast(value, x.dtype))
    return tf.concat([x, border] if after else [border, x], axis)


@entry("diagonal.default")
def _diagonal(call: Call, x: Tensor, offset: int = 0, first: int = 0, second: int = 1) -> Tensor:
    first, second = first % rank(x), second % rank(x)
    order = [axis for axis in range(rank(x)) if axis not in (first, second)] + [first, second]
    moved = tf.transpose(x, order)
    length = call.shape[-1]
    places = tf.range(tf.cast(length, tf.int64))
    rows, columns = places + max(-offset, 0), places + max(offset, 0)
    flat = tf.reshape(moved, shape([*(size(moved, axis) for axis in range(rank(x) - 2)), -1]))
    return tf.gather(flat, rows * tf.cast(size(moved, -1), tf.int64) + columns, axis=-1)


@entry("full.default", "new_full.default")
def _full(call: Call, *arguments: Any, **options: Any) -> Tensor:
    return tf.fill(shape(call.shape), cast(arguments[-1], dtype_of(call.dtype)))


@entry("full_like.default", "fill.Scalar", "fill.Tensor")
def _full_like(call: Call, x: Tensor, value: Any, **options: Any) -> Tensor:
    return tf.fill(tf.shape(x), tf.reshape(cast(value, dtype_of(call.dtype)), []))


@entry("zeros.default", "zeros_like.default", "new_zeros.default")
@entry("empty.memory_format", "empty_like.default", "new_empty.default")
def _zeros(call: Call, *arguments: Any, **options: Any) -> Tensor:
    return tf.zeros(shape(call.shape), dtype_of(call.dtype))


@entry("ones.default", "ones_like.default", "new_ones.default")
def _ones(call: Call, *arguments: Any, **options: Any) -> Tensor:
    return tf.ones(shape(call.shape), dtype_of(call.dtype))


@entry("scalar_tensor.default")
def _scalar_tensor(call: Call, value: Any, **options: Any) -> Tensor:
    return cast(value, dtype_of(call.dtype))


@entry("arange.start_step")
def _arange(call: Call, start: Any, end: Any, step: Any = 1, **options: Any) -> Tensor:
    dtype = dtype_of(call.dtype)
    inner = dtype if dtype.is_floating else tf.int64
    (length,) = call.shape
    steps = tf.range(tf.cast(length, tf.int64))
    return tf.cast(tf.cast(steps, inner) * cast(step, inner) + cast(start, inner), dtype)
