"""`modalities.text`: sentences become probes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptconv.run.modalities import Example
from ckptconv.run.modalities.text import tokenized


class Letters:
    """A tokenizer with one token a letter, between 1 and 2; 0 is padding."""

    padding_side = "left"

    def __call__(
        self, text: Any, max_length: int | None = None, truncation: bool = False, **_: Any
    ) -> dict[str, Any]:
        """Return tokens: a list for one sentence, arrays padded on `padding_side` for several."""
        if isinstance(text, str):
            return {"input_ids": [1, *(ord(letter) - 90 for letter in text), 2]}
        rows = [self(item)["input_ids"][: max_length if truncation else None] for item in text]
        assert self.padding_side == "right"
        width = max(map(len, rows))
        return {
            "input_ids": np.array([row + [0] * (width - len(row)) for row in rows], np.int32),
            "attention_mask": np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
        }


FACTS = {"start": 1, "pad": 9, "encoder": None, "decoder": 4}


def test_a_sentence_and_what_the_decoder_gets() -> None:
    """Its own start token once, as many tokens as it holds, padding to the longest, and the next tokens as labels."""
    batch = tokenized(
        Letters(), [Example("ab", "a"), Example("a"), Example("abc", "abcdef")], FACTS
    )
    assert {name: array.tolist() for name, array in batch["inputs-0"].items()} == {
        "input_ids": [[1, 7, 8, 2, 0], [1, 7, 2, 0, 0], [1, 7, 8, 9, 2]],
        "attention_mask": [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]],
        "decoder_input_ids": [[1, 7, 2, 9], [1, 9, 9, 9], [1, 7, 8, 9]],
        "decoder_attention_mask": [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]],
        "labels": [[7, 2, -100, -100], [-100] * 4, [7, 8, 9, -100]],
    }


def test_a_start_token_that_the_tokenizer_does_not_set() -> None:
    """Where the decoder starts with another token, that one comes before all that the tokenizer gives."""
    batch = tokenized(Letters(), [Example("ab", "a")], FACTS | {"start": 5})
    assert batch["inputs-0"]["decoder_input_ids"].tolist() == [[5, 1, 7, 2]]


def test_eight_sentences_run_together() -> None:
    """More make more probes; without any target there are no labels; long sentences are cut at the encoder's limit."""
    result = tokenized(Letters(), [Example("abcdef")] * 9, FACTS | {"encoder": 3})
    assert {name: batch["input_ids"].shape for name, batch in result.items()} == {
        "inputs-0": (8, 3),
        "inputs-1": (1, 3),
    }
    assert "labels" not in result["inputs-0"]
    assert result["inputs-1"]["decoder_input_ids"].tolist() == [[1]]
