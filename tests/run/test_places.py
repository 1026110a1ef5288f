"""`places`: padding does not count, nor what nothing but padding was the input of."""

from __future__ import annotations

import numpy as np

from ckptconv.run.modalities import MODALITIES
from ckptconv.run.yardstick import Places

PLACES = Places(MODALITIES["text"], {})
BATCH = {
    "attention_mask": np.array([[1, 1, 0], [0, 0, 0]]),
    "decoder_attention_mask": np.array([[1, 0], [1, 1]]),
}


def test_places_of_tokens() -> None:
    """States and queries of tokens count; of the decoder, those whose row has a token in the encoder."""
    encoder, decoder = [[True, True, False], [False] * 3], [[True, False], [False, False]]
    shapes = {
        "encoder.1": (2, 3, 8),
        "encoder.1.attention": (2, 4, 3, 3),
        "decoder.0": (2, 2, 8),
        "decoder.1.cross": (2, 4, 2, 3),
        "logits": (2, 2, 9),
        "loss": (),
    }
    result = {name: PLACES.valid(BATCH, name, shape) for name, shape in shapes.items()}
    assert {name: None if one is None else one.tolist() for name, one in result.items()} == {
        "encoder.1": encoder,
        "encoder.1.attention": encoder,
        "decoder.0": decoder,
        "decoder.1.cross": decoder,
        "logits": decoder,
        "loss": True,
    }


def test_pooled_states_count_only_without_padding() -> None:
    """Fewer places than tokens are of tokens and padding both, unless there is no padding."""
    assert PLACES.valid(BATCH, "encoder.2", (2, 2, 8)) is None
    whole = BATCH | {"attention_mask": np.ones((2, 3), int)}
    result = PLACES.valid(whole, "encoder.2", (2, 2, 8))
    assert result is not None
    assert result.tolist() == [[True, True], [True, True]]


def test_maps_in_blocks_count_where_the_class_pads_none() -> None:
    """LongT5 fills up the last block of a row: two blocks of two queries hold three tokens and one padding."""
    whole = BATCH | {"attention_mask": np.ones((2, 3), int)}
    assert PLACES.valid(whole, "encoder.1.attention", (2, 2, 4, 2, 6)) is None
    result = PLACES.valid(whole, "encoder.1.attention", (2, 1, 4, 3, 9))
    assert result is not None
    assert result.tolist() == [[True], [True]]
