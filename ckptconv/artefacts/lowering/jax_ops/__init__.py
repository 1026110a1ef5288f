"""ATen operators in JAX: `TABLE`, an entry an operator."""

from ckptconv.artefacts.lowering.jax_ops import elementwise, layers, lookups, reductions, shapes
from ckptconv.artefacts.lowering.jax_ops.base import TABLE, cast, dtype_of

__all__ = ["TABLE", "cast", "dtype_of", "elementwise", "layers", "lookups", "reductions", "shapes"]
