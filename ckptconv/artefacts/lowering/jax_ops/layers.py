"""Matrix products, convolutions, normalisation, softmax and pooling, in JAX; an entry an operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from ckptconv.artefacts.lowering.graph import Call, Entry, each_axis
from ckptconv.artefacts.lowering.jax_ops.base import (
    EXACT,
    Size,
    Tensor,
    cast,
    dtype_of,
    entry,
    is_half,
    moments,
)
from ckptconv.base.errors import SourceError


@entry("linear.default")
def _linear(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = lax.dot_general(x, weight, (((x.ndim - 1,), (1,)), ((), ())), precision=EXACT)
    return result if bias is None else result + bias


@entry("matmul.default", "bmm.default", "mm.default")
def _matmul(call: Call, x: Tensor, y: Tensor) -> Tensor:
    return jnp.matmul(x, y, precision=EXACT)


@entry("addmm.default", "baddbmm.default")
def _addmm(
    call: Call, bias: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return _scaled(bias, beta) + _scaled(jnp.matmul(x, y, precision=EXACT), alpha)


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * cast(factor, x.dtype)


@entry("convolution.default")
def _convolution(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    if transposed:
        raise SourceError(
            "the traced program has a transposed convolution, which cannot be written for JAX"
        )
    axes = x.ndim - 2
    spatial = "HWD"[:axes]
    result = lax.conv_general_dilated(
        x,
        weight,
        each_axis(stride, axes),
        [(amount, amount) for amount in each_axis(padding, axes)],
        rhs_dilation=each_axis(dilation, axes),
        dimension_numbers=(f"NC{spatial}", f"OI{spatial}", f"NC{spatial}"),
        feature_group_count=groups,
        precision=EXACT,
    )
    return result if bias is None else result + bias.reshape(1, -1, *([1] * axes))


@entry("native_layer_norm.default")
def _layer_norm(
    call: Call,
    x: Tensor,
    normalized: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    inner = jnp.float32 if is_half(x.dtype) else x.dtype
    mean, centred, variance = moments(
        x.astype(inner), tuple(range(x.ndim - len(normalized), x.ndim))
    )
    factor = lax.rsqrt(variance + cast(epsilon, inner))
    result = centred * factor
    result = result if weight is None else result * weight.astype(inner)
    result = result if bias is None else result + bias.astype(inner)
    return result.astype(x.dtype), mean, factor


@entry("native_group_norm.default")
def _group_norm(
    call: Call,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    count: Size,
    channels: Size,
    inner: Size,
    groups: int,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.reshape(x.shape[0], groups, -1)
    mean, centred, variance = moments(rows, (2,))
    factor = lax.rsqrt(variance + cast(epsilon, x.dtype))
    result = (centred * factor).reshape(x.shape)
    each = (1, -1, *([1] * (x.ndim - 2)))
    result = result if weight is None else result * weight.reshape(each)
    result = result if bias is None else result + bias.reshape(each)
    return result, mean[:, :, 0], factor[:, :, 0]


@entry("_native_batch_norm_legit_no_training.default")
def _batch_norm(
    call: Call,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    each = (1, -1, *([1] * (x.ndim - 2)))
    factor = lax.rsqrt(variance + cast(epsilon, variance.dtype))
    factor = factor if weight is None else factor * weight
    result = (x - mean.reshape(each)) * factor.reshape(each)
    result = result if bias is None else result + bias.reshape(each)
    empty = jnp.zeros((0,), x.dtype)
    return result, empty, empty


def _shifted(x: Tensor, axis: int) -> Tensor:
    return x - jnp.max(x, axis, keepdims=True)


def _softmax(x: Tensor, axis: int) -> Tensor:
    """A row of -inf is NaN, as in PyTorch."""
    powers = jnp.exp(_shifted(x, axis))
    return powers / jnp.sum(powers, axis, keepdims=True)


def _log_softmax(x: Tensor, axis: int) -> Tensor:
    shifted = _shifted(x, axis)
    return shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis, keepdims=True))


def _softened(function: Callable[[Tensor, int], Tensor]) -> Entry:
    def soften(call: Call, x: Tensor, axis: int, *options: Any) -> Tensor:
        dtype = dtype_of(call.dtype)
        x = x.astype(jnp.float32 if is_half(dtype) else dtype)
        return (function(x.reshape(1), 0).reshape(()) if x.ndim == 0 else function(x, axis)).astype(
            dtype
        )

    return soften


entry("_softmax.default", "softmax.int")(_softened(_softmax))
entry("_log_softmax.default", "log_softmax.int")(_softened(_log_softmax))


@entry("_safe_softmax.default")
def _safe_softmax(call: Call, x: Tensor, axis: int, *options: Any) -> Tensor:
    blocked = jnp.all(x == -jnp.inf, axis, keepdims=True)
    result = _softened(_softmax)(call, x, axis)
    return jnp.where(blocked, jnp.zeros_like(result), result)


@entry("avg_pool1d.default", "avg_pool2d.default")
def _avg_pool(
    call: Call,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    if any(padding) or ceil_mode or divisor_override or x.ndim != len(kernel) + 2:
        raise SourceError("a padded average pooling cannot be written for JAX")
    window, steps = (1, 1, *kernel), (1, 1, *(stride or kernel))
    return lax.reduce_window(x, cast(0.0, x.dtype), lax.add, window, steps, "VALID") / math.prod(
        kernel
    )
