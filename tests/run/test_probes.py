"""`modalities.text`: the tokens that both models are fed."""

from __future__ import annotations

import numpy as np
import pytest

from ckptconv.run.modalities import modality_of
from ckptconv.run.token_ids import (
    IGNORED,
    LEFT,
    LONG,
    RIGHT,
    TYPES,
    new_tokens,
    position_limit,
    token_types,
)
from ckptconv.schema.model import Model
from probing import pair, probes_of, supports

PAIRS = {
    "bert": pair({}, {}, decoder_start_token_id=2),
    "roberta": pair(
        {"model_type": "roberta", "max_position_embeddings": 20}, {"model_type": "roberta"}
    ),
    "gpt2": pair({"model_type": "gpt2"}, {"model_type": "gpt2", "n_positions": 11}),
    "late pad": pair({"pad_token_id": 30}, {"pad_token_id": 28}),
    "tiny": pair({"max_position_embeddings": 3, "vocab_size": 2}, {"max_position_embeddings": 1}),
}


def left_out(model: Model, *runs: str) -> list[str]:
    """Return what is said to be left out for some runners."""
    return list(modality_of(model).left_out(model, supports(*runs)))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_tokens_are_valid_and_pads_stand_where_the_mask_says(name: str, side: str) -> None:
    """Valid places hold tokens of the side's vocabulary other than its pad, but for one; padded places its pad."""
    config = getattr(PAIRS[name], side).config
    prefix = "decoder_" if side == "decoder" else ""
    pad = config.get("pad_token_id") if config.get("pad_token_id") is not None else 0
    probes = probes_of(PAIRS[name])
    for probe in {key.partition(".")[0] for key in probes}:
        ids, mask = probes[f"{probe}.{prefix}input_ids"], probes[f"{probe}.{prefix}attention_mask"]
        assert ids.shape == mask.shape
        assert ids.dtype == mask.dtype == np.int64
        assert ids.min() >= 0
        assert ids.max() < config.size("vocab_size")
        drawn = mask == 1
        drawn[:, 0] &= not prefix
        drawn[np.arange(len(mask)), mask.argmax(axis=1)] &= not prefix
        allowed = int(probe == LEFT and bool((mask[:, 0] == 0).any()))
        assert (ids[drawn] == pad).sum() <= allowed
        assert (ids[mask == 0] == pad).all()
        assert mask.any(axis=1).all()
        assert (np.diff(mask, axis=1) * (1 if probe == LEFT else -1) >= 0).all() or mask[:, 0].all()


def test_probes_reach_the_whole_model() -> None:
    """No padding, padding on the right and on the left, token types, and one row of every position."""
    probes = probes_of(PAIRS["bert"])
    assert list(dict.fromkeys(key.partition(".")[0] for key in probes)) == [
        "full",
        "right",
        "left",
        "types",
        "long",
    ]
    assert probes["full.input_ids"].shape == probes["full.decoder_input_ids"].shape == (3, 41)
    assert probes["full.attention_mask"].all()
    assert probes[f"{RIGHT}.attention_mask"].sum(axis=1).tolist() == [41, 24, 12]
    assert np.array_equal(
        probes[f"{LEFT}.attention_mask"], probes[f"{RIGHT}.attention_mask"][:, ::-1]
    )
    assert (
        set(probes[f"{TYPES}.token_type_ids"].ravel())
        == set(probes[f"{TYPES}.decoder_token_type_ids"].ravel())
        == {0, 1}
    )
    assert (
        probes[f"{LONG}.input_ids"].shape == probes[f"{LONG}.decoder_input_ids"].shape == (1, 512)
    )
    assert left_out(PAIRS["bert"], "pytorch", "tf") == []


def test_short_positions_need_no_long_probe() -> None:
    """Where the other probes fill every position, there is no long one."""
    assert not any(key.startswith(LONG) for key in probes_of(PAIRS["tiny"]))


def test_a_large_vocabulary_shortens_the_decoder_and_says_so() -> None:
    """512 rows of logits over 250,000 tokens would be a gigabyte in float64."""
    large = pair({}, {"vocab_size": 250_000})
    assert probes_of(large)[f"{LONG}.decoder_input_ids"].shape == (1, 67)
    assert left_out(large, "pytorch") == ["the decoder has 512 positions; the longest probe has 67"]


def test_flax_numbers_positions_by_order_and_has_no_token_types() -> None:
    """Towards Flax a RoBERTa is padded on the right only, and both are said; the other side is as ever."""
    both = pair({"model_type": "roberta", "pad_token_id": 1}, {})
    probes = probes_of(both, runs=["pytorch", "flax"])
    assert (probes[f"{LEFT}.attention_mask"][:, 0] == 1).all()
    assert (probes[f"{LEFT}.input_ids"][probes[f"{LEFT}.attention_mask"] == 1] != 1).all()
    assert (probes[f"{LEFT}.decoder_attention_mask"][:, 0] == [1, 0, 0]).all()
    assert not any(key.startswith(TYPES) for key in probes)
    assert left_out(both, "pytorch", "flax") == [
        "no padding on the left of the encoder, and no padding token among its tokens: Flax's class numbers positions"
        " 0, 1, 2 ... there, PyTorch's does not",
        "token types other than 0 are not tried in the encoder: Flax's class takes none",
        "token types other than 0 are not tried in the decoder: Flax's class takes none",
    ]
    assert not left_out(both, "pytorch", "tf")


def test_every_special_token_is_fed() -> None:
    """The tokens that a config names, and the first and the last of the vocabulary, stand in the first row."""
    special = pair(
        {"mask_token_id": 17, "sep_token_id": 99}, {"bos_token_id": 5}, eos_token_id=[7, 8]
    )
    probes = probes_of(special)
    assert probes["full.input_ids"][0, 1:5].tolist() == [
        17,
        7,
        30,
        *probes["full.input_ids"][0, 4:5],
    ]
    assert {5, 7, 28} <= set(probes["full.decoder_input_ids"][0].tolist())


def test_several_columns_of_token_types() -> None:
    """TAPAS has seven kinds of token types, of different counts; XLNet's two are not in its config."""
    tapas = pair({"model_type": "tapas", "type_vocab_sizes": [3, 256, 256, 2, 256, 256, 10]}, {})
    types = probes_of(tapas)[f"{TYPES}.token_type_ids"]
    assert types.shape == (3, 41, 7)
    assert (types.reshape(-1, 7).max(axis=0) < [3, 256, 256, 2, 256, 256, 10]).all()
    assert token_types(
        pair({"model_type": "xlnet", "d_model": 8}, {}).encoder, supports("pytorch", "tf")
    ) == (2,)


def test_labels_are_the_next_tokens() -> None:
    """Each place's label is the token after it; the last one's and those at padding are not counted."""
    probes = probes_of(PAIRS["bert"])
    ids, labels = (probes[f"{RIGHT}.{name}"] for name in ("decoder_input_ids", "labels"))
    assert (labels[0, :-1] == ids[0, 1:]).all()
    assert (labels[0, -1], (labels[1, 23:] == IGNORED).all(), labels[1, 22]) == (
        IGNORED,
        True,
        ids[1, 23],
    )


def test_positions_stay_below_the_limit() -> None:
    """RoBERTa's table loses pad + 1 rows; GPT-2 is limited by `n_positions`; no table is no limit."""
    assert position_limit(PAIRS["roberta"].encoder, "encoder") == 18
    assert probes_of(PAIRS["roberta"])["full.input_ids"].shape[1] == 18
    assert probes_of(PAIRS["gpt2"])["full.decoder_input_ids"].shape[1] == 11
    assert (
        position_limit(
            pair({"max_position_embeddings": 20, "pad_token_id": 3}, {}).encoder, "encoder"
        )
        == 20
    )
    assert (
        position_limit(pair({"model_type": "xlnet", "d_model": 8}, {}).encoder, "encoder") is None
    )


def test_generation_stays_below_the_limit() -> None:
    """The start token takes a position too, and at least one token is generated."""
    assert new_tokens(PAIRS["bert"]) == 16
    assert new_tokens(PAIRS["gpt2"]) == 10
    assert new_tokens(PAIRS["tiny"]) == 1


def test_probes_depend_on_config_and_seed_alone() -> None:
    """The same seed gives the same probes, another seed others."""
    first, again, changed = (probes_of(PAIRS["bert"], seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["full.input_ids"], changed["full.input_ids"])


def test_decoder_starts_with_its_start_token() -> None:
    """Every decoder row opens with `decoder_start_token_id`."""
    probes = probes_of(PAIRS["bert"])
    assert (probes["full.decoder_input_ids"][:, 0] == 2).all()
    assert (probes[f"{RIGHT}.decoder_input_ids"][:, 0] == 2).all()
