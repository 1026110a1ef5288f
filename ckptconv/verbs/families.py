"""`families`: which model types are supported, as what and in which framework, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ckptconv.base.strict_json import Json, read_json
from ckptconv.schema.family import FAMILIES, Decoder, Encoder, Family, SideName, Whole
from ckptconv.schema.seq2seq import sides_of
from ckptconv.schema.tensors import NAMING_NAMES, NamingName

PartSupport: TypeAlias = Literal[
    "encoder", "image encoder", "speech encoder", "decoder", "one piece"
]
Status: TypeAlias = Literal["exact", "healed", "refused", "no class"]

ENCODERS: dict[str, PartSupport] = {
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
    side: PartSupport
    naming: NamingName
    status: Status
    reason: str = ""
    """For `refused`: why."""
    stand_in: str = ""
    """The family whose class holds it, where it has none of its own; empty for its own."""


EXPORTS = "exports.json"
"""What came of `fixtures/sweep_exports.py`, beside the tables."""
UNTRIED = "not tried"
EXPORT_FORMATS = ("onnx", "savedmodel")
"""Those that were tried; JAX and LiteRT lower what a SavedModel does."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of exporting one family in one role to one format."""

    model_type: str
    side: str
    format: str
    status: Literal["exact", "refused", "not tried"]
    reason: str = ""
    """For `refused`: why."""


def exported(supports: Iterable[Support]) -> tuple[Exported, ...]:
    """Return what was measured of each family that PyTorch's class runs, format by format."""
    results = read_json(Path(__file__).parents[1] / "schema" / EXPORTS)
    return tuple(
        _exported(support, form, results)
        for support in supports
        if support.naming == "pytorch" and support.status == "exact"
        for form in EXPORT_FORMATS
    )


EXPORT_SAMPLES = ("onnx search", "jax", "litert")
"""What some rows were tried for beside the formats of a column."""


def exported_samples() -> dict[str, tuple[tuple[str, str], ...]]:
    """Return of each of `EXPORT_SAMPLES` the (model type, side) for which it was exact."""
    results = read_json(Path(__file__).parents[1] / "schema" / EXPORTS)
    return {
        sample: tuple(
            (model_type, side)
            for model_type, sides in sorted(results.items())
            if isinstance(sides, dict)
            for side, formats in sorted(sides.items())
            if isinstance(formats, dict) and formats.get(sample) == "exact"
        )
        for sample in EXPORT_SAMPLES
    }


def _exported(support: Support, form: str, results: Mapping[str, Json]) -> Exported:
    sides = results.get(support.model_type, {})
    formats = sides.get(support.side, {}) if isinstance(sides, dict) else {}
    result = str(formats.get(form, UNTRIED)) if isinstance(formats, dict) else UNTRIED
    word, _, reason = result.partition(": ")
    if word == "refused":
        return Exported(support.model_type, support.side, form, "refused", reason)
    status: Literal["exact", "not tried"] = "exact" if word == "exact" else "not tried"
    return Exported(support.model_type, support.side, form, status)


def families() -> tuple[Support, ...]:
    """Return what the tables say, family by family: encoders, decoders, models of one piece."""
    return tuple(_all())


COMPOSITES = "composites.json"
"""What came of `fixtures/find_families.py`, beside the tables."""
RUNS, NO_CROSS_ATTENTION = "runs", "no cross-attention"


@dataclass(frozen=True, slots=True)
class Tried:
    """What PyTorch's composite class does with one model type on one side, tried on a tiny model."""

    model_type: str
    side: Literal["encoder", "decoder"]
    result: str
    """`runs`, `no cross-attention`, `not tried`, or the step that fails, and how."""
    has_table: bool


def tried_in_pytorch() -> tuple[Tried, ...]:
    """Return what came of every model type that transformers 4.57.6 knows, as an encoder and as a decoder."""
    results = read_json(Path(__file__).parents[1] / "schema" / COMPOSITES)
    sides: tuple[SideName, ...] = ("encoder", "decoder")
    return tuple(
        Tried(model_type, side, str(result), _has_table(model_type, side))
        for side in sides
        if isinstance(by_type := results[side], dict)
        for model_type, result in sorted(by_type.items())
    )


def _has_table(model_type: str, side: SideName) -> bool:
    family = FAMILIES.get(model_type)
    return family is not None and getattr(family, side) is not None


def sides_alone() -> tuple[tuple[str, str, str], ...]:
    """Return what `split` gives of each family of one piece: model type, encoder's class, decoder's; empty for none."""
    return tuple(
        (model_type, _class(family, "encoder"), _class(family, "decoder"))
        for model_type, family in sorted(FAMILIES.items())
        if family.whole is not None
    )


def _class(family: Family, name: SideName) -> str:
    side = sides_of(family).get(name)
    return side.model_class if side else ""


def _all() -> Iterator[Support]:
    for model_type, family in sorted(FAMILIES.items()):
        if family.encoder is not None:
            yield from _side(model_type, ENCODERS[family.encoder.reads], family.encoder)
        if family.decoder is not None:
            yield from _side(model_type, "decoder", family.decoder)
        if family.whole is not None:
            yield from _side(model_type, "one piece", family.whole)


def _side(
    model_type: str, side: PartSupport, table: Encoder | Decoder | Whole
) -> Iterator[Support]:
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
