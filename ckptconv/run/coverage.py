"""How much of the model the outputs looked at: for each tensor, which of its elements reached what was compared.

Measured by gradients in PyTorch (`frameworks/_reach.py`). What no probe reaches, such as a pooler or the rows of
tokens that no probe holds, could be anything without an output telling; there the weights' bits are the evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

from ckptconv.schema.tensors import SchemaTensor

Evidence: TypeAlias = Literal["weights and outputs", "weights and outputs in part", "weights"]


@dataclass(frozen=True, slots=True)
class TensorCoverage:
    """One tensor of the source."""

    name: str
    """As PyTorch spells it; of tied tensors the first."""
    numel: int
    reached: int
    """Elements that had an influence on what was compared, in some probe."""
    rows: int
    """Length of the first axis in PyTorch; 1 for a scalar."""
    rows_reached: int
    """Rows with at least one such element."""

    @property
    def evidence(self) -> Evidence:
        """What shows that this tensor is right. The weights are compared bit for bit in any case."""
        if self.reached == 0:
            return "weights"
        return (
            "weights and outputs" if self.reached == self.numel else "weights and outputs in part"
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """All tensors of a model, each tied one once."""

    tensors: tuple[TensorCoverage, ...]

    @property
    def numel(self) -> int:
        """Elements of the model."""
        return sum(tensor.numel for tensor in self.tensors)

    @property
    def reached(self) -> int:
        """Elements that had an influence."""
        return sum(tensor.reached for tensor in self.tensors)

    @property
    def percent(self) -> float:
        """Share of the elements that had an influence [percent]; 0 where there are none."""
        return 100 * self.reached / self.numel if self.numel else 0.0

    @property
    def unreached(self) -> tuple[TensorCoverage, ...]:
        """The tensors that were not reached in full, those that leave most elements first."""
        return tuple(
            sorted(
                (tensor for tensor in self.tensors if tensor.reached < tensor.numel),
                key=lambda tensor: (tensor.reached - tensor.numel, tensor.name),
            )
        )


def coverage(rows: Sequence[SchemaTensor], reached: Mapping[str, Sequence[int]]) -> Coverage | None:
    """Return what the probes reached; None where that was not measured.

    Args: rows: of the model. reached: parameter, as PyTorch's class names it -> elements and rows reached.
    """
    return Coverage(tuple(_tensors(rows, reached))) if reached else None


def _tensors(
    rows: Sequence[SchemaTensor], reached: Mapping[str, Sequence[int]]
) -> Iterator[TensorCoverage]:
    names: dict[str, list[str]] = {}
    for row in rows:
        if "pytorch" in row.spellings and row.module.presence != "dropped":
            first = row.tied_to if row.tied_to and row.shares else row.key
            names.setdefault(first, []).extend(row.spellings["pytorch"].names)
    for row in rows:
        if row.key in names and "pytorch" in row.spellings:
            elements, lines = next(
                (reached[name] for name in names[row.key] if name in reached), (0, 0)
            )
            shape = row.shape("pytorch")
            yield TensorCoverage(row.key, prod(shape), elements, shape[0] if shape else 1, lines)
