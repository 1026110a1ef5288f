"""What two models would answer to the probes of a small pair, made up: the rule is tested without running anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptconv.run import forward
from ckptconv.run.children import Answer
from ckptconv.run.forward import ForwardReport, Options, Runnable, prepare
from ckptconv.schema.tensors import NamingName
from probing import pair, probes_of

TINY = pair({}, {}, dtype="float16")
Arrays = dict[str, np.ndarray[Any, Any]]

TOKENS = np.array([[4, 5, 6], [7, 2, -1]])
GREEDY = np.full((2, 3, 8), -5.0)
"""Logits of the cached steps in float64: the tokens that are chosen are far ahead of all others."""
np.put_along_axis(GREEDY, np.maximum(TOKENS, 0)[..., None], 5.0, axis=2)


def answers(
    noise: float = 3e-7, namings: Sequence[NamingName] = ("pytorch", "tf")
) -> tuple[Answer, Answer]:
    """Return what a source and a faithful target would answer to the probes of TINY."""
    rng = np.random.default_rng(3)
    exact: Arrays = {}
    for key, mask in probes_of(TINY, 0, namings).items():
        probe, _, name = key.partition(".")
        if name.endswith("attention_mask"):
            quantity = "logits" if "decoder" in name else "encoder.0"
            exact[f"{probe}/{quantity}"] = rng.normal(size=(*mask.shape, 8))
    exact["greedy/cached"] = GREEDY

    def noisy() -> Arrays:
        return {
            f"float32/{key}": value + rng.normal(size=value.shape) * noise
            for key, value in exact.items()
        }

    tokens = {"greedy/tokens": TOKENS, "beam/tokens": TOKENS[:1]}
    more = {"beam/margins": np.array([[0.3, 0.2, 0.4]])}
    source = noisy() | {f"float64/{key}": value for key, value in exact.items()} | tokens | more
    target = noisy() | tokens
    blank: dict[str, Any] = {
        "problems": (),
        "versions": {},
        "settings": {},
        "generation": {},
        "loaded": (),
    }
    return (
        Answer("pytorch", source, texts=("1",), seconds=1.0, **blank),
        Answer("tf", target, texts=("1",), seconds=1.0, **blank),
    )


def judged(
    monkeypatch: pytest.MonkeyPatch, source: Answer, target: Answer, options: Options | None = None
) -> ForwardReport:
    """Return the report on two answers, without running anything."""
    monkeypatch.setattr(forward, "run_children", lambda jobs, timeout: [source, target])
    sides = Runnable("pytorch", Path("a")), Runnable("tf", Path("b"))
    return prepare(TINY, *sides, options=options or Options(texts=["one"])).run()


def changed(answer: Answer, key: str, where: Any, value: float) -> Answer:
    """Return the answer with one element of one array replaced."""
    array = answer.arrays[key].copy()
    array[where] = value
    return replace(answer, arrays={**answer.arrays, key: array})
