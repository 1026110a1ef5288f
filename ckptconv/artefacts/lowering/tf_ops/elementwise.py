"""Operators that treat every element alike, in TensorFlow; an entry an operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ckptconv.artefacts.lowering.graph import Call, Entry
from ckptconv.artefacts.lowering.tf_ops.base import HALVES, Tensor, cast, dtype_of, entry, is_nan


def _unary(function: Callable[[Tensor], Tensor], *, wide: bool = False) -> Entry:
    """Return an entry that computes in the dtype of the result; `wide`: half precision in float32, as PyTorch does."""

    def unary(call: Call, x: Tensor) -> Tensor:
        dtype = dtype_of(call.dtype)
        inner = tf.float32 if wide and dtype in HALVES else dtype
        return cast(function(cast(x, inner)), dtype)

    return unary


def _logical(function: Callable[[Tensor], Tensor]) -> Entry:
    return lambda call, x: function(x)


_function: Callable[..., Tensor]  # of all the tables below
for _name, _function in {
    "abs": tf.abs,
    "neg": tf.negative,
    "ceil": lambda x: tf.math.ceil(x) if x.dtype.is_floating else x,
    "floor": lambda x: tf.math.floor(x) if x.dtype.is_floating else x,
    "trunc": lambda x: (
        tf.where(x < 0, tf.math.ceil(x), tf.math.floor(x)) if x.dtype.is_floating else x
    ),
    "relu": lambda x: tf.where(x <= 0, tf.zeros_like(x), x),
    "sign": lambda x: tf.where(is_nan(x), tf.zeros_like(x), tf.sign(x)),
}.items():
    entry(f"{_name}.default")(_unary(_function))
for _name, _function in {
    "acos": tf.math.acos,
    "acosh": tf.math.acosh,
    "asin": tf.math.asin,
    "asinh": tf.math.asinh,
    "atan": tf.math.atan,
    "atanh": tf.math.atanh,
    "cos": tf.math.cos,
    "cosh": tf.math.cosh,
    "erf": tf.math.erf,
    "erfc": tf.math.erfc,
    "exp": tf.math.exp,
    "exp2": lambda x: tf.math.pow(cast(2.0, x.dtype), x),
    "expm1": tf.math.expm1,
    "log": tf.math.log,
    "log10": lambda x: tf.math.log(x) / cast(math.log(10.0), x.dtype),
    "log1p": tf.math.log1p,
    "log2": lambda x: tf.math.log(x) / cast(math.log(2.0), x.dtype),
    "reciprocal": tf.math.reciprocal,
    "rsqrt": tf.math.rsqrt,
    "sigmoid": tf.math.sigmoid,
    "silu": lambda x: x * tf.math.sigmoid(x),
    "sin": tf.math.sin,
    "sinh": tf.math.sinh,
    "softplus": tf.math.softplus,
    "sqrt": tf.math.sqrt,
    "tan": tf.math.tan,
    "tanh": tf.math.tanh,
}.items():
    entry(f"{_name}.default")(_unary(_function, wide=True))

entry("alias.default", "clone.default", "detach.default", "lift_fresh_copy.default")(
    lambda call, x, **options: x
)
entry("_to_copy.default")(lambda call, x, **options: cast(x, dtype_of(call.dtype)))
entry("isnan.default")(_logical(is_nan))
entry("isinf.default")(
    lambda call, x: tf.math.is_inf(x) if x.dtype.is_floating else tf.zeros_like(x, tf.bool)
)
entry("logical_not.default")(lambda call, x: tf.logical_not(cast(x, tf.bool)))
entry("bitwise_not.default")(
    lambda call, x: tf.logical_not(x) if x.dtype == tf.bool else tf.bitwise.invert(x)
)
entry("_local_scalar_dense.default")(lambda call, x: tf.reshape(x, []))
entry("item.default")(lambda call, x: tf.reshape(x, []))


@entry("gelu.default")
def _gelu(call: Call, x: Tensor, *, approximate: str = "none") -> Tensor:
    return _unary(lambda y: tf.nn.gelu(y, approximate=approximate == "tanh"), wide=True)(call, x)


@entry("elu.default")
def _elu(
    call: Call, x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> Tensor:
    def function(y: Tensor) -> Tensor:
        return tf.where(y > 0, y * scale, tf.math.expm1(y * input_scale) * (alpha * scale))

    return _unary(function, wide=True)(call, x)


@entry("leaky_relu.default")
def _leaky_relu(call: Call, x: Tensor, slope: float = 0.01) -> Tensor:
    return tf.where(x > 0, x, x * cast(slope, x.dtype))


@entry("hardtanh.default")
def _hardtanh(call: Call, x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    return _clamp(call, x, low, high)


@entry("round.default", "round.decimals")
def _round(call: Call, x: Tensor, *, decimals: int = 0) -> Tensor:
    if not x.dtype.is_floating:
        return x
    if not decimals:
        return tf.round(x)
    factor = cast(10.0 ** abs(decimals), x.dtype)
    return tf.round(x * factor) / factor if decimals > 0 else tf.round(x / factor) * factor


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Entry:
    """Return an entry that computes in the dtype of the result; bool counts as numbers."""

    def binary(call: Call, x: Any, y: Any) -> Tensor:
        dtype = dtype_of(call.dtype)
        inner = tf.int32 if dtype == tf.bool else dtype
        return cast(function(cast(x, inner), cast(y, inner)), dtype)

    return binary


def _compared(function: Callable[[Tensor, Tensor], Tensor]) -> Entry:
    """Return an entry that computes in the dtype to which PyTorch promotes both."""

    def compare(call: Call, x: Any, y: Any) -> Tensor:
        dtype = dtype_of(call.promoted(0, 1))
        inner = tf.int32 if dtype == tf.bool else dtype
        return function(cast(x, inner), cast(y, inner))

    return compare


for _name, _function in {
    "eq": tf.equal,
    "ne": tf.not_equal,
    "lt": tf.less,
    "le": tf.less_equal,
    "gt": tf.greater,
    "ge": tf.greater_equal,
}.items():
    entry(f"{_name}.Tensor", f"{_name}.Scalar")(_compared(_function))
for _name, _function in {
    "and": tf.logical_and,
    "or": tf.logical_or,
    "xor": tf.math.logical_xor,
}.items():
    entry(f"logical_{_name}.default")(
        lambda call, x, y, f=_function: f(cast(x, tf.bool), cast(y, tf.bool))
    )
entry("mul.Tensor", "mul.Scalar")(_binary(tf.multiply))
entry("div.Tensor", "div.Scalar")(_binary(tf.divide))
entry("atan2.default")(_binary(tf.math.atan2))


def _bitwise(on_bool: Callable[..., Tensor], on_integers: Callable[..., Tensor]) -> Entry:
    def bitwise(call: Call, x: Any, y: Any) -> Tensor:
        dtype = dtype_of(call.dtype)
        return (on_bool if dtype == tf.bool else on_integers)(cast(x, dtype), cast(y, dtype))

    return bitwise


for _name, _on_bool, _on_integers in (
    ("and", tf.logical_and, tf.bitwise.bitwise_and),
    ("or", tf.logical_or, tf.bitwise.bitwise_or),
    ("xor", tf.math.logical_xor, tf.bitwise.bitwise_xor),
):
    for _overload in ("Tensor", "Scalar"):
        entry(f"bitwise_{_name}.{_overload}")(_bitwise(_on_bool, _on_integers))
for _overload in ("Tensor", "Tensor_Scalar"):
    entry(f"bitwise_left_shift.{_overload}")(_binary(tf.bitwise.left_shift))
    entry(f"bitwise_right_shift.{_overload}")(_binary(tf.bitwise.right_shift))
entry("__lshift__.Scalar", "__lshift__.Tensor")(_binary(tf.bitwise.left_shift))
entry("__rshift__.Scalar", "__rshift__.Tensor")(_binary(tf.bitwise.right_shift))


@entry("add.Tensor", "add.Scalar")
def _add(call: Call, x: Any, y: Any, alpha: float = 1) -> Tensor:
    return _binary(lambda a, b: a + (b if alpha == 1 else b * cast(alpha, b.dtype)))(call, x, y)


@entry("sub.Tensor", "sub.Scalar")
def _sub(call: Call, x: Any, y: Any, alpha: float = 1) -> Tensor:
    return _binary(lambda a, b: a - (b if alpha == 1 else b * cast(alpha, b.dtype)))(call, x, y)


@entry("rsub.Scalar", "rsub.Tensor")
def _rsub(call: Call, x: Any, y: Any, alpha: float = 1) -> Tensor:
    return _binary(lambda a, b: b - (a if alpha == 1 else a * cast(alpha, b.dtype)))(call, x, y)


def _floor_divided(x: Tensor, y: Tensor) -> Tensor:
    """Divide as Python and PyTorch do: 1.0 // 0.1 is 9."""
    if not x.dtype.is_floating:
        return tf.math.floordiv(x, y)
    rest = tf.truncatemod(x, y)
    quotient = (x - rest) / y
    quotient = tf.where((rest != 0) & ((y < 0) != (rest < 0)), quotient - 1, quotient)
    floor = tf.math.floor(quotient)
    floor = tf.where(quotient - floor > 0.5, floor + 1, floor)
    return tf.where(y == 0, x / y, floor)


def _truncated(x: Tensor, y: Tensor) -> Tensor:
    if not x.dtype.is_floating:
        return tf.truncatediv(x, y)
    quotient = x / y
    return tf.where(quotient < 0, tf.math.ceil(quotient), tf.math.floor(quotient))


ROUNDINGS = {None: tf.divide, "floor": _floor_divided, "trunc": _truncated}
entry("floor_divide.default", "floor_divide.Scalar")(_binary(_floor_divided))
entry("remainder.Tensor", "remainder.Scalar")(_binary(tf.math.floormod))
entry("fmod.Tensor", "fmod.Scalar")(_binary(tf.truncatemod))


@entry("div.Tensor_mode", "div.Scalar_mode")
def _div_mode(call: Call, x: Any, y: Any, *, rounding_mode: str | None = None) -> Tensor:
    return _binary(ROUNDINGS[rounding_mode])(call, x, y)


def _propagated(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Let NaN win, from either side."""

    def propagate(x: Tensor, y: Tensor) -> Tensor:
        result = function(x, y)
        if not x.dtype.is_floating:
            return result
        return tf.where(is_nan(x) | is_nan(y), cast(math.nan, x.dtype), result)

    return propagate


_maximum, _minimum = _propagated(tf.maximum), _propagated(tf.minimum)
entry("maximum.default")(_binary(_maximum))
entry("minimum.default")(_binary(_minimum))


@entry("clamp.default", "clamp.Tensor", "clamp_min.default", "clamp_min.Tensor")
def _clamp(call: Call, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    dtype = dtype_of(call.dtype)
    x = cast(x, dtype)
    x = x if low is None else _maximum(x, cast(low, dtype))
    return x if high is None else _minimum(x, cast(high, dtype))


@entry("clamp_max.default", "clamp_max.Tensor")
def _clamp_max(call: Call, x: Tensor, high: Any) -> Tensor:
    return _clamp(call, x, None, high)


@entry("pow.Tensor_Scalar", "pow.Scalar", "pow.Tensor_Tensor")
def _pow(call: Call, x: Any, y: Any) -> Tensor:
    dtype = dtype_of(call.dtype)
    base = cast(x, dtype)
    exact: dict[float, Callable[[Tensor], Tensor]] = {
        2: tf.square,
        3: lambda z: z * z * z,
        1: tf.identity,
    }
    if dtype.is_floating:
        exact |= {0.5: tf.sqrt, -0.5: tf.math.rsqrt, -1: tf.math.reciprocal}
    if isinstance(y, (int, float)) and y in exact:
        return exact[y](base)
    return tf.pow(base, cast(y, dtype))


@entry("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def _where(call: Call, condition: Tensor, x: Any, y: Any) -> Tensor:
    dtype = dtype_of(call.dtype)
    return tf.where(condition, cast(x, dtype), cast(y, dtype))


@entry("masked_fill.Scalar", "masked_fill.Tensor")
def _masked_fill(call: Call, x: Tensor, mask: Tensor, value: Any) -> Tensor:
    return tf.where(mask, cast(value, x.dtype), x)
