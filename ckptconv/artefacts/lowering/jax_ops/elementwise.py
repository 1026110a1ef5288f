"""Operators that treat every element alike, in JAX; an entry an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ckptconv.artefacts.lowering.graph import Call, Entry
from ckptconv.artefacts.lowering.jax_ops.base import (
    Tensor,
    cast,
    dtype_of,
    entry,
    is_float,
    is_half,
)


def _unary(function: Callable[[Tensor], Tensor], *, wide: bool = False) -> Entry:
    """Return an entry that computes in the dtype of the result; `wide`: half precision in float32, as PyTorch does."""

    def unary(call: Call, x: Tensor) -> Tensor:
        dtype = dtype_of(call.dtype)
        inner = jnp.float32 if wide and is_half(dtype) else dtype
        return function(cast(x, inner)).astype(dtype)

    return unary


def _on_floats(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x) if is_float(x) else x


_function: Callable[..., Tensor]  # of all the tables below
for _name, _function in {
    "abs": jnp.abs,
    "neg": jnp.negative,
    "ceil": _on_floats(jnp.ceil),
    "floor": _on_floats(jnp.floor),
    "trunc": _on_floats(jnp.trunc),
    "relu": lambda x: jnp.where(x <= 0, jnp.zeros_like(x), x),
    "sign": lambda x: (
        jnp.where(jnp.isnan(x), jnp.zeros_like(x), jnp.sign(x)) if is_float(x) else jnp.sign(x)
    ),
}.items():
    entry(f"{_name}.default")(_unary(_function))
for _name, _function in {
    "acos": jnp.arccos,
    "acosh": jnp.arccosh,
    "asin": jnp.arcsin,
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atanh": jnp.arctanh,
    "cos": jnp.cos,
    "cosh": jnp.cosh,
    "erf": lax.erf,
    "erfc": lax.erfc,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "log": jnp.log,
    "log10": jnp.log10,
    "log1p": jnp.log1p,
    "log2": jnp.log2,
    "reciprocal": lambda x: 1 / x,
    "rsqrt": lax.rsqrt,
    "sigmoid": lax.logistic,
    "silu": lambda x: x * lax.logistic(x),
    "sin": jnp.sin,
    "sinh": jnp.sinh,
    "softplus": jax.nn.softplus,
    "sqrt": jnp.sqrt,
    "tan": jnp.tan,
    "tanh": jnp.tanh,
}.items():
    entry(f"{_name}.default")(_unary(_function, wide=True))

entry("alias.default", "clone.default", "detach.default", "lift_fresh_copy.default")(
    lambda call, x, **options: x
)
entry("_to_copy.default")(lambda call, x, **options: cast(x, dtype_of(call.dtype)))
entry("isnan.default")(lambda call, x: jnp.isnan(x))
entry("isinf.default")(lambda call, x: jnp.isinf(x))
entry("logical_not.default")(lambda call, x: jnp.logical_not(cast(x, jnp.bool_)))
entry("bitwise_not.default")(lambda call, x: jnp.invert(x))
entry("_local_scalar_dense.default", "item.default")(lambda call, x: x.reshape(()))


@entry("gelu.default")
def _gelu(call: Call, x: Tensor, *, approximate: str = "none") -> Tensor:
    return _unary(lambda y: jax.nn.gelu(y, approximate=approximate == "tanh"), wide=True)(call, x)


@entry("elu.default")
def _elu(
    call: Call, x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> Tensor:
    def function(y: Tensor) -> Tensor:
        return jnp.where(y > 0, y * scale, jnp.expm1(y * input_scale) * (alpha * scale))

    return _unary(function, wide=True)(call, x)


@entry("leaky_relu.default")
def _leaky_relu(call: Call, x: Tensor, slope: float = 0.01) -> Tensor:
    return jnp.where(x > 0, x, x * cast(slope, x.dtype))


@entry("hardtanh.default")
def _hardtanh(call: Call, x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    return _clamp(call, x, low, high)


@entry("round.default", "round.decimals")
def _round(call: Call, x: Tensor, *, decimals: int = 0) -> Tensor:
    if not is_float(x):
        return x
    if not decimals:
        return jnp.round(x)
    factor = cast(10.0 ** abs(decimals), x.dtype)
    return jnp.round(x * factor) / factor if decimals > 0 else jnp.round(x / factor) * factor


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Entry:
    """Return an entry that computes in the dtype of the result; bool counts as numbers."""

    def binary(call: Call, x: Any, y: Any) -> Tensor:
        dtype = dtype_of(call.dtype)
        inner = jnp.int32 if dtype == jnp.bool_ else dtype
        return cast(function(cast(x, inner), cast(y, inner)), dtype)

    return binary


def _compared(function: Callable[[Tensor, Tensor], Tensor]) -> Entry:
    """Return an entry that computes in the dtype to which PyTorch promotes both."""

    def compare(call: Call, x: Any, y: Any) -> Tensor:
        dtype = dtype_of(call.promoted(0, 1))
        return function(cast(x, dtype), cast(y, dtype))

    return compare


for _name, _function in {
    "eq": jnp.equal,
    "ne": jnp.not_equal,
    "lt": jnp.less,
    "le": jnp.less_equal,
    "gt": jnp.greater,
    "ge": jnp.greater_equal,
}.items():
    entry(f"{_name}.Tensor", f"{_name}.Scalar")(_compared(_function))
for _name, _function in {
    "and": jnp.logical_and,
    "or": jnp.logical_or,
    "xor": jnp.logical_xor,
}.items():
    entry(f"logical_{_name}.default")(
        lambda call, x, y, f=_function: f(cast(x, jnp.bool_), cast(y, jnp.bool_))
    )
entry("mul.Tensor", "mul.Scalar")(_binary(jnp.multiply))
entry("div.Tensor", "div.Scalar")(_binary(jnp.true_divide))
entry("atan2.default")(_binary(jnp.arctan2))


def _bitwise(function: Callable[[Tensor, Tensor], Tensor]) -> Entry:
    def bitwise(call: Call, x: Any, y: Any) -> Tensor:
        dtype = dtype_of(call.dtype)
        return function(cast(x, dtype), cast(y, dtype))

    return bitwise


for _name, _function in {
    "and": jnp.bitwise_and,
    "or": jnp.bitwise_or,
    "xor": jnp.bitwise_xor,
}.items():
    entry(f"bitwise_{_name}.Tensor", f"bitwise_{_name}.Scalar")(_bitwise(_function))
for _name in (
    "bitwise_left_shift.Tensor",
    "bitwise_left_shift.Tensor_Scalar",
    "__lshift__.Scalar",
    "__lshift__.Tensor",
):
    entry(_name)(_bitwise(jnp.left_shift))
for _name in (
    "bitwise_right_shift.Tensor",
    "bitwise_right_shift.Tensor_Scalar",
    "__rshift__.Scalar",
    "__rshift__.Tensor",
):
    entry(_name)(_bitwise(jnp.right_shift))


@entry("add.Tensor", "add.Scalar")
def _add(call: Call, x: Any, y: Any, alpha: float = 1) -> Tensor:
    return _binary(lambda a, b: a + (b if alpha == 1 else b * cast(alpha, b.dtype)))(call, x, y)


@entry("sub.Tensor", "sub.Scalar")
def _sub(call: Call, x: Any, y: Any, alpha: float = 1) -> Tensor:
    return _binary(lambda a, b: a - (b if alpha == 1 else b * cast(alpha, b.dtype)))(call, x, y)


@entry("rsub.Scalar", "rsub.Tensor")
def _rsub(call: Call, x: Any, y: Any, alpha: float = 1) -> Tensor:
    return _binary(lambda a, b: b - (a if alpha == 1 else a * cast(alpha, b.dtype)))(call, x, y)


def _truncated(x: Tensor, y: Tensor) -> Tensor:
    return jnp.trunc(x / y) if is_float(x) else lax.div(*jnp.broadcast_arrays(x, y))


ROUNDINGS = {None: jnp.true_divide, "floor": jnp.floor_divide, "trunc": _truncated}
entry("floor_divide.default", "floor_divide.Scalar")(_binary(jnp.floor_divide))
entry("remainder.Tensor", "remainder.Scalar")(_binary(jnp.remainder))
entry("fmod.Tensor", "fmod.Scalar")(_binary(jnp.fmod))
entry("maximum.default")(_binary(jnp.maximum))
entry("minimum.default")(_binary(jnp.minimum))


@entry("div.Tensor_mode", "div.Scalar_mode")
def _div_mode(call: Call, x: Any, y: Any, *, rounding_mode: str | None = None) -> Tensor:
    return _binary(ROUNDINGS[rounding_mode])(call, x, y)


@entry("clamp.default", "clamp.Tensor", "clamp_min.default", "clamp_min.Tensor")
def _clamp(call: Call, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    dtype = dtype_of(call.dtype)
    x = cast(x, dtype)
    x = x if low is None else jnp.maximum(x, cast(low, dtype))
    return x if high is None else jnp.minimum(x, cast(high, dtype))


@entry("clamp_max.default", "clamp_max.Tensor")
def _clamp_max(call: Call, x: Tensor, high: Any) -> Tensor:
    return _clamp(call, x, None, high)


@entry("pow.Tensor_Scalar", "pow.Scalar", "pow.Tensor_Tensor")
def _pow(call: Call, x: Any, y: Any) -> Tensor:
    dtype = dtype_of(call.dtype)
    base = cast(x, dtype)
    exact: dict[float, Callable[[Tensor], Tensor]] = {
        2: jnp.square,
        3: lambda z: z * z * z,
        1: lambda z: z,
    }
    if jnp.issubdtype(dtype, jnp.floating):
        exact |= {0.5: jnp.sqrt, -0.5: lax.rsqrt, -1: lambda z: 1 / z}
    if isinstance(y, (int, float)) and y in exact:
        return exact[y](base)
    return jnp.power(base, cast(y, dtype))


@entry("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def _where(call: Call, condition: Tensor, x: Any, y: Any) -> Tensor:
    dtype = dtype_of(call.dtype)
    return jnp.where(condition, cast(x, dtype), cast(y, dtype))


@entry("masked_fill.Scalar", "masked_fill.Tensor")
def _masked_fill(call: Call, x: Tensor, mask: Tensor, value: Any) -> Tensor:
    return jnp.where(mask, cast(value, x.dtype), x)
