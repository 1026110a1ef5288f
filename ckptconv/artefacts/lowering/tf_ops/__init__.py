"""ATen operators in TensorFlow: `TABLE`, an entry an operator."""

from ckptconv.artefacts.lowering.tf_ops import elementwise, layers, lookups, reductions, shapes
from ckptconv.artefacts.lowering.tf_ops.base import TABLE, cast, dtype_of, size

__all__ = [
    "TABLE",
    "cast",
    "dtype_of",
    "elementwise",
    "layers",
    "lookups",
    "reductions",
    "shapes",
    "size",
]
