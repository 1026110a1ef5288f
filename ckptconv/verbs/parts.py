"""Where the values of a new cross-attention may come from: the self-attention beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ckptconv.binding.plan import Op, Slice
from ckptconv.schema.family import Decoder, Twin
from ckptconv.schema.model import Model
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.stores.tensor import Stored

Borrowed: TypeAlias = Mapping[str, tuple[Stored, tuple[Op, ...]]]
"""Key of a tensor -> whose values it takes, and what is done to them."""


def from_self_attention(
    tensors: Iterable[SchemaTensor], model: Model, stored: Mapping[str, Stored]
) -> Borrowed:
    """Return, for the tensors of a new cross-attention, the values of the self-attention beside it.

    Args: stored: key -> what the parts hold.
    """
    tables = model.decoder.tables
    assert isinstance(tables, Decoder)
    borrowed = {}
    for tensor in tensors:
        for path, twin in tables.self_attention.items():
            layer, between, role = tensor.key.rpartition(f".{path}.")
            source = stored.get(f"{layer}.{twin.path}.{role}") if between else None
            if source is not None:
                borrowed[tensor.key] = source, _share(source, tensor, twin)
    return borrowed


def _share(stored: Stored, tensor: SchemaTensor, twin: Twin) -> tuple[Op, ...]:
    """Return what takes some of the equal parts of a tensor along its output axis."""
    axes = tensor.spellings["pytorch"].axes
    if twin.of == 1 or len(stored.spec.shape) != len(axes):  # the plan refuses another shape
        return ()
    axis = axes.index("out")
    width = stored.spec.shape[axis] // twin.of
    return (Slice(axis, twin.first * width, twin.last * width),)
