"""`recording`: probes for whatever the target will be, and a target judged by what was recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptconv.base.errors import SourceError
from ckptconv.run import recording
from ckptconv.run.children import Answer, Job
from ckptconv.run.forward import Options, Runnable
from ckptconv.run.modalities import Example
from ckptconv.run.recording import compare_recorded, probes_for_all
from ckptconv.run.trace import Trace, read_trace, write_trace
from ckptconv.schema.tensors import NAMING_NAMES
from probing import pair as composed
from probing import probes_of, supports
from tracing import made_up, quantities

if TYPE_CHECKING:
    from ckptconv.schema.model import Model
    from conftest import Pair


def test_flax_gets_probes_of_its_own_where_it_must() -> None:
    """Without left padding where positions are counted otherwise, without token types; the rest is shared."""
    probes, suited = probes_for_all(
        composed({"model_type": "roberta", "pad_token_id": 1}, {}), 0, *supports("pytorch")
    )
    assert {name: suited[name] for name in NAMING_NAMES} == {
        "pytorch": ("full", "right", "left", "types", "long"),
        "tf": ("full", "right", "left", "types", "long"),
        "flax": ("full", "right", "left-flax", "long"),
    }
    named = {name for naming in NAMING_NAMES for name in suited[naming]}
    assert {name for key in probes if (name := key.partition(".")[0]) in named} == {
        "full",
        "right",
        "left",
        "left-flax",
        "types",
        "long",
    }
    assert not probes["left.attention_mask"][2, 0]
    assert probes["left-flax.attention_mask"][:, 0].all()


def test_a_flax_source_answers_what_flax_takes() -> None:
    """Then there is nothing to choose, and no token types at all."""
    composition = composed({"model_type": "roberta", "pad_token_id": 1}, {})
    probes, suited = probes_for_all(composition, 0, *supports("flax"))
    assert {suited[name] for name in NAMING_NAMES} == {("full", "right", "left", "long")}
    usual = probes_of(composition, 0, ["flax"])
    # artefacts take no mask for the decoder, and have a probe of their own
    own = {key for key in probes if "-" in key.partition(".")[0]}
    assert {key.partition("-")[0] for key in own} <= {"left"}
    assert probes.keys() - own == usual.keys()
    assert all(np.array_equal(probes[name], usual[name]) for name in usual)


@pytest.fixture
def recorded(pair: Pair, tmp_path: Path) -> tuple[Trace, Model]:
    """Return a trace that was written and read."""
    trace, composition = made_up(pair, tmp_path / "source")
    write_trace(tmp_path / "a.trace", trace)
    return read_trace(tmp_path / "a.trace"), composition


def answer(composition: Model, trace: Trace, noise: float = 3e-7) -> Answer:
    """Return what a target would answer."""
    arrays = {
        name: one
        for name, one in quantities(composition, noise, 1).items()
        if name.startswith("float32/")
    }
    more = {name: trace.source.arrays[name] for name in ("greedy/tokens", "float32/greedy/cached")}
    return Answer("tf", arrays | more, (), {}, {}, {"num_beams": 1}, ("1",), (), 1.0)


def compared(
    monkeypatch: pytest.MonkeyPatch,
    trace: Trace,
    composition: Model,
    given: Answer,
    naming: Any = "tf",
) -> tuple[Any, list[Job]]:
    """Return the report on what a child is said to have answered, and the jobs it was given."""
    asked: list[Job] = []

    def run(jobs: list[Job], timeout: float | None) -> list[Answer]:
        asked.extend(jobs)
        return [given]

    monkeypatch.setattr(recording, "run_children", run)
    target = Runnable(naming, Path("b"))
    report = compare_recorded(trace, Path("a.trace"), composition, target, Options())
    return report, asked


@pytest.mark.parametrize("naming", ["tf", "flax"])
def test_only_the_target_runs(
    monkeypatch: pytest.MonkeyPatch, recorded: tuple[Trace, Model], naming: Any
) -> None:
    """It gets the probes that suit it and what the source was asked, and is judged on all of them and on the steps."""
    trace, composition = recorded
    report, (job,) = compared(monkeypatch, trace, composition, answer(composition, trace), naming)
    assert report.matches, [
        (item.probe, item.name, item.ratios, item.problem) for item in report.outside
    ]
    assert (job.runner, job.checkpoint, job.precisions) == (naming, Path("b"), ("float32",))
    assert (job.texts, job.examples, job.generate_from) == (
        ("one",),
        (Example("a"), Example("b", "c")),
        "right",
    )
    names = dict.fromkeys(key.partition(".")[0] for key in job.probes)
    assert tuple(names) == trace.suited[naming] or set(names) == set(trace.suited[naming])
    judged = {(quantity.probe, quantity.name) for quantity in report.quantities}
    assert judged == {(name, item) for name in names for item in ("encoder.0", "logits")} | {
        ("greedy", "cached")
    }
    assert report.coverage is not None
    assert report.texts == (("one", "1", "1"),)


def test_a_wrong_answer_is_outside(
    monkeypatch: pytest.MonkeyPatch, recorded: tuple[Trace, Model]
) -> None:
    """The yardstick is the recorded one."""
    trace, composition = recorded
    report, _ = compared(monkeypatch, trace, composition, answer(composition, trace, 3e-6))
    assert {quantity.name for quantity in report.outside} == {"encoder.0", "logits"}
    assert min(quantity.ratios[0] for quantity in report.outside) > 8


def test_answers_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, recorded: tuple[Trace, Model]
) -> None:
    """A trace without the logits of a search's steps, or with an answer too few, is no trace to judge by."""
    trace, composition = recorded
    given = answer(composition, trace)
    lost = {name: one for name, one in trace.source.arrays.items() if name != "greedy/tokens"}
    for source in (replace(trace.source, arrays=lost), replace(trace.source, texts=())):
        broken = replace(trace, source=source, reference=source)
        with pytest.raises(SourceError, match=r"a\.trace: the recorded answers cannot be used"):
            compared(monkeypatch, broken, composition, given)
