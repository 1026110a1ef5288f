"""How one test stands for many cases: all in one test where each is cheap, a sample of them where it is not.

A parametrised test costs some milliseconds a case, which a comparison of two names does not. `over` is written
in place of `pytest.mark.parametrize` and tries all cases in one test. `covering` gives the cases of
`pytest.mark.parametrize` for axes that multiply: those that show each value of each axis (or each pair of
values) run as the test is marked, and all others with another mark.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product
from typing import Any

import pytest

SHOWN_FAILURES = 12


def over(
    names: str | Sequence[str], cases: Iterable[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Try every case in one test, and fail once with all that fail.

    Args:
        names: Of the arguments, as in `pytest.mark.parametrize`.
        cases: One value for one name, a tuple for several, or a `pytest.param`.
    """
    arguments = names.split(", ") if isinstance(names, str) else list(names)
    rows = [_row(case, len(arguments)) for case in cases]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def loop(**fixtures: Any) -> None:
            failures = []
            for label, values in rows:
                try:
                    test(**fixtures, **dict(zip(arguments, values, strict=True)))
                except Exception as error:
                    error.add_note(f"the case: {label}")
                    failures.append(error)
            assert rows, "no case was tried"
            if failures:
                message = f"{len(failures)} of {len(rows)} cases fail"
                raise ExceptionGroup(message, failures[:SHOWN_FAILURES])

        signature = inspect.signature(test)
        left = [value for key, value in signature.parameters.items() if key not in arguments]
        loop.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return loop

    return decorate


def _row(case: Any, count: int) -> tuple[str, Sequence[Any]]:
    """Return the label and the values of a case."""
    if hasattr(case, "values") and hasattr(case, "marks"):  # a `pytest.param`
        return case.id or repr(case.values), case.values
    return repr(case), (case,) if count == 1 else case


def covering(
    *axes: Iterable[Any], strength: int = 1, rest: pytest.MarkDecorator = pytest.mark.thorough
) -> list[Any]:
    """Return the product of axes as cases; those outside of a sample have the mark `rest`.

    Args:
        axes: The values of each argument.
        strength: 1 samples each value of each axis, 2 each pair of values of two axes.
        rest: The mark of the cases outside the sample.
    """
    whole = list(product(*map(list, axes)))
    sample = _sample(whole, strength)
    return [
        pytest.param(*case, marks=() if place in sample else rest)
        for place, case in enumerate(whole)
    ]


def _sample(whole: list[tuple[Any, ...]], strength: int) -> set[int]:
    """Return the places of few cases in which every value occurs, or every pair: the greedy choice."""
    shows = [_shown(case, strength) for case in whole]
    missing = set().union(*shows)
    sample: set[int] = set()
    while missing:
        best = max(range(len(whole)), key=lambda place: len(shows[place] & missing))
        sample.add(best)
        missing -= shows[best]
    return sample


def _shown(case: tuple[Any, ...], strength: int) -> set[str]:
    """Return what a case shows, as text: values need not be hashable."""
    return {repr(values) for values in combinations(list(enumerate(case)), strength)}
