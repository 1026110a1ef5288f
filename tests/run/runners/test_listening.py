"""`_listening`: what is noted down while a model generates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptconv.run.runners._listening import Margins, Steps, listener


def search(
    logits: np.ndarray[Any, Any], beams: int, steps: int
) -> tuple[Margins, list[tuple[int, ...]]]:
    """Run a plain beam search over a table of next-token logits (vocabulary, vocabulary), with a listener."""
    heard = Margins(beams)
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    running: list[tuple[float, tuple[int, ...]]] = [
        (0.0 if beam == 0 else -1e9, (0,)) for beam in range(beams)
    ]
    for _ in range(steps):
        heard(
            np.array([tokens for _, tokens in running]),
            np.array([log[tokens[-1]] for _, tokens in running]),
        )
        result = sorted(
            (
                (total + log[tokens[-1], index], (*tokens, index))
                for total, tokens in running
                for index in range(len(log))
            ),
            reverse=True,
        )
        running = result[:beams]
    return heard, [tokens for _, tokens in running]


def test_steps_are_kept() -> None:
    """The scores of each step, rows first."""
    heard = Steps()
    for step in range(3):
        heard(np.zeros((2, step + 1)), np.full((2, 5), step))
    assert heard.stacked().shape == (2, 3, 5)
    assert heard.stacked()[1, :, 0].tolist() == [0, 1, 2]


def test_beams_are_followed() -> None:
    """The sums that the listener adds up are those of the search, and its running answers are the search's."""
    logits = np.random.default_rng(0).normal(size=(7, 7)) * 2
    heard, running = search(logits, beams=2, steps=5)
    assert heard.stacked().shape == (1, 5)
    assert set(running) <= set(heard.sums[0])
    assert heard.stacked().min() > 1e-3


def test_a_tie_shows_as_a_narrow_margin() -> None:
    """Two tokens whose logits differ by 1e-9 make a margin of 1e-9 at that step, and nowhere else before."""
    logits = np.random.default_rng(0).normal(size=(7, 7)) * 2
    plain, _ = search(logits, 2, 4)
    best = int(np.argmax(logits[0]))
    second, third = np.argsort(-logits[best])[:2]
    logits[best, third] = logits[best, second] - 1e-9
    heard, _ = search(logits, 2, 4)
    assert heard.stacked()[0, 0] == plain.stacked()[0, 0]
    assert heard.stacked()[0, 1] == pytest.approx(1e-9, rel=1e-3)


def test_the_listener_fits_the_search() -> None:
    """One beam is a greedy search, whose scores are kept; with more, the margins."""
    assert isinstance(listener(1), Steps)
    assert listener(3) == Margins(3)
