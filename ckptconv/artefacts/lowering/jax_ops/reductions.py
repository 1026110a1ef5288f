"""Operators that reduce, order or accumulate along axes, in JAX; an entry an operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from ckptconv.artefacts.lowering.graph import Call, Entry
from ckptconv.artefacts.lowering.jax_ops.base import (
    Size,
    Tensor,
    axes,
    cast,
    dtype_of,
    entry,
    is_half,
    moments,
)


def _reduced(function: Callable[..., Tensor]) -> Entry:
    """Return an entry of a sum or mean, in the dtype of the result."""

    def reduce(
        call: Call, x: Tensor, chosen: Any = None, keep: bool = False, **options: Any
    ) -> Tensor:
        dtype = dtype_of(call.dtype)
        inner = jnp.float32 if is_half(dtype) else dtype
        return function(cast(x, inner), axis=axes(x, chosen), keepdims=keep).astype(dtype)

    return reduce


entry("sum.dim_IntList", "sum.default")(_reduced(jnp.sum))
entry("mean.dim", "mean.default")(_reduced(jnp.mean))
entry("prod.dim_int", "prod.default")(_reduced(jnp.prod))


def _extreme(function: Callable[..., Tensor]) -> Entry:
    return lambda call, x, chosen=None, keep=False: function(x, axis=axes(x, chosen), keepdims=keep)


entry("amax.default", "max.default")(_extreme(jnp.max))
entry("amin.default", "min.default")(_extreme(jnp.min))


def _tested(function: Callable[..., Tensor]) -> Entry:
    return lambda call, x, chosen=None, keep=False: function(
        cast(x, jnp.bool_), axis=axes(x, chosen), keepdims=keep
    )


entry("any.default", "any.dim", "any.dims")(_tested(jnp.any))
entry("all.default", "all.dim", "all.dims")(_tested(jnp.all))


@entry("var.correction")
def _var(
    call: Call, x: Tensor, chosen: Any = None, *, correction: float = 1, keepdim: bool = False
) -> Tensor:
    over = axes(x, chosen)
    _, centred, _ = moments(x, over)
    count = cast(math.prod(x.shape[axis] for axis in over), x.dtype)
    return jnp.sum(jnp.square(centred), over, keepdims=keepdim) / jnp.maximum(
        count - cast(correction, x.dtype), 0
    )


@entry("linalg_vector_norm.default")
def _vector_norm(
    call: Call, x: Tensor, order: float = 2, chosen: Any = None, keep: bool = False, **options: Any
) -> Tensor:
    dtype = dtype_of(call.dtype)
    x, over = jnp.abs(cast(x, jnp.float32 if is_half(dtype) else dtype)), axes(x, chosen)
    if math.isinf(order):
        return (jnp.max if order > 0 else jnp.min)(x, axis=over, keepdims=keep).astype(dtype)
    if order == 0:
        return jnp.sum(x != 0, axis=over, keepdims=keep, dtype=x.dtype).astype(dtype)
    if order == 2:
        return jnp.sqrt(jnp.sum(jnp.square(x), axis=over, keepdims=keep)).astype(dtype)
    power = cast(order, x.dtype)
    return jnp.power(jnp.sum(x**power, axis=over, keepdims=keep), 1 / power).astype(dtype)


@entry("cumsum.default")
def _cumsum(call: Call, x: Tensor, axis: int, **options: Any) -> Tensor:
    x = cast(x, dtype_of(call.dtype))
    return lax.cumsum(x, axis % x.ndim) if x.ndim else x


@entry("cumprod.default")
def _cumprod(call: Call, x: Tensor, axis: int, **options: Any) -> Tensor:
    x = cast(x, dtype_of(call.dtype))
    return lax.cumprod(x, axis % x.ndim) if x.ndim else x


def _positioned(function: Callable[..., Tensor]) -> Entry:
    """Return an entry of the lowest index of an extreme; NaN wins."""

    def position(call: Call, x: Tensor, axis: int | None = None, keep: bool = False) -> Tensor:
        x = x.astype(jnp.int32) if x.dtype == jnp.bool_ else x
        if axis is None or x.ndim == 0:
            return function(x.reshape(-1), 0, jnp.int32).astype(jnp.int64).reshape(call.shape)
        place = function(x, axis % x.ndim, jnp.int32).astype(jnp.int64)
        return jnp.expand_dims(place, axis) if keep else place

    return position


entry("argmax.default")(_positioned(lax.argmax))
entry("argmin.default")(_positioned(lax.argmin))


def _with_position(place: Callable[..., Tensor], value: Callable[..., Tensor]) -> Entry:
    def extreme(call: Call, x: Tensor, axis: int, keep: bool = False) -> tuple[Tensor, Tensor]:
        return value(x, axis, keepdims=keep), _positioned(place)(call, x, axis, keep)

    return extreme


entry("max.dim")(_with_position(lax.argmax, jnp.max))
entry("min.dim")(_with_position(lax.argmin, jnp.min))


@entry("topk.default")
def _topk(
    call: Call, x: Tensor, count: Size, axis: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Tensor, Tensor]:
    return _top(x, count, axis % x.ndim, largest)


def _top(x: Tensor, count: Size, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Return the first rows in order; NaN is highest, and of equal values the lowest index comes first."""
    if largest and axis == x.ndim - 1 and x.dtype != jnp.bool_:
        values, places = lax.top_k(x, count)
        return values, places.astype(jnp.int64)
    values, places = _sorted(x, axis, largest)
    return lax.slice_in_dim(values, 0, count, axis=axis), lax.slice_in_dim(
        places, 0, count, axis=axis
    )


def _sorted(x: Tensor, axis: int, descending: bool) -> tuple[Tensor, Tensor]:
    places = jnp.argsort(x, axis=axis, stable=True, descending=descending).astype(jnp.int64)
    return jnp.take_along_axis(x, places, axis), places


@entry("sort.default")
def _sort(call: Call, x: Tensor, axis: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    return _sorted(x, axis % x.ndim, descending)


@entry("sort.stable")
def _sort_stable(
    call: Call, x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    return _sorted(x, dim % x.ndim, descending)
