"""Operators that move elements, or make new tensors, in JAX; an entry an operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from ckptconv.artefacts.lowering.graph import Call
from ckptconv.artefacts.lowering.jax_ops.base import Size, Tensor, axes, cast, dtype_of, entry

entry("sym_size.int")(lambda call, x, axis: x.shape[axis])
entry("sym_numel.default")(lambda call, x: math.prod(x.shape))
entry("unsqueeze.default")(lambda call, x, axis: jnp.expand_dims(x, axis))
entry("permute.default")(lambda call, x, order: jnp.transpose(x, order))
entry("flip.default")(lambda call, x, chosen: jnp.flip(x, axes(x, chosen)) if chosen else x)


@entry(
    "view.default",
    "_unsafe_view.default",
    "reshape.default",
    "squeeze.dims",
    "squeeze.dim",
    "squeeze.default",
)
def _view(call: Call, x: Tensor, *options: Any) -> Tensor:
    return jnp.reshape(x, call.shape)


@entry("expand.default")
def _expand(call: Call, x: Tensor, sizes: Sequence[Size], **options: Any) -> Tensor:
    return jnp.broadcast_to(x, call.shape)


@entry("repeat.default")
def _repeat(call: Call, x: Tensor, counts: Sequence[Size]) -> Tensor:
    x = x.reshape((1,) * (len(counts) - x.ndim) + x.shape)
    between = [size for pair in zip([1] * x.ndim, x.shape, strict=True) for size in pair]
    wide = [size for pair in zip(counts, x.shape, strict=True) for size in pair]
    return jnp.broadcast_to(x.reshape(between), wide).reshape(call.shape)


def from_front(place: Size, length: Size) -> Size:
    """Return a place counted from the front; below 0 it counts from the end, also as a symbol: `x[-length:]`."""
    if isinstance(place, int) or is_symbolic_dim(place):
        with suppress(jax.core.InconclusiveDimensionOperation):
            return place + length if place < 0 else place
    return place


@entry("slice.Tensor")
def _slice(
    call: Call,
    x: Tensor,
    axis: int = 0,
    start: Size | None = None,
    end: Size | None = None,
    step: int = 1,
) -> Tensor:
    axis %= x.ndim
    length = call.shape[axis]
    first = from_front(0 if start is None else start, x.shape[axis])
    try:
        if step == 1:
            return lax.slice_in_dim(x, first, first + length, axis=axis)
    except (jax.core.InconclusiveDimensionOperation, TypeError):
        pass  # a start that is a value of the program, or a length that may be beyond a table
    return jnp.take(x, jnp.arange(length) * step + first, axis=axis, mode="fill")


@entry("select.int")
def _select(call: Call, x: Tensor, axis: int, index: Size) -> Tensor:
    index = from_front(index, x.shape[axis])
    return lax.dynamic_index_in_dim(x, jnp.asarray(index), axis, keepdims=False)


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
    first = from_front(0 if start is None else start, x.shape[axis])
    return _placed(x, axis % x.ndim, jnp.arange(source.shape[axis]) * step + first, source)


@entry("select_scatter.default")
def _select_scatter(call: Call, x: Tensor, source: Tensor, axis: int, index: Size) -> Tensor:
    index = from_front(index, x.shape[axis])
    return _placed(x, axis % x.ndim, jnp.asarray(index).reshape(1), jnp.expand_dims(source, axis))


def _placed(x: Tensor, axis: int, positions: Tensor, source: Tensor) -> Tensor:
    """Write rows of an axis."""
    moved = (
        jnp.moveaxis(x, axis, 0).at[positions].set(jnp.moveaxis(source.astype(x.dtype), axis, 0))
    )
    return jnp.moveaxis(moved, 0, axis)


@entry("copy.default")
def _copy(call: Call, x: Tensor, source: Tensor, *options: Any) -> Tensor:
    return jnp.broadcast_to(cast(source, x.dtype), x.shape)


@entry("cat.default")
def _cat(call: Call, tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    dtype = dtype_of(call.dtype)
    parts = [cast(part, dtype) for part in tensors if not (part.ndim == 1 and part.shape[0] == 0)]
    return (
        jnp.concatenate(parts, axis)
        if len(parts) > 1
        else parts[0]
        if parts
        else cast(tensors[0], dtype)
    )


@entry("stack.default")
def _stack(call: Call, tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    return jnp.stack([cast(part, dtype_of(call.dtype)) for part in tensors], axis)


@entry("split_with_sizes.default")
def _split(call: Call, x: Tensor, sizes: Sequence[Size], axis: int = 0) -> tuple[Tensor, ...]:
    parts, start = [], 0
    for size in sizes:
        parts.append(lax.slice_in_dim(x, start, start + size, axis=axis))
        start = start + size
    return tuple(parts)


@entry("unbind.int")
def _unbind(call: Call, x: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    return tuple(lax.index_in_dim(x, place, axis, keepdims=False) for place in range(x.shape[axis]))


@entry("constant_pad_nd.default")
def _pad(call: Call, x: Tensor, amounts: Sequence[Size], value: Any = 0) -> Tensor:
    widths = [(0, 0, 0)] * x.ndim
    for position in range(0, len(amounts), 2):
        widths[x.ndim - 1 - position // 2] = (amounts[position], amounts[position + 1], 0)
    return lax.pad(x, cast(value, x.dtype), widths)


@entry("diagonal.default")
def _diagonal(call: Call, x: Tensor, offset: int = 0, first: int = 0, second: int = 1) -> Tensor:
    moved = jnp.moveaxis(x, (first, second), (-2, -1))
    places = jnp.arange(call.shape[-1])
    return moved[..., places + max(-offset, 0), places + max(offset, 0)]


@entry("full.default", "new_full.default", "full_like.default", "fill.Scalar", "fill.Tensor")
def _full(call: Call, *arguments: Any, **options: Any) -> Tensor:
    return jnp.broadcast_to(cast(arguments[-1], dtype_of(call.dtype)).reshape(()), call.shape)


@entry("zeros.default", "zeros_like.default", "new_zeros.default")
@entry("empty.memory_format", "empty_like.default", "new_empty.default")
def _zeros(call: Call, *arguments: Any, **options: Any) -> Tensor:
    return jnp.zeros(call.shape, dtype_of(call.dtype))


@entry("ones.default", "ones_like.default", "new_ones.default")
def _ones(call: Call, *arguments: Any, **options: Any) -> Tensor:
    return jnp.ones(call.shape, dtype_of(call.dtype))


@entry("scalar_tensor.default")
def _scalar_tensor(call: Call, value: Any, **options: Any) -> Tensor:
    return cast(value, dtype_of(call.dtype))


@entry("arange.start_step")
def _arange(call: Call, start: Any, end: Any, step: Any = 1, **options: Any) -> Tensor:
    dtype = dtype_of(call.dtype)
    inner = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.int64
    steps = lax.iota(inner, call.shape[0])
    return (steps * cast(step, inner) + cast(start, inner)).astype(dtype)
