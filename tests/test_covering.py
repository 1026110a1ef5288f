"""`covering`: what stands for many tests hides no failure among them."""

from __future__ import annotations

import pytest

from covering import covering, over


def test_every_case_that_fails_is_named() -> None:
    """A loop goes on after a failure, and fails with all of them."""

    @over(("number", "bound"), [(1, 2), (3, 2), pytest.param(4, 2, id="four"), (0, 2)])
    def is_below(number: int, bound: int) -> None:
        """Fail for some."""
        assert number < bound

    with pytest.raises(ExceptionGroup, match="2 of 4 cases fail") as failure:
        is_below()
    notes = [error.__notes__ for error in failure.value.exceptions]
    assert notes == [["the case: (3, 2)"], ["the case: four"]]


def test_a_loop_over_nothing_fails() -> None:
    """Where no case is left nothing was shown."""

    @over("case", [])
    def nothing(case: object) -> None:
        """Fail for nothing."""

    with pytest.raises(AssertionError, match="no case"):
        nothing()


@pytest.mark.parametrize(("strength", "least"), [(1, 4), (2, 12), (3, 24)])
def test_a_sample_shows_every_value_and_the_rest_is_marked(strength: int, least: int) -> None:
    """Each value, pair or triple of values is in the sample, which is as small as can be; nothing is left out."""
    cases = covering("abcd", "xyz", [0, 1], strength=strength)
    sample = [case.values for case in cases if not case.marks]
    assert len(cases) == 24
    assert len(sample) == least
    assert [{case[axis] for case in sample} for axis in range(3)] == [
        set("abcd"),
        set("xyz"),
        {0, 1},
    ]
    assert {mark.name for case in cases for mark in case.marks} <= {"thorough"}
