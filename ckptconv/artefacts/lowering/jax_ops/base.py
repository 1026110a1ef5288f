"""ATen operators in jax.numpy and lax, with symbolic sizes; one entry an operator, as `tf_ops`.

Programs are lowered with 64-bit types switched on, so every dtype is the one that PyTorch computes in. Looking up
beyond a table answers NaN (or the lowest integer), never a row of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import torch
from jax import lax

from ckptconv.artefacts.lowering.graph import Entry, registrar
from ckptconv.base.errors import SourceError

Tensor: TypeAlias = Any
Size: TypeAlias = Any

DTYPES = {
    torch.float32: jnp.float32,
    torch.float64: jnp.float64,
    torch.float16: jnp.float16,
    torch.bfloat16: jnp.bfloat16,
    torch.int64: jnp.int64,
    torch.int32: jnp.int32,
    torch.int16: jnp.int16,
    torch.int8: jnp.int8,
    torch.uint8: jnp.uint8,
    torch.bool: jnp.bool_,
}
END = 2**62
"""What `slice` takes for "to the end" is not below this."""
EXACT = lax.Precision.HIGHEST
"""Products of float32 are computed in float32 on every platform, as PyTorch does; a TPU would take bfloat16."""
TABLE: dict[str, Entry] = {}
entry = registrar(TABLE)
"""Registers the entry of some operators."""


def dtype_of(dtype: torch.dtype) -> Any:
    """Return JAX's dtype.

    Raises:
        SourceError: It has none that the table computes in.
    """
    if dtype not in DTYPES:
        raise SourceError(
            f"the traced program computes in {dtype}, which cannot be written for JAX"
        )
    return jnp.dtype(DTYPES[dtype])


def cast(value: Any, dtype: Any) -> Tensor:
    """Return a tensor, number or size as a tensor of that dtype."""
    if isinstance(value, (bool, int, float)):
        if dtype == jnp.bool_:
            return jnp.asarray(bool(value))
        return jnp.asarray(int(value) if jnp.issubdtype(dtype, jnp.integer) else value, dtype)
    array = jnp.asarray(value)
    return array != 0 if dtype == jnp.bool_ and array.dtype != jnp.bool_ else array.astype(dtype)


def is_float(x: Tensor) -> bool:
    """Tell floats from integers and bool."""
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def is_half(dtype: Any) -> bool:
    """Tell whether PyTorch computes some operators of this dtype in float32."""
    return dtype in (jnp.float16, jnp.bfloat16)


def axes(x: Tensor, chosen: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return axes counted from the front; all of them for None and for an empty list."""
    if chosen is None or (isinstance(chosen, Sequence) and not chosen):
        return tuple(range(x.ndim))
    listed = [chosen] if isinstance(chosen, int) else chosen
    return tuple(axis % max(x.ndim, 1) for axis in listed)[: x.ndim]


def moments(x: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean, the difference from it, and the variance, in two passes: one would lose digits."""
    mean = jnp.mean(x, over, keepdims=True)
    centred = x - mean
    return mean, centred, jnp.mean(jnp.square(centred), over, keepdims=True)
