"""`frameworks`: what a child makes of its framework's answers: tokens in one form, loading problems in lines."""

from __future__ import annotations

import numpy as np

from ckptconv.run.runners.__main__ import after_start
from ckptconv.run.runners._outputs import loading_problems
from ckptconv.run.runners.flax import loading_problems as flax_problems


def test_tokens_have_a_common_form() -> None:
    """The start token goes, and what follows the first end is -1, whether stopped early or padded on."""
    stopped = np.array([[9, 5, 6, 2], [9, 7, 2, 0]])
    padded_on = np.array([[9, 5, 6, 2, 0], [9, 7, 2, 0, 0]])
    expected = [[5, 6, 2, -1], [7, 2, -1, -1]]
    assert after_start(stopped, [9], ends=[2], length=4).tolist() == expected
    assert after_start(padded_on, [9], ends=[2], length=4).tolist() == expected


def test_padding_may_be_the_end_and_rows_may_never_end() -> None:
    """Where pad and end are one token the first one counts; a row without an end is kept whole."""
    assert after_start(np.array([[2, 4, 2, 2]]), [2], ends=[2], length=3).tolist() == [[4, 2, -1]]
    assert after_start(np.array([[2, 4, 5, 6]]), [2], ends=[2], length=3).tolist() == [[4, 5, 6]]


def test_a_row_may_end_at_several_tokens() -> None:
    """Whichever of the ends comes first."""
    assert after_start(
        np.array([[9, 4, 0, 2], [9, 2, 0, 4]]), [9], ends=(2, 0), length=3
    ).tolist() == [
        [4, 0, -1],
        [2, -1, -1],
    ]


def test_start_tokens_may_be_several_or_left_out() -> None:
    """Whisper has four, and its class in PyTorch does not return them: then nothing is cut."""
    with_prompt, without = np.array([[7, 8, 9, 4, 2]]), np.array([[4, 2, 0]])
    assert after_start(with_prompt, [7, 8, 9], [2], 3).tolist() == [[4, 2, -1]]
    assert after_start(without, [7, 8, 9], [2], 3).tolist() == [[4, 2, -1]]
    assert after_start(np.array([[9, 9, 2]]), [9], [2], 3).tolist() == [[9, 2, -1]]


def test_loading_info_becomes_one_line_a_tensor() -> None:
    """Missing and unexpected names, and mismatched ones with both shapes, each sorted."""
    info = {
        "missing_keys": ["b", "a"],
        "unexpected_keys": {"c"},
        "mismatched_keys": [("d", (1, 2), (2, 1))],
        "error_msgs": ["left out"],
    }
    assert loading_problems(info) == (
        "missing a",
        "missing b",
        "unexpected c",
        "mismatched d (1, 2) (2, 1)",
    )


def test_flax_warnings_become_one_line_a_tensor() -> None:
    """The three warnings of the Flax loader are understood, and others are left out."""
    messages = [
        "Some weights of the model checkpoint at x were not used when initializing F:"
        " {('a', 'b'), ('c',)}\n- This IS",
        "Some weights of F were not initialized from the model checkpoint at x and are newly initialized:"
        " {('d', 'kernel')}\nYou should",
        "Some weights of F were not initialized from the model checkpoint at x and are newly initialized"
        " because the shapes did not match:\n"
        "- ('e', 'bias'): found shape (2,) in the checkpoint and (3,) in the model\nYou should",
        "Some of the weights of F were initialized in float16 precision",
    ]
    assert flax_problems(messages) == (
        "mismatched ('e', 'bias')",
        "missing d/kernel",
        "unexpected a/b",
        "unexpected c",
    )
