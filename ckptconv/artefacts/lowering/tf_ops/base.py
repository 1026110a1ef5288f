"""ATen operators in plain TensorFlow operations: no XLA, every batch and length free.

One entry an operator. Where PyTorch and TensorFlow differ (NaN in comparisons, ties, rounding, division), the entry
does what PyTorch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf
import torch

from ckptconv.artefacts.lowering.graph import Entry, registrar
from ckptconv.base.errors import SourceError

Tensor: TypeAlias = Any
Size: TypeAlias = Any

DTYPES = {
    torch.float32: tf.float32,
    torch.float64: tf.float64,
    torch.float16: tf.float16,
    torch.bfloat16: tf.bfloat16,
    torch.int64: tf.int64,
    torch.int32: tf.int32,
    torch.int16: tf.int16,
    torch.int8: tf.int8,
    torch.uint8: tf.uint8,
    torch.bool: tf.bool,
}
HALVES = (tf.float16, tf.bfloat16)
END = 2**62
"""What `slice` takes for "to the end" is not below this."""
TABLE: dict[str, Entry] = {}
entry = registrar(TABLE)
"""Registers the entry of some operators."""


def dtype_of(dtype: torch.dtype) -> Any:
    """Return TensorFlow's dtype.

    Raises:
        SourceError: It has none that the table computes in.
    """
    if dtype not in DTYPES:
        raise SourceError(
            f"the traced program computes in {dtype}, which cannot be written for TensorFlow"
        )
    return DTYPES[dtype]


def cast(value: Any, dtype: Any) -> Tensor:
    """Return a tensor or number as a tensor of that dtype; numbers become bool as PyTorch makes them."""
    if tf.is_tensor(value):
        if value.dtype == dtype:
            return value
        return (
            tf.not_equal(value, tf.zeros((), value.dtype))
            if dtype == tf.bool
            else tf.cast(value, dtype)
        )
    if isinstance(value, float) and not dtype.is_floating:
        value = bool(value) if dtype == tf.bool else int(value)
    return tf.constant(bool(value) if dtype == tf.bool else value, dtype)


def size(value: Tensor, axis: int) -> Size:
    """Return the size of an axis: an int where it is static."""
    static = value.shape[axis]
    return static if static is not None else tf.shape(value, out_type=tf.int64)[axis]


def shape(sizes: Sequence[Size]) -> Any:
    """Return sizes, some of them tensors, as a shape."""
    if all(isinstance(value, int) for value in sizes):
        return list(sizes)
    return tf.stack([tf.cast(value, tf.int64) for value in sizes])


def rank(value: Tensor) -> int:
    """Return the number of axes."""
    return len(value.shape)


def axes(value: Tensor, chosen: int | Sequence[int] | None) -> list[int]:
    """Return axes counted from the front; all of them for None and for an empty list."""
    if chosen is None or (isinstance(chosen, Sequence) and not chosen):
        return list(range(rank(value)))
    listed = [chosen] if isinstance(chosen, int) else chosen
    return [axis % max(rank(value), 1) for axis in listed][: rank(value)]


def wrapped(index: Tensor, length: Size) -> Tensor:
    """Return indices counted from the front."""
    index = cast(index, tf.int64)
    return tf.where(index < 0, index + tf.cast(length, tf.int64), index)


def is_nan(value: Tensor) -> Tensor:
    """Return where a tensor is not a number; never for integers."""
    return tf.math.is_nan(value) if value.dtype.is_floating else tf.zeros_like(value, tf.bool)


def moments(x: Tensor, over: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean, the difference from it, and the variance, in two passes: one would lose digits."""
    mean = tf.reduce_mean(x, over, keepdims=True)
    centred = x - mean
    return mean, centred, tf.reduce_mean(tf.square(centred), over, keepdims=True)
