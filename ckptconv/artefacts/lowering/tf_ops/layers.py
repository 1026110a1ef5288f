"""Matrix products, convolutions, normalisation, softmax and pooling, in TensorFlow; an entry an operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import tensorflow as tf

from ckptconv.artefacts.lowering.graph import Call, Entry, each_axis
from ckptconv.artefacts.lowering.tf_ops.base import (
    HALVES,
    Size,
    Tensor,
    cast,
    dtype_of,
    entry,
    is_nan,
    moments,
    rank,
    shape,
    size,
)
from ckptconv.base.errors import SourceError


@entry("linear.default")
def _linear(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    outer, inner = call.argument(1).shape
    rows = x if rank(x) == 2 else tf.reshape(x, [-1, inner])
    by_rows = rows.shape[0] is None and outer * inner >= LARGE
    result = _by_rows(rows, weight) if by_rows else tf.matmul(rows, weight, transpose_b=True)
    result = result if bias is None else result + bias
    return result if rank(x) == 2 else tf.reshape(result, shape(call.shape))


LARGE, FEW = 2**18, 64
"""Elements from which on a matrix is multiplied by the number of rows, and the number that is no longer few."""


def _by_rows(rows: Tensor, weight: Tensor) -> Tensor:
    """Return rows (any, inner) times weight (outer, inner), transposed, in the form that suits how many rows there are.

    On the right a transposed matrix is packed anew for each product. While rows are few that takes longer than the
    product itself: with oneDNN up to twice as long, without it five times and more. On the left it is read in place.
    A single row is a product of a matrix and a vector in either form, and quicker in the usual one.
    """
    return _products(rows.dtype)(rows, weight)


@cache
def _products(dtype: Any) -> Any:
    """Return the function of two matrices that a graph has once for all its products."""
    matrix = tf.TensorSpec([None, None], dtype)
    with tf.init_scope():
        return tf.function(_product_by_rows, autograph=False).get_concrete_function(matrix, matrix)


def _product_by_rows(rows: Tensor, weight: Tensor) -> Tensor:
    def weight_first() -> Tensor:
        batches = tf.expand_dims(weight, 0), tf.expand_dims(rows, 0)
        return tf.transpose(tf.squeeze(tf.matmul(*batches, transpose_b=True), 0))

    count = tf.shape(rows)[0]
    return tf.cond(
        tf.logical_and(count > 1, count < FEW),
        weight_first,
        lambda: tf.matmul(rows, weight, transpose_b=True),
    )


@entry("matmul.default", "bmm.default", "mm.default")
def _matmul(call: Call, x: Tensor, y: Tensor) -> Tensor:
    left = tf.expand_dims(x, 0) if rank(x) == 1 else x
    right = tf.expand_dims(y, 1) if rank(y) == 1 else y
    result = tf.matmul(left, right)
    result = tf.squeeze(result, -2) if rank(x) == 1 else result
    return tf.squeeze(result, -1) if rank(y) == 1 else result


@entry("addmm.default")
def _addmm(
    call: Call, bias: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return _scaled(bias, beta) + _scaled(tf.matmul(x, y), alpha)


@entry("baddbmm.default")
def _baddbmm(
    call: Call, bias: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return _scaled(bias, beta) + _scaled(tf.matmul(x, y), alpha)


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
    spatial = rank(x) - 2
    if transposed or spatial not in (1, 2):
        kind = "a transposed convolution" if transposed else f"a convolution over {spatial} axes"
        raise SourceError(f"the traced program has {kind}, which cannot be written for TensorFlow")
    last = tf.transpose(x, [0, *range(2, spatial + 2), 1])
    last = tf.pad(
        last, [[0, 0], *([amount, amount] for amount in each_axis(padding, spatial)), [0, 0]]
    )
    kernel = tf.transpose(weight, [*range(2, spatial + 2), 1, 0])
    parts = [(last, kernel)]
    if groups > 1:
        parts = list(zip(tf.split(last, groups, -1), tf.split(kernel, groups, -1), strict=True))
    results = [
        tf.nn.convolution(
            part,
            piece,
            strides=each_axis(stride, spatial),
            padding="VALID",
            dilations=each_axis(dilation, spatial),
        )
        for part, piece in parts
    ]
    result = results[0] if groups == 1 else tf.concat(results, -1)
    result = result if bias is None else result + bias
    return tf.transpose(result, [0, spatial + 1, *range(1, spatial + 1)])


@entry("native_layer_norm.default")
def _layer_norm(
    call: Call,
    x: Tensor,
    normalized: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    over = list(range(rank(x) - len(normalized), rank(x)))
    inner = tf.float32 if x.dtype in HALVES else x.dtype
    wide = cast(x, inner)
    mean, centred, variance = moments(wide, over)
    factor = tf.math.rsqrt(variance + cast(epsilon, inner))
    result = centred * factor
    result = result if weight is None else result * cast(weight, inner)
    result = result if bias is None else result + cast(bias, inner)
    return cast(result, x.dtype), mean, factor


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
    whole = tf.shape(x)
    rows = tf.reshape(x, shape([size(x, 0), groups, -1]))
    mean, centred, variance = moments(rows, [2])
    factor = tf.math.rsqrt(variance + cast(epsilon, x.dtype))
    result = tf.reshape(centred * factor, whole)
    each = [1, call.argument(0).shape[1], *([1] * (rank(x) - 2))]
    result = result if weight is None else result * tf.reshape(weight, each)
    result = result if bias is None else result + tf.reshape(bias, each)
    return result, tf.squeeze(mean, 2), tf.squeeze(factor, 2)


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
    each = [1, call.argument(0).shape[1], *([1] * (rank(x) - 2))]
    factor = tf.math.rsqrt(variance + cast(epsilon, variance.dtype))
    factor = factor if weight is None else factor * weight
    result = (x - tf.reshape(mean, each)) * tf.reshape(factor, each)
    result = result if bias is None else result + tf.reshape(bias, each)
    empty = tf.zeros([0], x.dtype)
    return result, empty, empty


def _softened(function: Callable[..., Tensor]) -> Entry:
    """Return an entry of a softmax; a row of -inf, or with NaN or inf, is NaN throughout, as in PyTorch."""

    def soften(call: Call, x: Tensor, axis: int, *options: Any) -> Tensor:
        dtype = dtype_of(call.dtype)
        inner = tf.float32 if dtype in HALVES else dtype
        x = cast(x, inner)
        if rank(x) == 0:
            return cast(function(tf.reshape(x, [1]))[0], dtype)
        result = function(x, axis=axis)
        total = tf.reduce_sum(result, axis, keepdims=True)
        return cast(tf.where(is_nan(total), total, result), dtype)

    return soften


entry("_softmax.default", "softmax.int")(_softened(tf.nn.softmax))
entry("_log_softmax.default", "log_softmax.int")(_softened(tf.nn.log_softmax))


@entry("_safe_softmax.default")
def _safe_softmax(call: Call, x: Tensor, axis: int, *options: Any) -> Tensor:
    blocked = tf.reduce_all(x == cast(-math.inf, x.dtype), axis, keepdims=True)
    return tf.where(
        blocked, cast(0.0, dtype_of(call.dtype)), _softened(tf.nn.softmax)(call, x, axis)
    )


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
    if any(padding) or ceil_mode or divisor_override or rank(x) != len(kernel) + 2:
        raise SourceError("a padded average pooling cannot be written for TensorFlow")
    spatial = len(kernel)
    last = tf.transpose(x, [0, *range(2, spatial + 2), 1])
    pooled = tf.nn.pool(last, list(kernel), "AVG", strides=list(stride or kernel), padding="VALID")
    return tf.transpose(pooled, [0, spatial + 1, *range(1, spatial + 1)])
