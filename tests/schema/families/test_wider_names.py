"""The tables of models of one piece, and of encoders of images and speech, against what the real classes said.

Tensor by tensor; no framework runs.
`fixtures/make_wider_names.py` wrote the oracle down.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from ckptconv.schema.config import Config
from ckptconv.schema.family import FAMILIES, Encoder, Whole
from ckptconv.schema.formulas import OffsetSinusoids, Sinusoids
from ckptconv.schema.model import read_model
from ckptconv.schema.tensors import NAMING_NAMES, NamingName, SchemaTensor
from ckptconv.stores.formats.hdf5 import place
from covering import over

Json: TypeAlias = dict[str, Any]
Shapes: TypeAlias = dict[str, tuple[int, ...]]

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
READS = {"vision": {"pixels"}, "speech": {"samples", "features"}}
NAMES: dict[str, dict[str, Json]] = {
    kind: {
        path.stem: json.loads(path.read_text())
        for path in sorted((FIXTURES / "names" / kind).glob("*.json"))
    }
    for kind in ("seq2seq", "vision", "speech")
}
"""Kind of model -> family -> what the classes said."""


@dataclass(frozen=True)
class Case:
    """One variant of a family, of one piece or as the encoder of a composite."""

    kind: str
    family: str
    oracle: Json

    @property
    def tables(self) -> Whole | Encoder:
        """What the family says of itself."""
        tables = table_of(self.kind, self.family)
        assert tables is not None
        return tables

    @property
    def config(self) -> Config:
        """The config as the class got it, with the family's defaults."""
        family, values = FAMILIES[self.family], self.oracle["config"]
        own = values if self.kind == "seq2seq" else values["encoder"]
        return Config(own).read_as(family.defaults, family.aliases)

    @cached_property
    def rows(self) -> list[SchemaTensor]:
        """Every tensor of the model but for the decoder of a composite, which is the same each time."""
        tensors = read_model(Config(self.oracle["config"])).tensors
        if self.kind == "seq2seq":
            return list(tensors)
        return [tensor for tensor in tensors if not tensor.key.startswith("decoder.")]

    def stored(self, naming: NamingName) -> Shapes:
        """What the table says of one naming: PyTorch has every name of a shared tensor, the others one."""
        return {
            row.spellings[naming].names[0]: row.shape(naming)
            for row in self.rows
            if naming in row.spellings
            and row.module.presence != "dropped"
            and (naming == "pytorch" or not row.module.tied or naming in row.module.repeated_by)
        }

    def said(self, naming: NamingName) -> Shapes:
        """What the class said of itself."""
        tensors: dict[str, list[int]] = self.oracle[naming].get("tensors", {})
        return {name: tuple(shape) for name, shape in tensors.items()}

    def answers(self, naming: NamingName) -> bool:
        """Tell whether the class could be made, run, and read its encoder."""
        return "class" in self.oracle[naming]


def table_of(kind: str, family: str) -> Whole | Encoder | None:
    """Return what a family says of itself in a kind of model; None where it says nothing."""
    tables = FAMILIES[family]
    return tables.whole if kind == "seq2seq" else tables.encoder


CASES = {
    f"{family}-{variant}".replace(" ", "_"): Case(kind, family, oracle)
    for kind, names_of in NAMES.items()
    for family, names in names_of.items()
    for variant, oracle in names["variants"].items()
    if "class" in oracle["pytorch"]
}
HELD, UNHELD = (
    [
        pytest.param(case, naming, id=f"{name}-{naming}")
        for name, case in CASES.items()
        for naming in NAMING_NAMES
        if (naming in case.tables.classes and naming not in case.tables.limits(case.config)) == held
        and naming not in case.tables.stand_ins
    ]
    for held in (True, False)
)


@over("kind", NAMES)
def test_every_oracle_has_a_table(kind: str) -> None:
    """A family is a table and an oracle; neither stands alone."""
    if kind == "seq2seq":
        tables = {name for name, family in FAMILIES.items() if family.whole is not None}
    else:
        tables = {
            name
            for name, family in FAMILIES.items()
            if family.encoder is not None and family.encoder.reads in READS[kind]
        }
    assert tables == set(NAMES[kind])


@over(("case", "naming"), HELD)
def test_names_and_shapes(case: Case, naming: NamingName) -> None:
    """The table expands to what the class has, no name more and none less, in every naming that holds the model."""
    assert case.stored(naming) == case.said(naming)


@over(("case", "naming"), UNHELD)
def test_what_cannot_hold_a_model_is_known(case: Case, naming: NamingName) -> None:
    """A naming that is refused has no class, or one that crashes or lacks a tensor of PyTorch's."""
    lacking = {
        row.key
        for row in case.rows
        if naming not in row.spellings and not row.module.tied and row.module.presence == "required"
    }
    wrong = case.answers(naming) and case.said(naming) != case.stored(naming)
    assert not case.answers(naming) or lacking or wrong


@over("name", CASES)
def test_classes(name: str) -> None:
    """A table names a class exactly where transformers has one."""
    case = CASES[name]
    classes = {
        naming: case.oracle[naming]["class"] for naming in NAMING_NAMES if case.answers(naming)
    }
    assert classes.items() <= dict(case.tables.classes).items()
    refused = {naming: str(case.oracle[naming].get("refused")) for naming in NAMING_NAMES}
    named = {naming for naming in NAMING_NAMES if not refused[naming].startswith("no class")}
    assert named == set(case.tables.classes) - set(case.tables.stand_ins)


@over("name", CASES)
def test_ties_and_buffers(name: str) -> None:
    """The rows that share one tensor share it in PyTorch, and what is read past is a buffer."""
    case = CASES[name]
    groups: dict[str, set[str]] = {}
    for row in case.rows:
        if row.tied_to and row.module.tied:
            groups.setdefault(row.tied_to, {row.tied_to}).add(row.key)
    assert sorted(map(sorted, groups.values())) == case.oracle["pytorch"]["tied"]
    dropped = {row.key for row in case.rows if row.module.presence == "dropped"}
    assert set(case.oracle["pytorch"]["buffers"]) <= dropped
    assert not dropped & set(case.oracle["pytorch"]["tensors"])


@over(("kind", "family"), [(kind, family) for kind in NAMES for family in NAMES[kind]])
def test_defaults_and_aliases(kind: str, family: str) -> None:
    """Defaults and aliases are those of the config class."""
    table, oracle = FAMILIES[family], NAMES[kind][family]
    assert {key: oracle["defaults"].get(key) for key in table.defaults} == dict(table.defaults)
    assert dict(table.aliases).items() <= oracle["aliases"].items()


@over(
    "name",
    [name for name, case in CASES.items() if case.kind == "seq2seq" and case.answers("tf")],
)
def test_hdf5_groups(name: str) -> None:
    """What lies outside TF's first level, or in several groups, is where the real class saves it."""
    oracle = CASES[name].oracle["tf"]
    outside = {}
    for tensor in oracle["tensors"]:
        groups, level = place(tensor, oracle["tensors"])
        if level is not None or len(groups) > 1 or "/" not in tensor:
            outside[f"{level}/{tensor}" if level else tensor] = list(groups)
    assert outside == oracle["outside"]


def test_formulas_give_what_pytorch_made() -> None:
    """A few values of each table of positions, worked out by hand from the definition."""
    table = Sinusoids().values((5, 6))
    assert table.dtype == np.float32
    assert np.allclose(
        table[3],
        [
            np.sin(3),
            np.sin(3 / 10000 ** (2 / 6)),
            np.sin(3 / 10000 ** (4 / 6)),
            np.cos(3),
            np.cos(3 / 10000 ** (2 / 6)),
            np.cos(3 / 10000 ** (4 / 6)),
        ],
        atol=1e-7,
    )
    assert Sinusoids().values((4, 7)).shape == (4, 7)
    later = OffsetSinusoids(first=2).values((3, 6))
    assert np.array_equal(later, OffsetSinusoids().values((5, 6))[2:])
