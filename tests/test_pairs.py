"""Every pair that TF or Flax can hold: the real classes load it whole and compute what PyTorch computes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ckptconv.run.yardstick import MAX_FACTOR, RMS_FACTOR
from honest import write_table
from pairs import SEEDS, Case, Outcome, cases, outcomes

if TYPE_CHECKING:
    from conftest import Counted

pytestmark = pytest.mark.frameworks

ROOM = 0.75
"""Share of the yardstick's bound that an honest pair may come to; twenty draws of every pair came to 0.72 and 0.67."""


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Outcome]:
    """What came of every case."""
    return outcomes(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_pair_loads_and_computes_the_same(case: Case, judged: dict[Case, Outcome]) -> None:
    """Nothing is missing, unexpected or mismatched; states, logits and tokens agree within the yardstick."""
    assert judged[case].wrong == ()
    assert bool(judged[case].ratios) is case.runs


def test_the_yardstick_has_room(judged: dict[Case, Outcome], counted: Counted) -> None:
    """Over all pairs and draws, the farthest honest quantity is counted; CKPTCONV_WRITE=1 puts all into the page."""
    runs = [one for case, one in judged.items() if case.runs]
    ratios = [ratio for one in runs for ratio in one.ratios]
    rms, worst = max(one.rms for one in ratios), max(one.worst for one in ratios)
    counted(
        f"honest pairs: {len(runs)} runs of {SEEDS} seeds, {len(ratios)} quantities,"
        f" {sum(one.ties for one in runs)} ties; largest ratio {rms:.2f} (RMS), {worst:.2f} (max)"
    )
    if os.environ.get("CKPTCONV_WRITE"):
        write_table(judged)
    assert 0 < rms < ROOM * RMS_FACTOR
    assert 0 < worst < ROOM * MAX_FACTOR
