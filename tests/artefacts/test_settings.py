"""What a generation config asks for: read as transformers reads it, or refused by the setting's name."""

from __future__ import annotations

from typing import Any

import pytest

from ckptconv.artefacts.generation.settings import SettingsError, search_of

PLAIN = {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({}, 21),  # the default stands for 20 new tokens
        ({"max_length": 20}, 21),  # transformers cannot tell it from the default
        ({"max_length": 33}, 33),
        ({"max_new_tokens": 7}, 8),
        ({"max_new_tokens": 7, "max_length": 50}, 8),
    ],
)
def test_the_longest_answer_counts_the_start_token(settings: dict[str, Any], length: int) -> None:
    """`max_new_tokens` takes precedence, and 20 is what transformers takes for no setting at all."""
    assert search_of(PLAIN | settings).max_length == length


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_beams": 4, "do_sample": True}, "do_sample"),
        ({"num_beams": 4, "num_beam_groups": 2}, "num_beam_groups"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha"),
        ({"do_sample": True, "typical_p": 0.9}, "typical_p"),
        ({"guidance_scale": 1.5}, "guidance_scale"),
        ({"stop_strings": ["."]}, "stop_strings"),
        ({"force_words_ids": [[5]]}, "force_words_ids"),
        ({"num_return_sequences": 2}, "num_return_sequences"),
        ({"decoder_start_token_id": None}, "decoder_start_token_id"),
        ({"decoder_start_token_id": [3, 4]}, "decoder_start_token_id"),
    ],
)
def test_a_setting_without_a_processor_is_refused(settings: dict[str, Any], name: str) -> None:
    """The message begins with the setting's name, since that is what a user must change."""
    with pytest.raises(SettingsError, match=f"^{name}"):
        search_of(PLAIN | settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"typical_p": 0.9},  # only where tokens are drawn
        {"penalty_alpha": 0.6, "top_k": 4, "num_beams": 2},
        {"guidance_scale": 1},
        {"num_return_sequences": 1},
        {"stop_strings": None},
        {"no_repeat_ngram_size": -1, "encoder_no_repeat_ngram_size": -1},
    ],
)
def test_a_setting_that_changes_nothing_is_taken(settings: dict[str, Any]) -> None:
    """What PyTorch itself ignores is no reason to refuse, and no part of the search."""
    search = search_of(PLAIN | settings)
    assert (search.no_repeat_ngram_size, search.encoder_no_repeat_ngram_size) == (0, 0)


def test_all_problems_are_said_at_once() -> None:
    """One line a setting."""
    with pytest.raises(SettingsError) as caught:
        search_of(PLAIN | {"stop_strings": ["."], "max_time": 3.0})
    assert len(str(caught.value).splitlines()) == 2


def test_tokens_default_as_in_transformers() -> None:
    """The start token defaults to bos, the padding to the first end; several ends are all kept."""
    search = search_of({"bos_token_id": 5, "eos_token_id": [7, 8]})
    assert (search.start, search.pad, search.ends) == (5, 7, (7, 8))
    assert search.candidates == 3


@pytest.mark.parametrize("value", ["two", [2, None], True, 2.5])
def test_an_end_that_is_no_token_is_refused(value: Any) -> None:
    """It is not left out, since the search would then run on."""
    with pytest.raises(ValueError, match="does not name tokens"):
        search_of(PLAIN | {"eos_token_id": value})
