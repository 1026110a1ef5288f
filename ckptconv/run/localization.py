"""Where a mismatch comes from: the first quantity that is off, and the tensors and config keys behind it.

A model computes its quantities one from the other, so the first that leaves the yardstick is the one that is nearest
to the fault. Behind it lie the tensors that it is computed from: those of its own layer and of all before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ckptconv.compare.comparison import WeightDifference
from ckptconv.compare.configs import ConfigDifference
from ckptconv.run.yardstick import Quantity
from ckptconv.schema.tensors import SchemaTensor

PARTS: Mapping[str, int] = {
    "encoder": 0,
    "bridge": 1,
    "cross-attention": 2,
    "decoder": 2,
    "head": 3,
}
"""In the order of the data flow."""
END = 1 << 30
"""The layer of what comes after all layers."""
STEPS = ("attention", "cross")
"""What a layer gives before its states."""


@dataclass(frozen=True, slots=True)
class Where:
    """What leads from a mismatch to its cause."""

    first: Quantity | None
    """The first in the order of the data flow that leaves the yardstick; None where none does or none was compared."""
    tensors: tuple[WeightDifference, ...]
    """Those that differ and that `first` is computed from, in the order of the data flow; all where there is none."""
    later: int
    """How many differ that come after `first`."""
    config: tuple[ConfigDifference, ...]
    """The keys that matter and differ, source's value first."""
    equal_weights: bool
    """True where every bit is right, so that the config or the class is to blame."""

    @property
    def verdict(self) -> str:
        """Say in one sentence what is to blame."""
        if self.equal_weights and self.config:
            return "every weight is right, so it is the config"
        if self.equal_weights:
            return "every weight and every config key that matters are equal, so it is the class that runs the target"
        if self.tensors:
            return f"the weights{', and the config differs too' if self.config else ''}"
        if not self.later:
            return "the weights: tensors are missing, too many, or not those of the trace"
        culprit = "the config" if self.config else "the class that runs the target"
        return f"{culprit}: what differs in weights is not read for this"


def find_where(
    differences: Sequence[WeightDifference],
    equal_weights: bool,
    config: Sequence[ConfigDifference],
    outside: Sequence[Quantity] = (),
    quantities: Sequence[Quantity] = (),
) -> Where:
    """Trace a mismatch back.

    Args: differences: the tensors that differ. config: the keys that do. outside: the quantities off the yardstick.
    quantities: all that were compared, which show how many layers each side has.
    """
    ordered = sorted(differences, key=lambda difference: place(difference.row))
    first = min(outside, key=_order, default=None)
    behind = list(_behind(ordered, first, _depths(quantities))) if first else ordered
    return Where(first, tuple(behind), len(ordered) - len(behind), tuple(config), equal_weights)


def place(row: SchemaTensor) -> tuple[int, int]:
    """Return part and layer of a tensor, in the order of the data flow: 0 for embeddings, END for what comes last.

    A pooler comes after everything: nothing that is compared is computed from it.
    """
    levels = row.key.split(".")
    if "pooler" in levels:
        return END, END
    outside = 0 if "emb" in row.key or "embedding" in row.module.kind else END
    layer = next((int(level) + 1 for level in levels if level.isdigit()), outside)
    return PARTS.get(row.module.part, 0), layer


def _order(quantity: Quantity) -> tuple[int, int, int]:
    """Return where a quantity stands in the data flow; the same one of another probe stands beside it."""
    step = quantity.name.rpartition(".")[2]
    inner = STEPS.index(step) if step in STEPS else len(STEPS)
    return _part(quantity), END if quantity.layer is None else quantity.layer, inner


def _part(quantity: Quantity) -> int:
    return PARTS[quantity.name.partition(".")[0]] if "." in quantity.name else PARTS["head"]


def _depths(quantities: Sequence[Quantity]) -> dict[int, int]:
    """Return part -> its last layer."""
    depths: dict[int, int] = {}
    for quantity in quantities:
        depths[_part(quantity)] = max(depths.get(_part(quantity), 0), quantity.layer or 0)
    return depths


def _behind(
    differences: Sequence[WeightDifference], first: Quantity, depths: Mapping[int, int]
) -> Iterator[WeightDifference]:
    """Return the tensors that a quantity is computed from.

    What follows a side's last layer, such as a last norm, may be in that layer's states already.
    """
    reached = _order(first)[:2]
    for difference in differences:
        part, layer = place(difference.row)
        if (part, min(layer, depths.get(part, END))) <= reached:
            yield difference
