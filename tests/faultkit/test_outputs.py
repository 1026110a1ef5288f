"""Faults planted into good conversions, and both models run: what the outputs find by themselves, and where."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from faultkit.faults import Fault
from faultkit.outputs import MODELS, Trial, trials
from faultkit.settings import ConfigFault
from faultkit.table import agree, documented

if TYPE_CHECKING:
    from conftest import Counted

amount = pytest.mark.parametrize(
    "whole",
    [
        pytest.param(False, marks=pytest.mark.frameworks, id="a sample"),
        pytest.param(True, marks=[pytest.mark.frameworks, pytest.mark.soak], id="all"),
    ],
    scope="module",
)


@pytest.fixture(scope="module")
def tried(whole: bool, tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """What came of every damaged copy, or of the copies of the sample."""
    return trials(tmp_path_factory.mktemp("faultkit"), whole)


@amount
def test_copies_without_a_fault_match(tried: list[Trial], whole: bool) -> None:
    """Conversions as they are raise no alarm, among those that are not."""
    good = [trial for trial in tried if trial.fault is None]
    assert len(good) == 2 + len(MODELS if whole else ())
    assert [
        str(trial) for trial in good if trial.found or trial.config or not trial.weights.matches
    ] == []


@amount
def test_weights_and_configs_find_every_fault(tried: list[Trial], counted: Counted) -> None:
    """Each is named: the tensors that were changed, or the key."""
    faulty = [trial for trial in tried if trial.fault]
    counted(
        f"faults planted and run: {len(faulty)}, found by the outputs alone: {sum(one.found for one in faulty)}"
    )
    wrong = []
    for one in faulty:
        tensors = {difference.name for difference in one.weights.differences}
        expected = set(one.fault.values) if isinstance(one.fault, Fault) else set()
        keys = (one.fault.named,) if isinstance(one.fault, ConfigFault) else ()
        if (tensors, one.config) != (expected, keys):
            wrong.append(f"{one}: {tensors} {one.config}")
    assert wrong == []


@amount
def test_the_first_quantity_leads_to_the_tensor(tried: list[Trial], whole: bool) -> None:
    """Where the outputs find a fault, a tensor that was changed is among those behind the first quantity."""
    traced = [trial for trial in tried if isinstance(trial.fault, Fault) and trial.where.first]
    assert len(traced) > (40 if whole else 3)
    assert [f"{trial}: {trial.where.first}" for trial in traced if not trial.where.tensors] == []
    assert {trial.where.verdict for trial in traced} == {"the weights"}


@amount
def test_equal_weights_lead_to_the_config(tried: list[Trial], whole: bool) -> None:
    """Where the outputs differ and the weights do not, it is the config, and the key is shown."""
    blamed = [trial for trial in tried if isinstance(trial.fault, ConfigFault) and trial.found]
    assert len(blamed) > (12 if whole else 0)
    verdicts = {trial.where.verdict for trial in blamed}
    assert verdicts == {"every weight is right, so it is the config"}


@amount
@pytest.mark.parametrize("naming", ["tf", "flax"])
def test_what_the_outputs_find_by_themselves(tried: list[Trial], naming: str, whole: bool) -> None:
    """Not all: what is never read, or too small to see. So the weights are compared bit for bit.

    A sample finds no kind that all of them together do not find.
    """
    mine = [trial for trial in tried if trial.fault and trial.naming == naming]
    planted = Counter(trial.fault.kind for trial in mine if trial.fault)
    counts = Counter(trial.fault.kind for trial in mine if trial.fault and trial.found)
    if whole:
        cells = {kind: f"{counts[kind]} of {count}" for kind, count in planted.items()}
        agree("outputs", naming, cells)
        return
    shares = documented("outputs", naming)
    assert planted.keys() <= shares.keys()
    assert [kind for kind in counts if shares[kind].startswith("0 of")] == []
    missed = [kind for kind in planted if not counts[kind]]
    assert [kind for kind in missed if len(set(shares[kind].split(" of "))) == 1] == []
