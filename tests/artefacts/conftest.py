"""Artefacts that the tests of this folder share: each export takes half a minute of a core."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ckptconv.verbs.export import Export, export
from tiny import plain, random_pair

BEAMS = {
    "num_beams": 4,
    "max_length": 14,
    "early_stopping": True,
    "length_penalty": 2.0,
    "no_repeat_ngram_size": 3,
    "encoder_no_repeat_ngram_size": 2,
    "encoder_repetition_penalty": 1.4,
    "min_length": 5,
}
GREEDY = {
    "max_length": 12,
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "encoder_no_repeat_ngram_size": 2,
    "encoder_repetition_penalty": 1.6,
    "bad_words_ids": [[7], [8, 9]],
}


@dataclass(frozen=True, slots=True)
class Exported:
    """A checkpoint and what was made of it."""

    source: Path
    result: Export

    @property
    def target(self) -> Path:
        """The artefact."""
        return self.result.target


def settings(folder: Path, **values: Any) -> Path:
    """Add settings to a checkpoint's generation config."""
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


@pytest.fixture(scope="session")
def beams(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Sides of different widths, half precision, and a search with many settings."""
    root = tmp_path_factory.mktemp("beams")
    source = random_pair(
        plain("bert"), plain("gpt2"), root / "source", bridge=True, dtype="float16"
    )
    return Exported(source, export(settings(source, **BEAMS), root / "out", "onnx"))


@pytest.fixture(scope="session")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Positions that count from the padding token; a decoder that takes a position as an integer alone."""
    root = tmp_path_factory.mktemp("greedy")
    source = random_pair(plain("roberta"), plain("xglm"), root / "source")
    return Exported(source, export(settings(source, **GREEDY), root / "out", "onnx"))


@pytest.fixture(scope="session")
def dates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained example, with its tokenizer."""
    source = Path(__file__).parents[2] / "fixtures" / "dates"
    return export(source, tmp_path_factory.mktemp("dates") / "out", "onnx").target
