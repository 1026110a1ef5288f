"""`probes`: the inputs that both models are fed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptconv.composition import Composition, compose
from ckptconv.config import Config
from ckptconv.evidence.probes import PADDED, make_probes, new_tokens, position_limit, special_tokens

CROSS = {"is_decoder": True, "add_cross_attention": True}


def pair(encoder: dict[str, Any], decoder: dict[str, Any], **whole: Any) -> Composition:
    """Return the composition of two configs, by default bert -> bert with small vocabularies."""
    return compose(
        Config(
            {
                "model_type": "encoder-decoder",
                "encoder": {"model_type": "bert", "vocab_size": 31} | encoder,
                "decoder": {"model_type": "bert", "vocab_size": 29} | CROSS | decoder,
            }
            | whole
        )
    )


PAIRS = {
    "bert": pair({}, {}, decoder_start_token_id=2),
    "roberta": pair({"model_type": "roberta", "max_position_embeddings": 20}, {"model_type": "roberta"}),
    "gpt2": pair({"model_type": "gpt2"}, {"model_type": "gpt2", "n_positions": 11}),
    "late pad": pair({"pad_token_id": 30}, {"pad_token_id": 28}),
    "tiny": pair({"max_position_embeddings": 3, "vocab_size": 2}, {"max_position_embeddings": 1}),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_tokens_are_valid_and_pads_stand_where_the_mask_says(name: str, side: str) -> None:
    """Valid places hold tokens of the side's vocabulary other than its pad; padded places hold its pad."""
    config = getattr(PAIRS[name], side).config
    prefix = "decoder_" if side == "decoder" else ""
    pad = config.get("pad_token_id") if config.get("pad_token_id") is not None else 0
    probes = make_probes(PAIRS[name])
    for probe in ("full", PADDED):
        ids, mask = probes[f"{probe}.{prefix}input_ids"], probes[f"{probe}.{prefix}attention_mask"]
        assert ids.shape == mask.shape
        assert ids.dtype == mask.dtype == np.int64
        assert ids.min() >= 0
        assert ids.max() < config.size("vocab_size")
        drawn = np.ones_like(mask, bool)
        drawn[:, 0] = not prefix
        assert not (ids[drawn & (mask == 1)] == pad).any()
        assert (ids[mask == 0] == pad).all()
        assert (mask[:, 0] == 1).all()
        assert (np.diff(mask, axis=1) <= 0).all()


def test_lengths_show_more_than_one_token_and_more_than_one_length() -> None:
    """The full probe fills every row; the padded one has rows of three lengths."""
    probes = make_probes(PAIRS["bert"])
    assert probes["full.input_ids"].shape == (3, 37)
    assert probes["full.decoder_input_ids"].shape == (3, 24)
    assert probes["full.attention_mask"].all()
    assert sorted(probes[f"{PADDED}.attention_mask"].sum(axis=1)) == [11, 22, 37]
    assert list(probes)[-1].startswith(PADDED)


def test_positions_stay_below_the_limit() -> None:
    """RoBERTa's table loses pad + 1 rows; GPT-2 is limited by `n_positions`; no table is no limit."""
    assert position_limit(PAIRS["roberta"].encoder.config) == 18
    assert make_probes(PAIRS["roberta"])["full.input_ids"].shape[1] == 18
    assert make_probes(PAIRS["gpt2"])["full.decoder_input_ids"].shape[1] == 11
    assert position_limit(Config({"max_position_embeddings": 1024, "pad_token_id": 50256})) == 1024
    assert position_limit(Config({})) is None
    assert position_limit(Config({"max_position_embeddings": -1})) is None


def test_generation_stays_below_the_limit() -> None:
    """The start token takes a position too, and at least one token is generated."""
    assert new_tokens(PAIRS["bert"]) == 16
    assert new_tokens(PAIRS["gpt2"]) == 10
    assert new_tokens(PAIRS["tiny"]) == 1


def test_probes_depend_on_config_and_seed_alone() -> None:
    """The same seed gives the same probes, another seed others."""
    first, again, other = (make_probes(PAIRS["bert"], seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["full.input_ids"], other["full.input_ids"])


def test_decoder_starts_with_its_start_token() -> None:
    """Every decoder row opens with `decoder_start_token_id`."""
    probes = make_probes(PAIRS["bert"])
    assert (probes["full.decoder_input_ids"][:, 0] == 2).all()
    assert (probes[f"{PADDED}.decoder_input_ids"][:, 0] == 2).all()


def test_special_tokens_come_from_generation_config_then_whole_then_decoder() -> None:
    """The nearest config that names a token wins, and lists give their first entry."""
    composition = pair({}, {"eos_token_id": 5, "pad_token_id": 6}, decoder_start_token_id=2, eos_token_id=3)
    found = special_tokens(composition)
    assert (found.decoder_start, found.eos, found.pad, found.chosen) == (2, 3, 6, ())
    own = special_tokens(composition, {"eos_token_id": [7, 8], "decoder_start_token_id": 4})
    assert (own.decoder_start, own.eos, own.pad) == (4, 7, 6)


def test_special_tokens_beyond_the_vocabulary_are_passed_over_and_choices_recorded() -> None:
    """GPT-2's default ids are not tokens of a small vocabulary, so others are chosen, and said."""
    composition = pair({}, {"model_type": "gpt2", "bos_token_id": 50256, "eos_token_id": 50256})
    found = special_tokens(composition)
    assert (found.decoder_start, found.eos, found.pad) == (0, 28, 28)
    assert found.chosen == ("decoder_start_token_id = 0", "eos_token_id = 28", "pad_token_id = 28")


def test_start_token_falls_back_to_the_beginning_of_text() -> None:
    """Without a start token, generation opens with `bos_token_id`, as transformers does."""
    assert special_tokens(pair({}, {"bos_token_id": 9})).decoder_start == 9
