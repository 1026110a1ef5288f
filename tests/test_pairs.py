"""Every pair that TF or Flax can hold: the real classes load it whole and compute what PyTorch computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pairs import SEEDS, Case, Outcome, cases, outcomes

if TYPE_CHECKING:
    from conftest import Counted

pytestmark = pytest.mark.frameworks


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Outcome]:
    """What came of every case."""
    return outcomes(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_pair_loads_and_computes_the_same(case: Case, judged: dict[Case, Outcome]) -> None:
    """Nothing is missing, unexpected or mismatched; states, logits and tokens agree within the yardstick."""
    assert judged[case].wrong == ()
    assert bool(judged[case].compared) is case.runs


def test_the_yardstick_has_room(judged: dict[Case, Outcome], counted: Counted) -> None:
    """Over all pairs and seeds, the farthest honest quantity is counted for the record."""
    runs = [one for case, one in judged.items() if case.runs]
    rms, most = (max(one.ratios[n] for one in runs) for n in (0, 1))
    counted(f"honest pairs: {len(runs)} runs of {SEEDS} seeds, {sum(one.compared for one in runs)} quantities, "
            f"{sum(one.ties for one in runs)} ties; largest ratio {rms:.2f} (RMS), {most:.2f} (max)")  # fmt: skip
    assert len(runs) == len([case for case in cases() if case.runs])
    assert 0 < rms < most
