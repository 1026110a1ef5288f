"""`special_tokens`: the ids that generation needs."""

from __future__ import annotations

from ckptconv.run.token_ids import named_ids, pad_id, special_tokens, unnamed_tokens
from probing import pair


def test_special_tokens_come_from_generation_config_then_whole_then_decoder() -> None:
    """The nearest config that names a token wins, and lists give their first entry."""
    composition = pair(
        {}, {"eos_token_id": 5, "pad_token_id": 6}, decoder_start_token_id=2, eos_token_id=3
    )
    tokens = special_tokens(composition)
    assert (tokens.decoder_start, tokens.eos, tokens.pad, tokens.chosen) == (2, 3, 6, ())
    own = special_tokens(composition, {"eos_token_id": [7, 8], "decoder_start_token_id": 4})
    assert (own.decoder_start, own.eos, own.pad) == (4, 7, 6)


def test_special_tokens_beyond_the_vocabulary_are_passed_over_and_choices_recorded() -> None:
    """GPT-2's default ids are not tokens of a small vocabulary, so others are chosen, and said."""
    composition = pair({}, {"model_type": "gpt2", "bos_token_id": 50256, "eos_token_id": 50256})
    tokens = special_tokens(composition)
    assert (tokens.decoder_start, tokens.eos, tokens.pad) == (0, 28, 28)
    assert tokens.chosen == ("decoder_start_token_id = 0", "eos_token_id = 28", "pad_token_id = 28")


def test_start_token_falls_back_to_the_beginning_of_text() -> None:
    """Without a start token, generation opens with `bos_token_id`, as transformers does."""
    assert special_tokens(pair({}, {"bos_token_id": 9})).decoder_start == 9


def test_named_ids_are_those_of_both_configs_and_the_ends_of_the_table() -> None:
    """Every `..._token_id` that is a token, once; the padding token is not among them."""
    both = pair(
        {"mask_token_id": 17, "sep_token_id": 99, "pad_token_id": 4}, {}, eos_token_id=[7, 8]
    )
    assert named_ids(both.encoder.config, both.config) == (17, 7, 0, 30)
    assert pad_id(both.encoder.config) == 4


def test_what_a_generation_config_leaves_open() -> None:
    """Null is as good as absent, 0 is a token, and the beginning of text serves as the start."""
    tokens = {"decoder_start_token_id": 0, "eos_token_id": [0, 3], "pad_token_id": 0}
    assert unnamed_tokens(tokens) == ()
    assert unnamed_tokens({**tokens, "decoder_start_token_id": None}) == ("decoder_start_token_id",)
    assert unnamed_tokens({**tokens, "decoder_start_token_id": None, "bos_token_id": 0}) == ()
    assert unnamed_tokens({"max_length": 9}) == tuple(tokens)
