"""`frameworks`: what a model's answer is called, and the loss where a class gives none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ckptconv.run.modalities import MODALITIES
from ckptconv.run.runners._outputs import cross_entropy, quantities
from ckptconv.run.yardstick import Places


def outputs(**more: Any) -> Any:
    """Return what a model of two layers on either side gives, each array holding a number of its own."""
    numbers = iter(range(99))

    def stack(count: int) -> tuple[Any, ...]:
        return tuple(np.full((1, 2, 3), next(numbers)) for _ in range(count))

    return SimpleNamespace(
        **{
            "encoder_hidden_states": stack(3),
            "encoder_attentions": stack(2),
            "encoder_last_hidden_state": stack(1)[0],
            "decoder_hidden_states": stack(3),
            "decoder_attentions": stack(2),
            "cross_attentions": stack(2),
            "logits": stack(1)[0],
            "loss": None,
        }
        | more
    )


def test_names_follow_the_flow_of_data() -> None:
    """Embeddings, then each layer's attention before the layer itself, then what the side gives."""
    result = quantities(outputs(), np.asarray)
    assert {name: int(array[0, 0, 0]) for name, array in result.items()} == {
        "encoder.0": 0,
        "encoder.1.attention": 3,
        "encoder.1": 1,
        "encoder.2.attention": 4,
        "encoder.2": 2,
        "encoder.last": 5,
        "decoder.0": 6,
        "decoder.1.attention": 9,
        "decoder.1.cross": 11,
        "decoder.1": 7,
        "decoder.2.attention": 10,
        "decoder.2.cross": 12,
        "decoder.2": 8,
        "logits": 13,
    }
    assert list(result)[:4] == [
        "encoder.0",
        "encoder.1.attention",
        "encoder.1",
        "encoder.2.attention",
    ]
    assert list(result)[-4:] == ["decoder.2.attention", "decoder.2.cross", "decoder.2", "logits"]


def test_what_a_class_does_not_give_is_left_out() -> None:
    """No states, no maps, or single maps that are None: the others keep their numbers."""
    some = outputs(
        encoder_hidden_states=None,
        decoder_attentions=None,
        cross_attentions=(None, np.ones((1, 1, 1))),
    )
    assert [
        name for name in quantities(some, np.asarray) if name.startswith(("encoder", "decoder.2"))
    ] == [
        "encoder.1.attention",
        "encoder.2.attention",
        "encoder.last",
        "decoder.2.cross",
        "decoder.2",
    ]


def test_the_loss_is_one_number() -> None:
    """PyTorch gives a number, TF an array of one, or of a loss a token: the mean."""
    for loss in (np.float32(2.5), np.array([2.5]), np.array([2.0, 3.0])):
        assert quantities(outputs(loss=loss), np.asarray)["loss"] == pytest.approx(2.5)


def test_cross_entropy_by_hand() -> None:
    """Two tokens of probabilities 1/2 and 1/4; a place without a label does not count."""
    logits = np.log([[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [1.0, 1.0, 1.0]]])
    assert cross_entropy(logits, np.array([[0, 0, -100]])) == pytest.approx(
        (np.log(2) + np.log(4)) / 2
    )
    assert np.isfinite(cross_entropy(logits * 1e4, np.array([[0, 0, -100]])))


def test_long_rows_give_no_attention_maps() -> None:
    """They grow with the square of the length."""
    places = Places(MODALITIES["text"], {})
    short, long = np.zeros((1, 300)), np.zeros((1, 301))
    assert places.wants_maps({"attention_mask": short, "decoder_input_ids": short})
    assert not places.wants_maps({"attention_mask": short, "decoder_input_ids": long})
    assert not places.wants_maps({"attention_mask": long, "decoder_input_ids": short})
