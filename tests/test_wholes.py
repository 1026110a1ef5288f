"""Models beyond the text pair against the real classes: random weights, there and back, the same answers.

One process a framework answers for all models; the classes are asked as a user loads them, and nothing of `run/` is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptconv
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.verbs.convert import Conversion
from wholes import COMPOSITES, ENVIRONMENT, Json, config_of, names, random_model

Arrays = Mapping[str, "np.ndarray[Any, Any]"]
MOST = 6.0
"""Times PyTorch's own rounding: an honest class stays below, a wrong one begins at a thousand."""
NOISE = 2e-7
"""Of the logits' size: less than this is the rounding of a single float32."""


@dataclass(frozen=True)
class Case:
    """One variant of a family in a kind of model."""

    kind: str
    family: str
    variant: str = "plain"

    @property
    def name(self) -> str:
        """As files and parameters name it."""
        return f"{self.kind}-{self.family}-{self.variant}".replace(" ", "_")

    def whole_class(self, naming: str) -> str:
        """The class that a user loads."""
        prefix = {"pytorch": "", "tf": "TF", "flax": "Flax"}[naming]
        if self.kind in COMPOSITES:
            return f"{prefix}{COMPOSITES[self.kind]}Model"
        name: str = self.said[naming]["class"]
        return name

    @property
    def said(self) -> Json:
        """What the oracle has of it."""
        answers: Json = names(self.kind, self.family)["variants"][self.variant]
        return answers


CASES = [
    Case("seq2seq", "t5"),
    Case("seq2seq", "t5", "gated untied"),
    Case("seq2seq", "mt5", "tied relu"),
    Case("seq2seq", "longt5", "transient global"),
    Case("seq2seq", "bart"),
    Case("seq2seq", "mbart", "scaled"),
    Case("seq2seq", "marian"),
    Case("seq2seq", "pegasus"),
    Case("seq2seq", "blenderbot"),
    Case("seq2seq", "blenderbot-small"),
    Case("seq2seq", "led"),
    Case("seq2seq", "whisper"),
    Case("seq2seq", "whisper", "untied"),
    Case("seq2seq", "speech_to_text"),
    Case("vision", "vit"),
    Case("vision", "vit", "no bias"),
    Case("vision", "vit", "bridge"),
    Case("vision", "deit"),
    Case("vision", "beit", "relative"),
    Case("vision", "beit", "shared relative"),
    Case("vision", "data2vec-vision", "relative"),
    Case("vision", "swin"),
    Case("vision", "swin", "odd window"),
    Case("vision", "swin", "bridge"),
    Case("vision", "dinov2"),
    Case("vision", "dinov2", "gated"),
    Case("speech", "wav2vec2", "bridge"),
]
THERE: dict[str, Callable[[Path, Path], Conversion]] = {
    "tf": ckptconv.pt2tf,
    "flax": ckptconv.pt2flax,
}
BACK: dict[str, Callable[[Path, Path], Conversion]] = {
    "tf": ckptconv.tf2pt,
    "flax": ckptconv.flax2pt,
}
SAMPLE = [
    Case("vision", "vit", "bridge"),
    Case("speech", "wav2vec2", "bridge"),
]
"""An image and a sound, each with a bridge; `make test` tries these, and a trained T5 in `test_trained_wider.py`."""


def conversions(cases: Sequence[Case]) -> list[tuple[Case, str]]:
    """Return each case with each framework that has a class for it."""
    return [
        (case, naming)
        for case in cases
        for naming in ("tf", "flax")
        if "class" in case.said[naming] and (case.variant, naming) != ("untied", "tf")
    ]


converted = pytest.mark.parametrize(
    ("case", "naming"),
    [
        pytest.param(
            case,
            naming,
            id=f"{case.name}-{naming}",
            marks=() if case in SAMPLE else pytest.mark.soak,
        )
        for case, naming in conversions(CASES)
    ],
)


class Models:
    """Models in PyTorch, converted to each framework and back, and what the classes answer for them."""

    def __init__(self, cases: Sequence[Case], root: Path) -> None:
        self._cases, self.root = cases, root
        self._answers: dict[str, Arrays] = {}
        for case in cases:
            random_model(
                case.whole_class("pytorch"),
                config_of(case.kind, case.family, case.variant),
                root / case.name / "pytorch",
            )
        for case, naming in conversions(cases):
            folder = root / case.name
            THERE[naming](folder / "pytorch", folder / naming)
            BACK[naming](folder / naming, folder / f"{naming}-back")

    def answers(self, naming: str) -> Arrays:
        """Return what a framework's classes answer for all of the models, in one process."""
        if naming not in self._answers:
            self._answers[naming] = self._ask(naming)
        return self._answers[naming]

    def _ask(self, naming: str) -> Arrays:
        jobs = [
            [case.name, case.whole_class(naming), str(self.root / case.name / naming)]
            for case in self._cases
            if (self.root / case.name / naming).is_dir()
        ]
        (self.root / f"{naming}.json").write_text(json.dumps(jobs))
        child = Path(__file__).parent / "support" / "wider_child.py"
        files = f"{self.root}/{naming}.json", f"{self.root}/{naming}.npz"
        environment = {**os.environ, **ENVIRONMENT[naming], "TRANSFORMERS_VERBOSITY": "warning"}
        command = [sys.executable, str(child), naming, *files]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        with np.load(files[1]) as file:
            return dict(file)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Models]:
    """Return what gives the models that a case is one of: the sample, or all others."""

    @cache
    def group(is_sampled: bool) -> Models:
        cases = [case for case in CASES if (case in SAMPLE) is is_sampled]
        return Models(cases, tmp_path_factory.mktemp("wholes"))

    return lambda case: group(case in SAMPLE)


@pytest.mark.frameworks
@converted
def test_there_and_back_gives_the_same_bits(
    case: Case, naming: str, models: Callable[[Case], Models]
) -> None:
    """PyTorch's file comes back with every name and every byte that it had."""
    folder = models(case).root / case.name
    before, after = (
        open_checkpoint(folder / place).weights.tensors for place in ("pytorch", f"{naming}-back")
    )
    assert set(before) == set(after)
    assert ckptconv.diff(folder / "pytorch", folder / f"{naming}-back").matches


@pytest.mark.frameworks
@converted
def test_the_class_loads_all_of_it_and_answers_the_same(
    case: Case, naming: str, models: Callable[[Case], Models]
) -> None:
    """Nothing is missing or left over, logits are within PyTorch's own rounding, and greedy tokens are the same."""
    source, target = (models(case).answers(name) for name in ("pytorch", naming))
    assert [line for line in target[f"{case.name} problems"] if "deprecated" not in line] == []
    exact, mine, theirs = (
        source[f"{case.name} exact"],
        source[f"{case.name} logits"],
        target[f"{case.name} logits"],
    )
    own = max(_rms(mine - exact), NOISE * _rms(exact))
    assert _rms(theirs - exact) <= MOST * own
    tokens, answer = source[f"{case.name} tokens"], target[f"{case.name} tokens"]
    length = min(tokens.shape[-1], answer.shape[-1]) - (case.family == "whisper")
    assert np.array_equal(tokens[:, -length:], answer[:, -length:])


def _rms(values: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))


@pytest.mark.frameworks
@pytest.mark.soak
@pytest.mark.parametrize(
    ("family", "naming"),
    [("t5", "flax"), ("bart", "tf")],
)
def test_verify_finds_that_they_match(
    family: str, naming: str, models: Callable[[Case], Models]
) -> None:
    """Probes, cached steps, searches and coverage work for a model of one piece as for a pair."""
    case = Case("seq2seq", family)
    folder = models(case).root / case.name
    result = ckptconv.verify(folder / "pytorch", folder / naming)
    assert result.matches
    assert result.outputs is not None
    assert {quantity.name for quantity in result.outputs.quantities} >= {"logits", "encoder.last"}
