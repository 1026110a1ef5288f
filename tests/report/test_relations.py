"""`render.relations`: a difference in lines that fit, and in JSON without what JSON has no number for."""

from __future__ import annotations

from math import inf, nan

import pytest

from ckptconv.compare.stream import Figures, Relation
from ckptconv.report.relations import figures_text, relation_json, relation_lines

SOME = Figures(3, 12, 0.5, 0.25, 0.5, 0.9)


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        (SOME, "3 of 12 elements differ, 0.5 of the RMS, by at most 0.5"),
        (
            Figures(12, 12, 0.5, 0.25, 0.0, nan),
            "all elements differ, infinite of the RMS, by at most 0.5",
        ),
        (Figures(1, 1, 2.0, 2.0, 1.0, 1.0), "1 of 1 element differ, 2 of the RMS, by at most 2"),
        (Figures(2, 5, 0.0, 0.0, 1.0, 1.0), "2 of 5 elements differ, by at most 0"),
    ],
)
def test_figures_as_text(figures: Figures, text: str) -> None:
    """How many, how much in relation, and the largest difference."""
    assert figures_text(figures) == text


def test_both_spellings() -> None:
    """Two names take two lines, one name one; a tensor that one side lacks has the other's name."""
    relation = Relation("only in B", "only in B: float32 [3]")
    assert relation_lines("a.weight", "a/kernel", relation) == [
        "a.weight",
        "  in B: a/kernel",
        "  only in B: float32 [3]",
    ]
    assert relation_lines("a", "a", relation, "target") == ["a", "  only in B: float32 [3]"]
    assert relation_lines("", "b", relation) == ["b", "  only in B: float32 [3]"]


def test_a_long_sentence_is_wrapped() -> None:
    """No line is longer than the columns, and the rest is indented."""
    lines = relation_lines("a", "b", Relation("element", "word " * 30, SOME))
    assert (len(lines), max(map(len, lines)) <= 100, lines[-1]) == (
        5,
        True,
        "    RMS, by at most 0.5",
    )


def test_json_has_no_infinity() -> None:
    """What JSON cannot hold is null."""
    document = relation_json(Relation("changed", "changed", Figures(3, 12, inf, 0.25, 0.0, nan)))
    assert document == {
        "kind": "changed",
        "detail": "changed",
        "differing": 3,
        "elements": 12,
        "worst": None,
        "rms": 0.25,
        "reference_rms": 0.0,
        "relative": None,
        "cosine": None,
    }
    assert relation_json(Relation("shape", "other")) == {"kind": "shape", "detail": "other"}
