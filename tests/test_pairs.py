"""Every pair that TF or Flax can hold: the real classes load it whole and compute what PyTorch computes."""

from __future__ import annotations

from typing import TypeAlias

import pytest

from ckptconv.errors import FrameworkError
from ckptconv.evidence.children import Answer
from ckptconv.evidence.yardstick import ForwardReport
from pairs import Case, cases, reports

pytestmark = [pytest.mark.frameworks, pytest.mark.xdist_group("pairs")]

Reports: TypeAlias = dict[Case, ForwardReport | Answer | FrameworkError]


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """What came of every case."""
    return reports(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_pair_loads_and_computes_the_same(case: Case, judged: Reports) -> None:
    """Nothing is missing, unexpected or mismatched; states, logits and tokens agree within the yardstick."""
    report = judged[case]
    assert not isinstance(report, FrameworkError), report
    if isinstance(report, Answer):
        assert report.problems == ()
        return
    assert report.loading == ()
    outside = {f"{one.probe} {one.name}": one.ratios for one in report.quantities if not one.matches}
    assert outside == {}
    assert report.tokens is not None
    assert report.tokens.mismatch is None
    assert report.matches
