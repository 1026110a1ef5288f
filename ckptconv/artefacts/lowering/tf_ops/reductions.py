"""Operators that reduce, order or accumulate along axes, in TensorFlow; an entry an operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ckptconv.artefacts.lowering.graph import Call, Entry
from ckptconv.artefacts.lowering.tf_ops.base import (
    HALVES,
    Size,
    Tensor,
    axes,
    cast,
    dtype_of,
    entry,
    is_nan,
    moments,
    rank,
    shape,
    size,
)
from ckptconv.artefacts.lowering.tf_ops.lookups import gather


def _reduced(function: Callable[..., Tensor]) -> Entry:
    """Return an entry of a sum or mean, in the dtype of the result."""

    def reduce(
        call: Call, x: Tensor, chosen: Any = None, keep: bool = False, **options: Any
    ) -> Tensor:
        dtype = dtype_of(call.dtype)
        inner = tf.float32 if dtype in HALVES else dtype
        return cast(function(cast(x, inner), axes(x, chosen), keep), dtype)

    return reduce


def _extreme(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let NaN win."""

    def extreme(x: Tensor, over: Any, keep: bool = False) -> Tensor:
        result = function(x, over, keep)
        if not x.dtype.is_floating:
            return result
        return tf.where(tf.reduce_any(is_nan(x), over, keep), cast(math.nan, x.dtype), result)

    return extreme


_highest, _lowest = _extreme(tf.reduce_max), _extreme(tf.reduce_min)
entry("sum.dim_IntList", "sum.default")(_reduced(tf.reduce_sum))
entry("mean.dim", "mean.default")(_reduced(tf.reduce_mean))
entry("prod.dim_int", "prod.default")(_reduced(tf.reduce_prod))


@entry("amax.default", "max.default")
def _amax(call: Call, x: Tensor, chosen: Any = None, keep: bool = False) -> Tensor:
    return _over_bool(_highest, tf.reduce_any, x, chosen, keep)


@entry("amin.default", "min.default")
def _amin(call: Call, x: Tensor, chosen: Any = None, keep: bool = False) -> Tensor:
    return _over_bool(_lowest, tf.reduce_all, x, chosen, keep)


def _over_bool(
    function: Callable[..., Tensor],
    on_bool: Callable[..., Tensor],
    x: Tensor,
    chosen: Any,
    keep: bool,
) -> Tensor:
    return (on_bool if x.dtype == tf.bool else function)(x, axes(x, chosen), keep)


@entry("any.default", "any.dim", "any.dims")
def _any(call: Call, x: Tensor, chosen: Any = None, keep: bool = False) -> Tensor:
    return tf.reduce_any(cast(x, tf.bool), axes(x, chosen), keep)


@entry("all.default", "all.dim", "all.dims")
def _all(call: Call, x: Tensor, chosen: Any = None, keep: bool = False) -> Tensor:
    return tf.reduce_all(cast(x, tf.bool), axes(x, chosen), keep)


@entry("var.correction")
def _var(
    call: Call, x: Tensor, chosen: Any = None, *, correction: float = 1, keepdim: bool = False
) -> Tensor:
    over = axes(x, chosen)
    _, centred, _ = moments(x, over)
    count = tf.cast(tf.reduce_prod(tf.gather(tf.shape(x), over)), x.dtype)
    return tf.reduce_sum(tf.square(centred), over, keepdim) / tf.maximum(
        count - cast(correction, x.dtype), 0
    )


@entry("linalg_vector_norm.default")
def _vector_norm(
    call: Call, x: Tensor, order: float = 2, chosen: Any = None, keep: bool = False, **options: Any
) -> Tensor:
    dtype = dtype_of(call.dtype)
    x, over = tf.abs(cast(x, tf.float32 if dtype in HALVES else dtype)), axes(x, chosen)
    if math.isinf(order):
        return cast((_highest if order > 0 else _lowest)(x, over, keep), dtype)
    if order == 0:
        return cast(tf.reduce_sum(cast(tf.not_equal(x, 0), x.dtype), over, keep), dtype)
    if order == 2:
        return cast(tf.sqrt(tf.reduce_sum(tf.square(x), over, keep)), dtype)
    power = cast(order, x.dtype)
    return cast(tf.pow(tf.reduce_sum(tf.pow(x, power), over, keep), 1 / power), dtype)


@entry("cumsum.default")
def _cumsum(call: Call, x: Tensor, axis: int, **options: Any) -> Tensor:
    x = cast(x, dtype_of(call.dtype))
    return tf.cumsum(x, axis) if rank(x) else x


@entry("cumprod.default")
def _cumprod(call: Call, x: Tensor, axis: int, **options: Any) -> Tensor:
    x = cast(x, dtype_of(call.dtype))
    return tf.math.cumprod(x, axis) if rank(x) else x


def _first(x: Tensor, axis: int, highest: bool) -> Tensor:
    """Return the lowest index of the highest (or lowest) value; NaN wins."""
    search = tf.argmax if highest else tf.argmin
    number = x if x.dtype not in (tf.bool, *HALVES) else tf.cast(x, tf.float32)
    place = search(number, axis, output_type=tf.int64)
    if not x.dtype.is_floating:
        return place
    lost = is_nan(x)
    return tf.where(
        tf.reduce_any(lost, axis),
        tf.argmax(tf.cast(lost, tf.int8), axis, output_type=tf.int64),
        place,
    )


def _positioned(highest: bool) -> Entry:
    def position(call: Call, x: Tensor, axis: int | None = None, keep: bool = False) -> Tensor:
        result = (
            _first(tf.reshape(x, [-1]), 0, highest)
            if axis is None or not rank(x)
            else _first(x, axis, highest)
        )
        return (
            tf.reshape(result, shape(call.shape)) if keep or axis is None or not rank(x) else result
        )

    return position


entry("argmax.default")(_positioned(True))
entry("argmin.default")(_positioned(False))


def _with_position(highest: bool) -> Entry:
    def extreme(call: Call, x: Tensor, axis: int, keep: bool = False) -> tuple[Tensor, Tensor]:
        place = _first(x, axis, highest)
        expanded = tf.expand_dims(place, axis)
        value = (
            tf.gather(x, place, axis=axis, batch_dims=axis % rank(x))
            if axis % rank(x) == rank(x) - 1
            else None
        )
        if value is None:
            value = tf.squeeze(gather(call, x, axis, expanded), axis)
        return (tf.expand_dims(value, axis), expanded) if keep else (value, place)

    return extreme


entry("max.dim")(_with_position(True))
entry("min.dim")(_with_position(False))


def _ordered(x: Tensor) -> Tensor:
    """Return numbers in the same order in which NaN is highest and equal values tie, for `top_k`."""
    if not x.dtype.is_floating:
        return tf.cast(x, tf.int32) if x.dtype in (tf.bool, tf.int8, tf.uint8, tf.int16) else x
    x = tf.cast(x, tf.float32) if x.dtype in HALVES else x
    integer = tf.int32 if x.dtype == tf.float32 else tf.int64
    bits = tf.bitcast(tf.where(x == 0, tf.zeros_like(x), x), integer)  # -0.0 becomes 0.0
    bits = tf.where(bits < 0, tf.bitwise.bitwise_xor(bits, tf.constant(integer.max, integer)), bits)
    return tf.where(is_nan(x), tf.constant(integer.max, integer), bits)


def _top(x: Tensor, count: Size, axis: int, highest: bool) -> tuple[Tensor, Tensor]:
    """Return the highest (or lowest) values and their indices, in order; of equal values the lowest index first."""
    order = [position for position in range(rank(x)) if position != axis] + [axis]
    back = [order.index(position) for position in range(rank(x))]
    moved = x if axis == rank(x) - 1 else tf.transpose(x, order)
    ranks = _ordered(moved)
    ranks = ranks if highest else tf.bitwise.invert(ranks)
    places = tf.cast(tf.math.top_k(ranks, tf.cast(count, tf.int32)).indices, tf.int64)
    values = tf.gather(moved, places, axis=-1, batch_dims=rank(x) - 1)
    return (
        (values, places)
        if axis == rank(x) - 1
        else (tf.transpose(values, back), tf.transpose(places, back))
    )


@entry("topk.default")
def _topk(
    call: Call, x: Tensor, count: Size, axis: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Tensor, Tensor]:
    return _top(x, count, axis % rank(x), largest)


@entry("sort.default")
def _sort(call: Call, x: Tensor, axis: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    return _top(x, size(x, axis), axis % rank(x), descending)


@entry("sort.stable")
def _sort_stable(
    call: Call, x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    return _top(x, size(x, dim), dim % rank(x), descending)
