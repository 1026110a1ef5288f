"""`forward`: do two checkpoints compute the same? Which side gives the reference, then real children."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answering import TINY, answers
from ckptconv.base.errors import FrameworkError
from ckptconv.base.strict_json import read_json
from ckptconv.run import forward
from ckptconv.run.children import Answer, environment
from ckptconv.run.forward import ForwardReport, Options, Runnable, prepare, searches
from ckptconv.run.token_ids import SpecialTokens
from ckptconv.run.yardstick import RMS_FACTOR
from ckptconv.schema.config import Config
from ckptconv.schema.model import Model, read_model
from tiny import ROOT

DATES = ROOT / "fixtures" / "dates"


def test_searches_take_what_every_framework_honours() -> None:
    """Greedy search is plain; beams are two to four, and do not end, since the classes end them differently."""
    own = {
        "num_beams": 6,
        "length_penalty": 0.8,
        "early_stopping": True,
        "repetition_penalty": 1.3,
        "min_length": 9,
    }
    result = searches(SpecialTokens(1, 2, 0, ()), 5, own)
    common = {
        "decoder_start_token_id": 1,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "do_sample": False,
        "max_new_tokens": 5,
    }
    assert result == {
        "greedy": {**common, "num_beams": 1},
        "beam": {**common, "num_beams": 4, "suppress_tokens": [0, 2]},
    }
    assert searches(SpecialTokens(1, 2, 0, ()), 5, {})["beam"]["num_beams"] == 2


def test_the_yardstick_is_the_side_that_pytorch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """From TF to PyTorch the target gives the reference, and the source is judged."""
    pytorch, tf = answers()
    monkeypatch.setattr(forward, "run_children", lambda jobs, timeout: [tf, pytorch])
    sides = Runnable("tf", Path("a")), Runnable("pytorch", Path("b"))
    report = prepare(TINY, *sides, options=Options(texts=["one"])).run()
    assert report.matches
    assert report.reference is pytorch
    assert {quantity.judged for quantity in report.quantities} == {("source",)}
    with pytest.raises(FrameworkError, match="neither is PyTorch"):
        prepare(TINY, sides[0], Runnable("flax", Path("b"))).run()


def test_a_third_model_gives_the_reference_where_neither_is_pytorchs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both sides are held against it, and the worse one decides."""
    pytorch, tf = answers(namings=("pytorch", "tf", "flax"))
    flax = replace(tf, runner="flax")

    def run(one: Answer, other: Answer) -> ForwardReport:
        monkeypatch.setattr(forward, "run_children", lambda jobs, timeout: [one, other, pytorch])
        return prepare(
            TINY,
            Runnable("tf", Path("a")),
            Runnable("flax", Path("b")),
            reference=Path("c"),
            options=Options(texts=["one"]),
        ).run()

    report = run(tf, flax)
    assert (report.matches, report.reference, len(report.answers)) == (True, pytorch, 3)
    assert {quantity.judged for quantity in report.quantities} == {("source", "target")}
    wrong = tf.arrays["float32/full/logits"] + 1e-3
    for one, other in ((tf, flax), (flax, tf)):
        off = replace(one, arrays={**one.arrays, "float32/full/logits": wrong})
        assert [(bad.probe, bad.name) for bad in run(off, other).outside] == [("full", "logits")]
        assert [(bad.probe, bad.name) for bad in run(other, off).outside] == [("full", "logits")]


def build(name: str, folder: Path, **switches: str) -> None:
    """Let `runners/build.py` make what a framework makes, in its own process."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "run" / "runners" / "build.py"), name, str(folder)],
        env=environment(name) | switches,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what PyTorch's and TF's classes make."""
    folder = tmp_path_factory.mktemp("built")
    build("pytorch", folder)
    # `from_pt` needs PyTorch beside the other, which AUTO allows and 1 does not.
    build("tf", folder, USE_TORCH="AUTO", USE_TF="AUTO")
    return folder


@pytest.fixture(scope="module")
def built_flax(built: Path) -> Path:
    """Return the same folder with what Flax's classes make as well."""
    build("flax", built, USE_TORCH="AUTO")
    return built


def composition(folder: Path) -> Model:
    """Return what a checkpoint's config describes."""
    return read_model(Config(read_json(folder / "config.json")))


def compared(built: Path, naming: Any, target: str) -> ForwardReport:
    """Return the report on one of the built targets, against the PyTorch pair."""
    source = built / "pytorch"
    sides = Runnable("pytorch", source), Runnable(naming, built / target)
    return prepare(composition(source), *sides, options=Options(timeout=600)).run()


@pytest.mark.frameworks
@pytest.mark.parametrize("naming", ["tf", pytest.param("flax", marks=pytest.mark.soak)])
def test_honest_conversion_matches(naming: str, request: pytest.FixtureRequest) -> None:
    """What transformers converts rightly matches, token by token, and each child imports its framework alone."""
    folder = request.getfixturevalue("built_flax" if naming == "flax" else "built")
    report = compared(folder, naming, naming)
    assert report.matches, [(quantity.name, quantity.ratios) for quantity in report.quantities]
    assert max(quantity.ratios[0] for quantity in report.quantities) < RMS_FACTOR / 2
    assert [quantity.name for quantity in report.quantities[:15]] == [
        "encoder.0",
        "encoder.1.attention",
        "encoder.1",
        "encoder.2.attention",
        "encoder.2",
        "encoder.last",
        "decoder.0",
        "decoder.1.attention",
        "decoder.1.cross",
        "decoder.1",
        "decoder.2.attention",
        "decoder.2.cross",
        "decoder.2",
        "logits",
        "loss",
    ]
    assert report.quantities[-1].name == "cached"
    assert [(generation.name, generation.distinct > 1) for generation in report.generations] == [
        ("greedy", True),
        ("beam", True),
    ]
    assert report.target.loaded == ({"tf": "tensorflow", "flax": "jax"}[naming],)
    assert report.source.loaded == ("torch",)
    assert report.target.versions["transformers"]


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("target", "first"),
    [
        ("tf-transposed", "encoder.2.attention"),
        pytest.param("tf-swapped", "encoder.1.attention", marks=pytest.mark.soak),
    ],
)
def test_planted_fault_is_found_where_it_sits(built: Path, target: str, first: str) -> None:
    """One transposed square kernel, or two swapped biases, show first in the layer that has them."""
    report = compared(built, "tf", target)
    assert not report.matches
    assert not report.loading
    bad = [quantity for quantity in report.quantities if not quantity.matches]
    assert bad[0].name == first
    assert bad[0].ratios[0] > 100 * RMS_FACTOR


@pytest.mark.soak
@pytest.mark.frameworks
def test_flax_says_which_tensors_found_no_place(built_flax: Path) -> None:
    """A surplus and a missing tensor are a mismatch, though the pooler changes no answer."""
    report = compared(built_flax, "flax", "flax-faulty")
    assert all(quantity.matches for quantity in report.quantities)
    assert not report.matches
    assert report.loading == (
        "missing encoder/pooler/dense/bias",
        "missing encoder/pooler/dense/kernel",
        "unexpected encoder/pooler/dense/surplus",
    )


@pytest.mark.frameworks
def test_pytorch_says_which_tensors_it_missed(built: Path) -> None:
    """A target without the encoder's pooler computes the same, but was not loaded whole."""
    report = compared(built, "pytorch", "pytorch-no-pooler")
    assert all(quantity.matches for quantity in report.quantities)
    assert not report.matches
    assert report.loading == (
        "missing encoder.pooler.dense.bias",
        "missing encoder.pooler.dense.weight",
    )


@pytest.mark.soak  # verbs/test_outputs.py goes from Flax back to PyTorch
@pytest.mark.frameworks
def test_from_tf_back_to_pytorch(built: Path) -> None:
    """With TF as the source, PyTorch's float64 is the reference still."""
    source, target = built / "tf", built / "pytorch"
    report = prepare(
        composition(target),
        Runnable("tf", source),
        Runnable("pytorch", target),
        options=Options(timeout=600),
    ).run()
    assert report.matches


@pytest.mark.frameworks
def test_texts_are_answered_with_the_checkpoints_tokenizer() -> None:
    """Dates go in and come out in ISO form, from both sides."""
    texts = ["the 3rd of March, 1998", "Tue 4 Nov 2025"]
    sides = Runnable("pytorch", DATES), Runnable("pytorch", DATES)
    report = prepare(composition(DATES), *sides, options=Options(texts=texts, timeout=600)).run()
    expected = ["1998-03-03", "2025-11-04"]
    assert report.texts == tuple(zip(texts, expected, expected, strict=True))
    assert report.matches


@pytest.mark.frameworks
def test_unreadable_target_is_a_framework_error(tmp_path: Path) -> None:
    """A target without weights ends with the class's own words, not with a traceback."""
    shutil.copy(DATES / "config.json", tmp_path)
    with pytest.raises(
        FrameworkError, match=r"pytorch: could not run .*OSError: Error no file named"
    ):
        prepare(
            composition(DATES),
            Runnable("pytorch", DATES),
            Runnable("pytorch", tmp_path),
            options=Options(timeout=600),
        ).run()
