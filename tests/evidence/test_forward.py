"""`forward`: do two checkpoints compute the same? The rule on made-up answers, then real children."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptconv.composition import Composition, compose
from ckptconv.config import Config, read_json
from ckptconv.errors import FrameworkError
from ckptconv.evidence import forward
from ckptconv.evidence.children import Answer, environment
from ckptconv.evidence.forward import compare_forward
from ckptconv.evidence.probes import make_probes
from ckptconv.evidence.yardstick import MAX_FACTOR, RMS_FACTOR, ForwardReport

DATES = Path(__file__).parent.parent / "fixtures" / "dates"
TINY = compose(
    Config(
        {
            "model_type": "encoder-decoder",
            "dtype": "float16",
            "encoder": {"model_type": "bert", "vocab_size": 31},
            "decoder": {
                "model_type": "bert",
                "vocab_size": 29,
                "is_decoder": True,
                "add_cross_attention": True,
            },
        }
    )
)
Arrays = dict[str, np.ndarray[Any, Any]]


def answers(noise: float = 3e-7) -> tuple[Answer, Answer]:
    """Return what a source and a faithful target would answer to the probes of TINY."""
    rng = np.random.default_rng(3)
    exact: Arrays = {}
    for key, mask in make_probes(TINY).items():
        probe, _, name = key.partition(".")
        if name.endswith("attention_mask"):
            quantity = "logits" if "decoder" in name else "encoder.0"
            exact[f"{probe}/{quantity}"] = rng.normal(size=(*mask.shape, 8))
    tokens = np.array([[4, 5, 6], [7, 2, -1]])

    def noisy() -> Arrays:
        return {f"float32/{key}": value + rng.normal(size=value.shape) * noise for key, value in exact.items()}

    source = noisy() | {f"float64/{key}": value for key, value in exact.items()} | {"tokens": tokens}
    target = noisy() | {"tokens": tokens.copy()}
    blank: dict[str, Any] = {"problems": (), "versions": {}, "settings": {}, "generation": {}, "loaded": ()}
    return (
        Answer("pytorch", source, texts=("1",), seconds=1.0, **blank),
        Answer("tf", target, texts=("1",), seconds=1.0, **blank),
    )


def judged(monkeypatch: pytest.MonkeyPatch, source: Answer, target: Answer) -> ForwardReport:
    """Return the report on two answers, without running anything."""
    monkeypatch.setattr(forward, "run_children", lambda jobs, timeout: [source, target])
    return compare_forward(TINY, Path("a"), Path("b"), "tf", texts=["one"])


def changed(answer: Answer, key: str, where: Any, value: float) -> Answer:
    """Return the answer with one element of one array replaced."""
    array = answer.arrays[key].copy()
    array[where] = value
    return replace(answer, arrays={**answer.arrays, key: array})


def test_rounding_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that is as far from float64 as the source is matches, with ratios near one."""
    report = judged(monkeypatch, *answers())
    assert report.matches
    assert len(report.quantities) == 4
    assert [one.name for one in report.quantities] == ["encoder.0", "logits"] * 2
    assert all(0.5 < ratio < 2 for one in report.quantities for ratio in one.ratios)


def test_a_uniform_error_beyond_the_factor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the allowed error everywhere is a mismatch, half of it is not."""
    source, target = answers()
    exact = source.arrays["float64/full/logits"]
    for share, matches in ((0.5, True), (2.0, False)):
        off = exact + (source.arrays["float32/full/logits"] - exact) * RMS_FACTOR * share
        report = judged(monkeypatch, source, replace(target, arrays={**target.arrays, "float32/full/logits": off}))
        assert report.matches is matches


def test_one_wrong_element_cannot_hide_in_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """One element off by more than the max-norm's factor is found, though the RMS hardly moves."""
    source, target = answers()
    exact = source.arrays["float64/full/encoder.0"]
    worst = np.abs(source.arrays["float32/full/encoder.0"] - exact).max()
    off = changed(target, "float32/full/encoder.0", (1, 2, 3), exact[1, 2, 3] + 1.5 * MAX_FACTOR * worst)
    report = judged(monkeypatch, source, off)
    (bad,) = (one for one in report.quantities if not one.matches)
    assert (bad.probe, bad.name) == ("full", "encoder.0")
    assert bad.ratios[0] < RMS_FACTOR < MAX_FACTOR < bad.ratios[1]


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_mismatches(monkeypatch: pytest.MonkeyPatch, side: str, value: float) -> None:
    """A NaN or an infinity in a valid place of either side is a mismatch."""
    source, target = answers()
    if side == "source":
        source = changed(source, "float32/full/logits", (0, 0, 0), value)
    else:
        target = changed(target, "float32/full/logits", (0, 0, 0), value)
    assert not judged(monkeypatch, source, target).matches


def test_padded_positions_are_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model answers at padding does not count, and a notice says so."""
    source, target = answers()
    report = judged(monkeypatch, source, changed(target, "float32/padded/logits", (2, -1, 0), np.nan))
    assert report.matches
    assert any("padded decoder positions" in notice for notice in report.notices)
    assert not judged(monkeypatch, source, changed(target, "float32/padded/logits", (0, -1, 0), np.nan)).matches


def test_almost_exact_source_does_not_ask_for_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the source has no rounding error at all, the target may still round in float32."""
    source, _ = answers(noise=0)
    _, target = answers(noise=1e-7)
    assert judged(monkeypatch, source, target).matches


def test_another_shape_is_a_mismatch_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quantity of another shape is reported, not broadcast."""
    source, target = answers()
    short = {**target.arrays, "float32/full/logits": target.arrays["float32/full/logits"][..., :1]}
    report = judged(monkeypatch, source, replace(target, arrays=short))
    (bad,) = (one for one in report.quantities if not one.matches)
    assert "target [3, 24, 1]" in bad.problem
    assert bad.ratios == (np.inf, np.inf)


def test_a_quantity_of_one_side_only_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that one class does not report is left out with a notice."""
    source, target = answers()
    fewer = {key: value for key, value in target.arrays.items() if "encoder" not in key}
    report = judged(monkeypatch, source, replace(target, arrays=fewer))
    assert report.matches
    assert any("one side only" in n and "full/encoder.0" in n for n in report.notices)


def test_logits_must_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden states alone do not make a match."""
    source, target = answers()
    fewer = {key: value for key, value in target.arrays.items() if "logits" not in key}
    report = judged(monkeypatch, source, replace(target, arrays=fewer))
    assert not report.matches
    assert {one.problem for one in report.quantities if one.name == "logits"} == {"reported by one side only"}


def test_tokens_texts_and_loading_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """One other token, one other text or one tensor that was not loaded is a mismatch each."""
    source, target = answers()
    report = judged(monkeypatch, source, changed(target, "tokens", (1, 1), 9))
    assert report.tokens is not None
    assert report.tokens.mismatch == (1, 1, 2, 9)
    assert (report.tokens.rows, report.tokens.compared, report.tokens.distinct) == (2, 5, 5)
    assert not report.matches
    assert not judged(monkeypatch, source, replace(target, texts=("2",))).matches
    assert not judged(monkeypatch, source, replace(target, problems=("missing x",))).matches


def test_notices_say_what_was_chosen_and_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision, chosen tokens, a source that loaded badly, other generation settings."""
    source, target = answers()
    source = replace(source, problems=("missing pooler",), generation={"num_beams": 4})
    same = np.where(source.arrays["tokens"] >= 0, 4, -1)
    source, target = (replace(one, arrays={**one.arrays, "tokens": same}) for one in (source, target))
    report = judged(monkeypatch, source, target)
    said = "\n".join(report.notices)
    for words in (
        "the weights are float16", "eos_token_id = 28", "loading the source: missing pooler",
        "num_beams is 4 in the source, None in the target", "one and the same token",
    ):  # fmt: skip
        assert words in said
    assert report.matches


def test_the_yardstick_is_the_side_that_pytorch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """From TF to PyTorch the target gives the reference, and the source is judged."""
    pytorch, tf = answers()
    monkeypatch.setattr(forward, "run_children", lambda jobs, timeout: [tf, pytorch])
    report = compare_forward(TINY, Path("a"), Path("b"), "pytorch", source_dialect="tf", texts=["one"])
    assert report.matches
    assert {one.yardstick for one in report.quantities} == {"target"}
    with pytest.raises(FrameworkError, match="one side must be PyTorch's"):
        compare_forward(TINY, Path("a"), Path("b"), "flax", source_dialect="tf")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what `frameworks/build.py` makes, each framework in its own process."""
    folder = tmp_path_factory.mktemp("built")
    script = Path(__file__).parent / "frameworks" / "build.py"

    def run(name: str, **switches: str) -> None:
        env = environment(name) | switches  # type: ignore[arg-type]
        run = subprocess.run(
            [sys.executable, str(script), name, str(folder)],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr[-3000:]

    run("pytorch")
    # `from_pt` needs PyTorch beside the other, which AUTO allows and 1 does not.
    run("tf", USE_TORCH="AUTO", USE_TF="AUTO")
    run("flax", USE_TORCH="AUTO")
    return folder


def composition(folder: Path) -> Composition:
    """Return what a checkpoint's config describes."""
    return compose(Config(read_json(folder / "config.json")))


def compared(built: Path, dialect: Any, target: str) -> ForwardReport:
    """Return the report on one of the built targets, against the PyTorch pair."""
    source = built / "pytorch"
    return compare_forward(composition(source), source, built / target, dialect, timeout=600)


@pytest.mark.frameworks
@pytest.mark.parametrize("dialect", ["tf", "flax"])
def test_honest_conversion_matches(built: Path, dialect: str) -> None:
    """What transformers converts rightly matches, token by token, and torch stays out of the child."""
    report = compared(built, dialect, dialect)
    assert report.matches, [(one.name, one.ratios) for one in report.quantities]
    assert max(one.ratios[0] for one in report.quantities) < RMS_FACTOR / 2
    assert [one.name for one in report.quantities[:8]] == [
        "encoder.0", "encoder.1", "encoder.2", "encoder.last", "decoder.0", "decoder.1", "decoder.2", "logits",
    ]  # fmt: skip
    assert report.tokens is not None
    assert report.tokens.distinct > 1
    assert "torch" not in report.target.loaded
    assert report.source.loaded == ("torch",)
    assert report.target.versions["transformers"]


@pytest.mark.frameworks
@pytest.mark.parametrize(("target", "first"), [("tf-transposed", "encoder.2"), ("tf-swapped", "encoder.1")])
def test_planted_fault_is_found_where_it_sits(built: Path, target: str, first: str) -> None:
    """One transposed square kernel, or two swapped biases, show first in the layer that has them."""
    report = compared(built, "tf", target)
    assert not report.matches
    assert not report.loading
    bad = [one for one in report.quantities if not one.matches]
    assert bad[0].name == first
    assert bad[0].ratios[0] > 100 * RMS_FACTOR


@pytest.mark.frameworks
def test_flax_says_which_tensors_found_no_place(built: Path) -> None:
    """A surplus and a missing tensor are a mismatch, though the pooler changes no answer."""
    report = compared(built, "flax", "flax-faulty")
    assert all(one.matches for one in report.quantities)
    assert not report.matches
    assert report.loading == (
        "missing encoder/pooler/dense/bias", "missing encoder/pooler/dense/kernel",
        "unexpected encoder/pooler/dense/surplus",
    )  # fmt: skip


@pytest.mark.frameworks
def test_pytorch_says_which_tensors_it_missed(built: Path) -> None:
    """A target without the encoder's pooler computes the same, but was not loaded whole."""
    report = compared(built, "pytorch", "pytorch-no-pooler")
    assert all(one.matches for one in report.quantities)
    assert not report.matches
    assert report.loading == ("missing encoder.pooler.dense.bias", "missing encoder.pooler.dense.weight")


@pytest.mark.frameworks
def test_from_tf_back_to_pytorch(built: Path) -> None:
    """With TF as the source, PyTorch's float64 is the reference still."""
    source, target = built / "tf", built / "pytorch"
    report = compare_forward(composition(target), source, target, "pytorch", source_dialect="tf", timeout=600)
    assert report.matches


@pytest.mark.frameworks
def test_texts_are_answered_with_the_checkpoints_tokenizer() -> None:
    """Dates go in and come out in ISO form, from both sides."""
    texts = ["the 3rd of March, 1998", "Tue 4 Nov 2025"]
    report = compare_forward(composition(DATES), DATES, DATES, "pytorch", texts=texts, timeout=600)
    expected = ["1998-03-03", "2025-11-04"]
    assert report.texts == tuple(zip(texts, expected, expected, strict=True))
    assert report.matches


@pytest.mark.frameworks
def test_unreadable_target_is_a_framework_error(tmp_path: Path) -> None:
    """A target without weights ends with the class's own words, not with a traceback."""
    shutil.copy(DATES / "config.json", tmp_path)
    with pytest.raises(FrameworkError, match=r"pytorch: could not run .*OSError: Error no file named"):
        compare_forward(composition(DATES), DATES, tmp_path, "pytorch", timeout=600)
