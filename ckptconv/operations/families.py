"""`families`: which model types can be encoder or decoder, in which framework, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ckptconv.architectures import families as tables
from ckptconv.family import Decoder, Encoder
from ckptconv.table import DialectName

Status: TypeAlias = Literal["exact", "healed", "refused", "no class"]


@dataclass(frozen=True, slots=True)
class Support:
    """One family on one side in one framework."""

    model_type: str
    side: Literal["encoder", "decoder"]
    dialect: DialectName
    status: Status
    reason: str = ""
    """For `refused`: why."""


def families() -> tuple[Support, ...]:
    """Return what the tables say, family by family, encoders before decoders."""
    return tuple(_all())


def _all() -> Iterator[Support]:
    for model_type, family in sorted(tables().items()):
        if family.encoder is not None:
            yield from _side(model_type, "encoder", family.encoder)
        if family.decoder is not None:
            yield from _side(model_type, "decoder", family.decoder)


def _side(model_type: str, side: Literal["encoder", "decoder"], table: Encoder | Decoder) -> Iterator[Support]:
    dialects: tuple[DialectName, ...] = ("tf", "flax")
    for dialect in dialects:
        if dialect in table.refused:
            yield Support(model_type, side, dialect, "refused", table.refused[dialect])
        elif dialect not in table.classes:
            yield Support(model_type, side, dialect, "no class")
        else:
            healed = dialect == "flax" and bool(table.healings)
            yield Support(model_type, side, dialect, "healed" if healed else "exact")
