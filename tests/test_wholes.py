"""Models beyond the text pair against the real classes: random weights, there and back, the same answers.

One process a framework answers for all models; the classes are asked as a user loads them, and nothing of `run/` is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptconv
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.verbs.convert import Conversion
from wholes import COMPOSITES, ENVIRONMENT, Json, config_of, names, random_model

pytestmark = [pytest.mark.frameworks, pytest.mark.soak]

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
HELD = [
    pytest.param(case, naming, id=f"{case.name}-{naming}")
    for case in CASES
    for naming in ("tf", "flax")
    if "class" in case.said[naming] and (case.variant, naming) != ("untied", "tf")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with each model in PyTorch, converted to each framework, and back."""
    root = tmp_path_factory.mktemp("wholes")
    for case in CASES:
        random_model(
            case.whole_class("pytorch"),
            config_of(case.kind, case.family, case.variant),
            root / case.name / "pytorch",
        )
    for parameters in HELD:
        case, naming = parameters.values
        assert isinstance(case, Case)
        THERE[str(naming)](root / case.name / "pytorch", root / case.name / str(naming))
        BACK[str(naming)](root / case.name / str(naming), root / case.name / f"{naming}-back")
    return root


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, Arrays]:
    """Return framework -> what its classes answered for all models."""
    answers: dict[str, Arrays] = {}
    for naming in ("pytorch", "tf", "flax"):
        jobs = [
            [case.name, case.whole_class(naming), str(folder / case.name / naming)]
            for case in CASES
            if (folder / case.name / naming).is_dir()
        ]
        (folder / f"{naming}.json").write_text(json.dumps(jobs))
        child = Path(__file__).parent / "support" / "wider_child.py"
        command = [
            sys.executable,
            str(child),
            naming,
            f"{folder}/{naming}.json",
            f"{folder}/{naming}.npz",
        ]
        environment = {**os.environ, **ENVIRONMENT[naming], "TRANSFORMERS_VERBOSITY": "warning"}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        with np.load(folder / f"{naming}.npz") as file:
            answers[naming] = dict(file)
    return answers


@pytest.mark.parametrize(("case", "naming"), HELD)
def test_there_and_back_gives_the_same_bits(case: Case, naming: str, folder: Path) -> None:
    """PyTorch's file comes back with every name and every byte that it had."""
    before, after = (
        open_checkpoint(folder / case.name / place).weights.tensors
        for place in ("pytorch", f"{naming}-back")
    )
    assert set(before) == set(after)
    assert ckptconv.diff(
        folder / case.name / "pytorch", folder / case.name / f"{naming}-back"
    ).matches


@pytest.mark.parametrize(("case", "naming"), HELD)
def test_the_class_loads_all_of_it_and_answers_the_same(
    case: Case, naming: str, answers: Mapping[str, Arrays]
) -> None:
    """Nothing is missing or left over, logits are within PyTorch's own rounding, and greedy tokens are the same."""
    source, target = answers["pytorch"], answers[naming]
    assert [line for line in target[f"{case.name} problems"] if "deprecated" not in line] == []
    exact, mine, other = (
        source[f"{case.name} exact"],
        source[f"{case.name} logits"],
        target[f"{case.name} logits"],
    )
    own = max(_rms(mine - exact), NOISE * _rms(exact))
    assert _rms(other - exact) <= MOST * own
    tokens, answer = source[f"{case.name} tokens"], target[f"{case.name} tokens"]
    length = min(tokens.shape[-1], answer.shape[-1]) - (case.family == "whisper")
    assert np.array_equal(tokens[:, -length:], answer[:, -length:])


def _rms(values: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))


@pytest.mark.parametrize(("family", "naming"), [("t5", "flax"), ("bart", "tf")])
def test_verify_finds_that_they_match(family: str, naming: str, folder: Path) -> None:
    """Probes, cached steps, searches and coverage work for a model of one piece as for a pair."""
    case = Case("seq2seq", family)
    result = ckptconv.verify(folder / case.name / "pytorch", folder / case.name / naming)
    assert result.matches
    assert result.outputs is not None
    assert {quantity.name for quantity in result.outputs.quantities} >= {"logits", "encoder.last"}
