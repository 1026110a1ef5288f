"""One side of a pair, or one model by itself: its family, its config, and its modules with the side's prefix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ckptconv.schema.config import Config
from ckptconv.schema.families import family_of
from ckptconv.schema.family import Decoder, Encoder, Family
from ckptconv.schema.vocabulary import Module, part, under


@dataclass(frozen=True, slots=True)
class Side:
    """One half of the pair: its family, and its config with the family's defaults."""

    family: Family
    config: Config


def read_side(config: Config) -> Side:
    """Return the side that a config describes. Raises SourceError: no table for its model type."""
    family = family_of(config.text("model_type"), config.where)
    return Side(family, config.read_as(family.defaults, family.aliases))


def encoder_modules(side: Side, tables: Encoder) -> Iterator[Module]:
    """Return an encoder's modules, below `encoder`."""
    base = tables.modules(side.config)
    return part("encoder", under("encoder", under("", base, tf=side.family.main_layer)))


def decoder_modules(side: Side, tables: Decoder) -> tuple[tuple[Module, ...], tuple[Module, ...]]:
    """Return a decoder's base model and its head, both below `decoder`."""
    base, above = tables.modules(side.config), f"decoder.{side.family.base}"
    stack = part("decoder", under(above, base, tf=f"decoder.{side.family.main_layer}"))
    head = part("head", under("decoder", tables.head(side.config)))
    return tuple(stack), tuple(head)
