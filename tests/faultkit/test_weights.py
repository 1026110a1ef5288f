"""Faults planted into good conversions of every family: the weights' check finds each one and names its tensors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptconv
from ckptconv.verbs.verify import compare_weights
from faultkit.faults import Fault, faults, planted
from faultkit.models import Conversion, conversions
from faultkit.settings import config_faults, misconfigured
from faultkit.table import agree, documented
from faultkit.tensors import Array

if TYPE_CHECKING:
    from conftest import Counted

PER_KIND = 2
"""Faults of one kind in one model, spread over its tensors; the trained model gets all of them."""
STEP = 8
"""In `make test` a few pairs of families, and of the trained model one fault of a kind in so many."""
amount = pytest.mark.parametrize(
    "whole",
    [
        pytest.param(False, marks=pytest.mark.thorough, id="a sample"),
        pytest.param(True, marks=pytest.mark.soak, id="all"),
    ],
)


def chosen(model: Conversion, whole: bool) -> list[Fault]:
    """Return the faults of a model that are tried: at least one of each kind."""
    kinds: dict[str, list[Fault]] = {}
    for fault in faults(model.tensors):
        kinds.setdefault(fault.kind, []).append(fault)
    if model.title == "dates":
        return [
            fault for same_kind in kinds.values() for fault in same_kind[:: 1 if whole else STEP]
        ]
    count = PER_KIND if whole else 1
    return [
        fault for same_kind in kinds.values() for fault in same_kind[:: -(-len(same_kind) // count)]
    ]


def missed(model: Conversion, fault: Fault) -> str:
    """Plant a fault and return what the report gets wrong; empty where it is right."""
    with planted(fault, model.by_name):
        report = compare_weights(model.source, model.composition, model.target)
    differences = {difference.name: difference for difference in report.differences}
    spelled = {tensor.name: tensor.move.source for tensor in model.tensors.values()}
    told = (
        not report.matches
        and differences.keys() == fault.values.keys()
        and all(item.relation.kind in fault.says for item in differences.values())
        and all(
            item.source == origin.spec.name
            for item in differences.values()
            if (origin := spelled[item.name])
        )
    )
    if "swapped" in fault.says and told:
        told = all(
            _holds(model, one.relation.detail, fault.values[name])
            for name, one in differences.items()
        )
    return (
        ""
        if told
        else f"{model.title}: {fault}: {[(one.name, str(one.relation)) for one in differences.values()]}"
    )


def _holds(model: Conversion, detail: str, values: Array) -> bool:
    """Tell whether the tensor that a sentence ends with is one that holds such values where it belongs."""
    partner = model.by_name[detail.rpartition(" ")[2]]
    return bool(np.array_equal(partner.array.reshape(-1), values.reshape(-1)))


@amount
@pytest.mark.parametrize("naming", ["tf", "flax"])
def test_every_fault_in_a_tensor_is_found_and_named(
    naming: Any, whole: bool, tmp_path: Path, counted: Counted
) -> None:
    """The report names the tensors that were changed in both spellings, no others, and says how."""
    counts: Counter[str] = Counter()
    wrong = []
    for model in conversions(naming, tmp_path, whole=whole):
        for fault in chosen(model, whole):
            counts[fault.kind] += 1
            wrong.append(missed(model, fault))
        assert compare_weights(model.source, model.composition, model.target).matches, model.title
    counted(
        f"faults in the weights of {naming}: {counts.total()} planted, {sum(not one for one in wrong)} named"
    )
    assert [name for name in wrong if name] == []
    _agree("weights", naming, counts, whole)


def _agree(table: str, naming: Any, counts: Counter[str], whole: bool) -> None:
    """Require that all faults are those of the document, and that a sample has each kind."""
    if whole:
        agree(table, naming, counts)
    else:
        assert counts.keys() == documented(table, naming).keys()


@amount
@pytest.mark.parametrize("naming", ["tf", "flax"])
def test_every_fault_in_a_config_is_found_and_named(
    naming: Any, whole: bool, tmp_path: Path, counted: Counted
) -> None:
    """With equal weights the key is told; where no output was looked at too."""
    counts: Counter[str] = Counter()
    wrong = []
    for model in conversions(naming, tmp_path, "safetensors", whole=whole):
        source, target = model.source.path, model.target.path
        for fault in config_faults(model.composition, target):
            counts[fault.kind] += 1
            with misconfigured(fault, target):
                verification = ckptconv.verify(source, target, "weights")
            keys = (
                [difference.key for difference in verification.where.config]
                if verification.where
                else []
            )
            if verification.matches or not verification.weights.matches or keys != [fault.named]:
                wrong.append(f"{model.title}: {fault}: {keys}")
        assert ckptconv.verify(source, target, "weights").matches, model.title
    counted(
        f"faults in the configs of {naming}: {counts.total()} planted, {counts.total() - len(wrong)} named"
    )
    assert wrong == []
    _agree("configs", naming, counts, whole)
