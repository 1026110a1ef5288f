"""The tables against what the real classes of transformers 4.57.6 said, tensor by tensor; no framework runs.

`fixtures/make_names.py` wrote the oracle down. Each case is one variant of a family on one side, with a
tiny bert on the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.binding.bind import bind
from ckptconv.binding.plan import Plan, make_plan
from ckptconv.schema.config import Config
from ckptconv.schema.family import FAMILIES, Decoder, Encoder
from ckptconv.schema.model import read_model
from ckptconv.schema.tensors import NAMING_NAMES, NamingName, SchemaTensor
from ckptconv.stores.tensor import Stored, TensorSpec
from covering import over
from tiny import CONFIGS, NAMES, SETTINGS, SIDES, Json, is_refused, oracle

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """One variant of a family on one side of a pair."""

    family: str
    variant: Json
    side: str

    @property
    def oracle(self) -> Json:
        """What each framework said: its class and its tensors, or its refusal."""
        return oracle(self.family, self.variant["variant"], self.side)

    def answers(self, naming: str) -> bool:
        """Tell whether the class of a naming can be built and run, and is not known to answer wrongly."""
        return "class" in self.oracle.get(naming, {}) and not is_refused(self.variant, naming)

    @property
    def config(self) -> Config:
        """The composite's config, as the classes got it."""
        return Config({"model_type": "encoder-decoder", **self.oracle["config"]})

    @cached_property
    def rows(self) -> list[SchemaTensor]:
        """The tables' rows of this side and of the bridge."""
        opposite = SIDES[1 - SIDES.index(self.side)]
        return [
            row
            for row in read_model(self.config).tensors
            if not re.match(rf"{opposite}\.", row.key)
        ]

    def plan(self, source: NamingName, target: NamingName) -> Plan:
        """Plan the way from the oracle's tensors to another naming, as a conversion does."""
        read_model(self.config).require_class(target)
        named = shapes(self.oracle[source].get("tensors", {}))
        index = {
            name: Stored.in_file(TensorSpec(name, "float32", shape), Path(), ())
            for name, shape in named.items()
        }
        return make_plan(bind(self.rows, index, source), target, what=self.family)


def shapes(named: dict[str, list[int]]) -> Shapes:
    """Return name -> shape."""
    return {name: tuple(shape) for name, shape in named.items()}


def targets(plan: Plan) -> Shapes:
    """Return the tensors that a plan writes."""
    return {move.target.name: move.target.shape for move in plan.moves}


CASES = {
    f"{family}-{variant['variant']}-{side}".replace(" ", "_"): Case(family, variant, side)
    for family, variants in CONFIGS.items()
    for variant in variants
    for side in variant.get("sides", SIDES)
}
TARGETS: tuple[NamingName, ...] = ("tf", "flax")


def _stand_ins(case: Case) -> Collection[str]:
    """Return the namings in which the class of another family holds this one; test_stand_ins.py is of those."""
    part: Encoder | Decoder | None = getattr(FAMILIES[case.family], case.side)
    return part.stand_ins if part else ()


SOUND = [pytest.param(case, id=name) for name, case in CASES.items() if case.answers("pytorch")]
HELD, UNHELD = (
    [
        pytest.param(case, naming, id=f"{name}-{naming}")
        for name, case in CASES.items()
        for naming in TARGETS
        if (case.answers("pytorch") and case.answers(naming)) == held
        and (held or naming not in _stand_ins(case))
    ]
    for held in (True, False)
)


def test_every_family_has_a_table_a_config_and_names() -> None:
    """A family is a table, a test configuration and an oracle; none of them stands alone."""
    text = [
        name
        for name, family in FAMILIES.items()
        if family.decoder or (family.encoder and family.encoder.reads == "tokens")
    ]
    assert sorted(text) == sorted(CONFIGS) == sorted(NAMES)


@over("family", CONFIGS)
def test_the_names_are_those_of_the_configs(family: str) -> None:
    """The oracle was asked about the variants and sizes that the configuration has now."""
    asked = {
        (name, side): found["config"][side]
        for name, sides in NAMES.get(family, {"variants": {}})["variants"].items()
        for side, found in sides.items()
    }
    reads = {"encoder": {}, "decoder": {"is_decoder": True, "add_cross_attention": True}}
    assert asked == {
        (variant["variant"], side): variant["config"] | reads[side]
        for variant in CONFIGS[family]
        for side in variant.get("sides", SIDES)
    }


@over("family", CONFIGS)
def test_the_configs_say_nothing_unknown(family: str) -> None:
    """The plain variant comes first and stands on both sides, and no setting is misspelt."""
    first = CONFIGS[family][0]
    assert (first["variant"], "sides" in first, isinstance(first.get("refused"), str)) == (
        "plain",
        False,
        False,
    )
    assert not {key for variant in CONFIGS[family] for key in variant} - set(SETTINGS)


@over("family", CONFIGS)
def test_defaults_are_those_of_the_config_class(family: str) -> None:
    """Every default in a family's file is what the config class fills in."""
    defaults = FAMILIES[family].defaults
    oracle = NAMES[family]["defaults"]
    assert {key: oracle.get(key) for key in defaults} == dict(defaults)


@over("family", CONFIGS)
def test_aliases_are_those_of_the_config_class(family: str) -> None:
    """Every alias in a family's file is one that the config class has."""
    assert dict(FAMILIES[family].aliases).items() <= NAMES[family]["aliases"].items()


@over("side", SIDES)
@over("family", CONFIGS)
def test_classes_are_those_that_answer(family: str, side: str) -> None:
    """A family's file names a class exactly where it can be built, run and read an encoder, or says why not."""
    part: Encoder | Decoder | None = getattr(FAMILIES[family], side)
    case = Case(family, CONFIGS[family][0], side)
    answered = {name: case.oracle[name]["class"] for name in NAMING_NAMES if case.answers(name)}
    named = (
        {
            name: own
            for name, own in part.classes.items()
            if name not in {*part.refused, *part.stand_ins}
        }
        if part
        else {}
    )
    assert named == (answered if "pytorch" in answered else {})


@over("case", SOUND)
def test_pytorch_tensors(case: Case) -> None:
    """The tables expand to PyTorch's state dict, no name more and none less."""
    rows = {
        row.spellings["pytorch"].names[0]: row for row in case.rows if "pytorch" in row.spellings
    }
    kept = {
        name: row.shape("pytorch") for name, row in rows.items() if row.module.presence != "dropped"
    }
    assert kept == shapes(case.oracle["pytorch"]["tensors"])


@over("case", SOUND)
def test_pytorch_buffers(case: Case) -> None:
    """What an old version may have saved of PyTorch's buffers is read past, and nothing but buffers is."""
    pytorch = case.oracle["pytorch"]
    dropped = {row.key for row in case.rows if row.module.presence == "dropped"}
    assert set(pytorch["buffers"]) <= dropped
    assert not dropped & set(pytorch["tensors"])


@over("case", SOUND)
def test_pytorch_ties(case: Case) -> None:
    """The rows that share one tensor are those that share it in PyTorch."""
    groups: dict[str, set[str]] = {}
    for row in case.rows:
        if row.tied_to and row.module.tied:
            groups.setdefault(row.tied_to, {row.tied_to}).add(row.key)
    assert sorted(map(sorted, groups.values())) == case.oracle["pytorch"]["tied"]


@over(("case", "target"), HELD)
def test_targets(case: Case, target: NamingName) -> None:
    """What is planned from PyTorch's tensors is what the target's class has, and every tensor finds its way.

    One that is not moved must equal one that is: none is left out without a word.
    """
    plan = case.plan("pytorch", target)
    moved = {move.source.spec.name for move in plan.moves if move.source}
    pairs = [{pair.first.spec.name, pair.second.spec.name} for pair in plan.equalities]
    assert targets(plan) == shapes(case.oracle[target]["tensors"])
    assert moved.union(*pairs) == set(case.oracle["pytorch"]["tensors"])
    assert all(moved & pair for pair in pairs)


@over(("case", "target"), UNHELD)
def test_refusals(case: Case, target: NamingName) -> None:
    """What a class cannot hold, run or compute is refused."""
    with pytest.raises(SourceError):
        case.plan("pytorch", target)


@pytest.mark.thorough
@over(("case", "source"), HELD)
def test_the_way_back(case: Case, source: NamingName) -> None:
    """What is planned from a class's tensors is PyTorch's state dict, with each shared tensor once."""
    plan = case.plan(source, "pytorch")
    pytorch = case.oracle["pytorch"]
    written = targets(plan)
    repeated = [set(group) - set(written) for group in pytorch["tied"]]
    assert written.items() <= shapes(pytorch["tensors"]).items()
    assert set().union(*repeated) == set(pytorch["tensors"]) - set(written)
    assert [len(group) for group in pytorch["tied"]] == [len(left) + 1 for left in repeated]
    assert not [move.target.name for move in plan.moves if move.source is None]
