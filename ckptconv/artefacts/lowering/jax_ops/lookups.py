"""Operators that read or write at indices, in JAX; an entry an operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from ckptconv.artefacts.lowering.graph import Call, Entry
from ckptconv.artefacts.lowering.jax_ops.base import Tensor, cast, entry
from ckptconv.base.errors import SourceError


@entry("embedding.default")
def _embedding(call: Call, weight: Tensor, index: Tensor, *options: Any) -> Tensor:
    return jnp.take(weight, index, axis=0, mode="fill")


@entry("index_select.default")
def _index_select(call: Call, x: Tensor, axis: int, index: Tensor) -> Tensor:
    return jnp.take(x, index, axis=axis, mode="fill")


@entry("gather.default")
def _gather(call: Call, x: Tensor, axis: int, index: Tensor, **options: Any) -> Tensor:
    if x.ndim == 0:
        return jnp.broadcast_to(x, index.shape)
    return x[_places(index, axis % x.ndim)]


def _places(index: Tensor, axis: int) -> tuple[Tensor, ...]:
    """Return the full coordinates of elements that an index names along one axis."""
    grids = [lax.broadcasted_iota(index.dtype, index.shape, place) for place in range(index.ndim)]
    grids[axis] = index
    return tuple(grids)


def _scattered(update: Callable[..., Tensor]) -> Entry:
    def scatter(
        call: Call, x: Tensor, axis: int, index: Tensor, source: Any, **options: Any
    ) -> Tensor:
        source = cast(source, x.dtype)
        if source.ndim and source.shape != index.shape:
            source = lax.slice(source, [0] * source.ndim, index.shape)
        return update(x.at[_places(index, axis % x.ndim)], source)

    return scatter


entry("scatter.src", "scatter.value")(_scattered(lambda x, source: x.set(source)))
entry("scatter_add.default")(_scattered(lambda x, source: x.add(source)))


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
    methods = {"sum": "add", "amax": "max", "amin": "min", "prod": "multiply"}
    if reduce not in methods or not include_self:
        raise SourceError(
            f"scatter_reduce by {reduce!r}, include_self={include_self}, cannot be written for JAX"
        )
    return _scattered(lambda y, z: getattr(y, methods[reduce])(z))(call, x, axis, index, source)


def _key(indices: Sequence[Tensor | None]) -> tuple[Any, ...]:
    return tuple(slice(None) if index is None else index for index in indices)


def _by_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (jnp.bool_, jnp.uint8) for index in indices)


@entry("index.Tensor")
def _index(call: Call, x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    if _by_mask(indices):
        raise SourceError("the traced program selects by a mask, so that a shape depends on values")
    return x[_key(indices)]


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
        if len(indices) != 1 or values.size != 1:
            raise SourceError(
                "the traced program writes many values by a mask, so that a shape depends on values"
            )
        mask = indices[0]
        assert mask is not None
        mask, value = mask.reshape(*mask.shape, *([1] * (x.ndim - mask.ndim))), values.reshape(())
        return jnp.where(mask, x + value if accumulate else value, x)
    place = x.at[_key(indices)]
    return place.add(values) if accumulate else place.set(values)
