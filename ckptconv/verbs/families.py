"""`families`: which model types can be encoder or decoder, in which framework, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ckptconv.schema.families import families as tables
from ckptconv.schema.family import Decoder, Encoder
from ckptconv.schema.vocabulary import NamingName

Status: TypeAlias = Literal["exact", "healed", "refused", "no class"]


@dataclass(frozen=True, slots=True)
class Support:
    """One family on one side in one framework."""

    model_type: str
    side: Literal["encoder", "decoder"]
    naming: NamingName
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


def _side(
    model_type: str, side: Literal["encoder", "decoder"], table: Encoder | Decoder
) -> Iterator[Support]:
    namings: tuple[NamingName, ...] = ("tf", "flax")
    for naming in namings:
        if naming in table.refused:
            yield Support(model_type, side, naming, "refused", table.refused[naming])
        elif naming not in table.classes:
            yield Support(model_type, side, naming, "no class")
        else:
            healed = naming == "flax" and bool(table.healings)
            yield Support(model_type, side, naming, "healed" if healed else "exact")
