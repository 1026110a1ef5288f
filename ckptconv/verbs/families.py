"""`families`: which model types are supported, as what and in which framework, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ckptconv.schema.family import FAMILIES, Decoder, Encoder, Whole
from ckptconv.schema.tensors import NAMING_NAMES, NamingName

Side: TypeAlias = Literal["encoder", "image encoder", "speech encoder", "decoder", "one piece"]
Status: TypeAlias = Literal["exact", "healed", "refused", "no class"]

ENCODERS: dict[str, Side] = {
    "tokens": "encoder",
    "pixels": "image encoder",
    "samples": "speech encoder",
    "features": "speech encoder",
}
"""What an encoder reads -> as what a family is listed."""


@dataclass(frozen=True, slots=True)
class Support:
    """One family in one role in one framework."""

    model_type: str
    side: Side
    naming: NamingName
    status: Status
    reason: str = ""
    """For `refused`: why."""
    stand_in: str = ""
    """The family whose class holds it, where it has none of its own; empty for its own."""


def families() -> tuple[Support, ...]:
    """Return what the tables say, family by family: encoders, decoders, models of one piece."""
    return tuple(_all())


def _all() -> Iterator[Support]:
    for model_type, family in sorted(FAMILIES.items()):
        if family.encoder is not None:
            yield from _side(model_type, ENCODERS[family.encoder.reads], family.encoder)
        if family.decoder is not None:
            yield from _side(model_type, "decoder", family.decoder)
        if family.whole is not None:
            yield from _side(model_type, "one piece", family.whole)


def _side(model_type: str, side: Side, table: Encoder | Decoder | Whole) -> Iterator[Support]:
    for naming in NAMING_NAMES:
        if naming in table.refused:
            yield Support(model_type, side, naming, "refused", table.refused[naming])
        elif naming not in table.classes:
            yield Support(model_type, side, naming, "no class")
        else:
            healed = naming == "flax" and bool(table.healings)
            stand_in = table.stand_ins.get(naming)
            name = stand_in.name if stand_in else ""
            status: Status = "healed" if healed else "exact"
            yield Support(model_type, side, naming, status, stand_in=name)
