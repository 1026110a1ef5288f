"""`render.diff`: the worst first, as many as fit, and the counts of all."""

from __future__ import annotations

from pathlib import Path

from ckptconv.compare.configs import ConfigDifference
from ckptconv.compare.stream import Relation, Sums
from ckptconv.report.diff import MAX_LINES, diff_text
from ckptconv.verbs.diff import Diff, TensorDiff


def result(count: int, *config: ConfigDifference) -> Diff:
    """Return a diff of `count` tensors, each changed a little more than the one before."""
    sums = [Sums(1, 4, number, number**2, 100.0, 100.0) for number in range(1, count + 1)]
    tensors = tuple(
        TensorDiff(
            f"t{number}",
            "encoder",
            "",
            f"t{number}",
            f"u{number}",
            4,
            Relation("changed", "changed", one.figures),
            one,
        )
        for number, one in enumerate(sums)
    )
    forms = ("pytorch safetensors", "tf hdf5")
    return Diff(Path("a"), Path("b"), ("bert -> bert",) * 2, forms, tensors, config, 32, ())


def test_the_worst_first() -> None:
    """The largest relative change stands on top, and what does not fit is counted."""
    text = diff_text(result(50))
    block = text.split("\n\n")[2].splitlines()
    assert len(block) == MAX_LINES
    assert block[:3] == [
        "t49",
        "  in B: u49",
        "  changed; 1 of 4 elements differ, 5 of the RMS, by at most 50",
    ]
    assert block[-1] == "... and 37 more (--json lists them all)"
    assert text.splitlines()[-1] == "DIFFERENT: 50 tensors, 32 B: 50 changed"


def test_what_cannot_be_compared_comes_before_all() -> None:
    """A tensor that one side lacks stands above every change."""
    outcome = result(2)
    lost = TensorDiff(
        "z", "encoder", "", "", "z", 4, Relation("only in B", "only in B: float32 [4]"), Sums()
    )
    both = Diff(
        outcome.first,
        outcome.second,
        outcome.models,
        outcome.forms,
        (*outcome.tensors, lost),
        (),
        32,
        (),
    )
    assert diff_text(both).split("\n\n")[2].splitlines()[:2] == ["z", "  only in B: float32 [4]"]


def test_config_values_are_short_and_harmless() -> None:
    """Long values are cut, absent ones are a dash, and nothing reaches a terminal as a command."""
    text = diff_text(result(1, ConfigDifference("x", "\x1b[2J" * 20, None)))
    assert text.split("\n\n")[1].splitlines()[2] == 'x         "\\u001b[2J\\u001b[2J\\u001b[2...  -'
    assert "\x1b" not in text
