"""Answers to texts: what the limits of two classes make of them is no difference of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from ckptconv.base.strict_json import Json
from ckptconv.run.children import Answer
from ckptconv.run.endings import Ending, ending, without_start
from ckptconv.run.texts import judge_texts

START, END = 0, 1
SETTINGS: Mapping[str, Json] = {"decoder_start_token_id": START, "eos_token_id": [END]}


def side(runner: str, row: Sequence[int], **settings: Json) -> Answer:
    """Return what a class answers with these tokens; token 9 is special."""
    generation = {**SETTINGS, **settings}

    def spelled(ids: Sequence[int]) -> list[str]:
        return [str(token) for token in ids if token != 9]

    answer = ending(row, generation, spelled)
    text = " ".join(spelled(without_start(row, generation)))
    return Answer(runner, {}, (), {}, {}, generation, (text,), (), 0.0, endings=(answer,))


@pytest.mark.parametrize(
    ("row", "settings", "expected"),
    [
        ((START, 5, 6), {}, Ending(("5", "6"), True)),
        ((START, 5, 6, END, 9), {}, Ending(("5", "6"), False)),
        ((START, 9, 5, 6), {}, Ending(("5", "6"), True)),
        ((5, 6), {}, Ending(("5", "6"), False)),
        ((END, 5, END), {"decoder_start_token_id": END}, Ending(("5",), False)),
        (
            (START, 5, 6, END),
            {"forced_eos_token_id": END, "max_length": 4},
            Ending(("5", "6"), True),
        ),
        ((START, 5, END), {"forced_eos_token_id": END, "max_length": 4}, Ending(("5",), False)),
        ((START, 5, END), {"forced_eos_token_id": END, "max_new_tokens": 2}, Ending(("5",), True)),
    ],
)
def test_how_an_answer_ended(
    row: tuple[int, ...], settings: dict[str, Json], expected: Ending
) -> None:
    """By its limit: without an end, or with one that the limit forced; without a start nobody can tell."""
    assert side("tf", row, **settings).endings == (expected,)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (
            side("pytorch", (START, 5, 6, 7)),
            side("tf", (START, 5, 6)),
            "tf after 2 tokens, pytorch after 3",
        ),
        (side("pytorch", (5, 6, 7)), side("flax", (START, 9, 5, 6)), "compared up to there"),
        (side("pytorch", (START, 5, 6, END)), side("tf", (START, 5)), "compared up to there"),
        (
            side("pytorch", (START, 5, 6, END), num_beams=2),
            side("tf", (START, 7, 8), num_beams=2),
            "among beams",
        ),
        (
            side("pytorch", (START, 5), do_sample=True),
            side("tf", (START, 6), do_sample=True),
            "samples",
        ),
    ],
)
def test_what_a_limit_or_chance_makes_is_said(source: Answer, target: Answer, words: str) -> None:
    """It is shown, said, and no difference, whichever side is the shorter one."""
    for verdicts in (judge_texts(source, target), judge_texts(target, source)):
        assert verdicts.undecided == (0,)
        assert words in verdicts.notices[0]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (side("pytorch", (START, 5, 6, 7)), side("tf", (START, 5, 8))),
        (side("pytorch", (START, 5, 6, 7)), side("tf", (START, 5, END))),
        (side("pytorch", (5, 6)), side("flax", (START, 5, 6, 7))),
        (side("pytorch", (START, 5, 6, 7)), side("pytorch", (START, 5, 6))),
        (side("pytorch", (START, 5, 6)), side("tf", (START,))),
        (side("pytorch", (START, 5, END), num_beams=2), side("tf", (START, 6, END), num_beams=2)),
    ],
    ids=["other token", "ended", "end unknown", "one class", "nothing", "beams that ended"],
)
def test_a_real_difference_stays_one(source: Answer, target: Answer) -> None:
    """Where the shorter answer ended by itself, may have, or begins otherwise."""
    assert judge_texts(source, target).undecided == ()


def test_a_trace_without_endings_is_judged_by_its_words() -> None:
    """Those that an older ckptconv recorded."""
    answer = Answer("tf", {}, (), {}, {}, {}, ("5",), (), 0.0)
    assert judge_texts(side("pytorch", (START, 5, 6)), answer).undecided == ()
