"""`_margins`: errors below the margin change no answer, and a search that is near a tie says so."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptconv.run.runners._margins import OwnMargins, Rules, rules_of
from covering import over
from tiny import plain, random_pair

Array = np.ndarray[Any, Any]
Answer = tuple[int, ...]
VOCABULARY, LONGEST, OUT = 7, 6, -1.0e9


def searched(
    scores: Callable[[Answer], Array], rules: Rules, heard: OwnMargins | None = None
) -> Answer:
    """Return the best answer of one row, by the rules of transformers 4.57.6, written without looking at margins."""
    if rules.beams == 1:
        answer: Answer = (0,)
        while len(answer) <= LONGEST and answer[-1] not in rules.ends:
            values = scores(answer)
            if heard:
                heard(np.array([answer]), values[None])
            answer = (*answer, int(values.argmax()))
        return answer
    running: list[tuple[float, Answer]] = [(0.0, (0,)), *[(OUT, (0,))] * (rules.beams - 1)]
    ended: list[tuple[float, Answer]] = []
    hope = True
    for length in range(1, LONGEST + 1):
        if heard:
            heard(
                np.array([answer for _, answer in running]),
                np.array([scores(a) for _, a in running]),
            )
        candidates = sorted(
            (
                (total + float(value), (*answer, token))
                for total, answer in running
                for token, value in enumerate(scores(answer))
            ),
            reverse=True,
        )[: rules.beams * (1 + len(rules.ends))]
        last = length == LONGEST
        full = len(ended) == rules.beams
        for total, answer in candidates[: rules.beams]:
            if (
                (answer[-1] in rules.ends or last)
                and hope
                and not (full and rules.stopping is True)
            ):
                ended.append((total / length**rules.exponent, answer))
        ended = sorted(ended, reverse=True)[: rules.beams]
        running = [each for each in candidates if each[1][-1] not in rules.ends][: rules.beams]
        if len(ended) == rules.beams and not last:
            longest = LONGEST if rules.stopping == "never" and rules.exponent > 0 else length
            hope = hope and running[0][0] / longest**rules.exponent > ended[-1][0]
            if not hope or rules.stopping is True:
                break
    return ended[0][1]


def table(seed: int, scale: float = 1.5) -> Callable[[Answer], Array]:
    """Return log-probabilities of the next token, which depend on the last one and on the length."""
    logits = np.random.default_rng(seed).normal(size=(LONGEST + 1, VOCABULARY, VOCABULARY)) * scale
    log = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return lambda answer: log[len(answer) - 1, answer[-1]]


def disturbed(
    scores: Callable[[Answer], Array], size: float, seed: int
) -> Callable[[Answer], Array]:
    """Return scores that are each off by up to `size`, the same ones for the same answer."""

    def off(answer: Answer) -> Array:
        noise = np.random.default_rng([seed, *answer]).choice((-1.0, 1.0), VOCABULARY)
        return scores(answer) + noise * size

    return off


def least(heard: OwnMargins) -> float:
    """Return the least margin of the one row."""
    return float(heard.stacked().min())


RULES = tuple(
    Rules(beams, frozenset(range(2, 2 + ends)), exponent, stopping)
    for beams, ends, exponent, stopping in (
        (1, 1, 1.0, False),
        (2, 1, 1.0, False),
        (3, 1, 0.6, True),
        (2, 2, 2.0, False),
        (3, 2, -1.0, False),
        (2, 1, 1.4, "never"),
        (4, 1, 0.0, True),
    )
)


@over("rules", RULES)
def test_errors_below_the_margin_change_no_answer(rules: Rules) -> None:
    """Of 30 searches each, disturbed at every score by just less than their margin; and margins are no mere zeros."""
    margins = []
    for seed in range(30):
        heard, scores = OwnMargins(rules), table(seed)
        answer = searched(scores, rules, heard)
        margins.append(least(heard))
        for number in range(3):
            off = disturbed(scores, 0.99 * min(margins[-1], 1.0), number)
            assert searched(off, rules) == answer, (seed, number)
    assert np.median(margins) > 0.002


def test_errors_beyond_the_margin_change_some() -> None:
    """The margin is not far below what it takes: of 30 searches, ten margins at each score change one in four."""
    rules, changed = Rules(3, frozenset({2})), 0
    for seed in range(30):
        heard, scores = OwnMargins(rules), table(seed)
        answer = searched(scores, rules, heard)
        offs = (disturbed(scores, 10 * least(heard), number) for number in range(8))
        changed += any(searched(off, rules) != answer for off in offs)
    assert changed > 7


def test_a_greedy_search_has_a_margin_a_step() -> None:
    """Half of how far the best score is before the next one; after the end there is none."""
    heard = OwnMargins(Rules(ends=frozenset({2})))
    heard(np.array([[0], [0]]), np.array([[0.5, 0.1, 0.9], [0.5, 0.75, 0.1]]))
    heard(np.array([[0, 2], [0, 1]]), np.array([[0.5, 0.5, 0.5], [-np.inf, -np.inf, 0.1]]))
    assert heard.stacked() == pytest.approx(np.array([[0.2, np.inf], [0.125, np.inf]]))


def test_rules_are_those_of_the_generation_config() -> None:
    """What is not there has the library's default; penalties of repetition make errors larger."""
    assert rules_of({}) == Rules()
    settings = {
        "num_beams": 4,
        "eos_token_id": [2, 5],
        "length_penalty": 0.0,
        "early_stopping": True,
        "repetition_penalty": 0.5,
        "renormalize_logits": True,
    }
    assert rules_of(settings) == Rules(4, frozenset({2, 5}), 0.0, True, 2.0, True)
    assert rules_of(settings, beams=2).beams == 2
    assert rules_of({"eos_token_id": 0}).ends == {0}


SETTINGS: tuple[dict[str, Any], ...] = (
    {"num_beams": 3, "length_penalty": 0.5, "no_repeat_ngram_size": 2},
    {"num_beams": 4, "early_stopping": True, "eos_token_id": [2, 9, 11]},
    {"num_beams": 2, "length_penalty": 2.0, "repetition_penalty": 1.3, "min_length": 4},
    {"num_beams": 3, "early_stopping": "never", "renormalize_logits": True, "length_penalty": 0.2},
    {"num_beams": 2, "forced_eos_token_id": 2, "length_penalty": -1.0, "eos_token_id": [2, 5]},
)


@pytest.mark.frameworks
def test_the_real_search_is_followed(tmp_path: Path) -> None:
    """The best answer's score, added up while PyTorch's class searches, is the one that the class gives for it."""
    from ckptconv.run.runners.pytorch import RUNNER

    source = random_pair(plain("bert"), plain("bert"), tmp_path / "pair")
    session = RUNNER.load(source, "float64", "EncoderDecoderModel")
    torch = import_module("torch")
    ids = torch.arange(8, 32).reshape(4, 6)
    for settings in SETTINGS:
        common = {"decoder_start_token_id": 1, "pad_token_id": 0, "eos_token_id": 2}
        own = common | {"max_length": 10} | settings
        followed = OwnMargins(rules_of(own))

        def hear(tokens: Any, scores: Any, followed: OwnMargins = followed) -> Any:
            followed(tokens.numpy(), scores.numpy().copy())
            return scores

        with torch.inference_mode():
            answer = session.model.generate(
                ids,
                **own,
                logits_processor=[hear],
                return_dict_in_generate=True,
                output_scores=True,
            )
        best = [max(row.ended + ([] if row.over else row.open))[0] for row in followed.rows]
        assert best == pytest.approx(answer.sequences_scores.tolist(), rel=1e-6), settings
        margins = followed.stacked()
        assert margins.shape == (4, 1)
        assert (margins > 0).all()
        assert np.isfinite(margins).all()
