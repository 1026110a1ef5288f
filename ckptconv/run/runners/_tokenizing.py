"""Sentences become probes, by the tokenizer that lies beside a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckptconv.run.runners import Array

BATCH = 8
"""Sentences that run together."""


def tokenized(
    tokenizer: Any, sentences: Sequence[Sequence[str | None]], feeding: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the probes `inputs-0`, `inputs-1` ... of eight sentences each, padded on the right.

    Args: sentences: text, and what the decoder is fed with or None. feeding: start and pad, tokens of the
    decoder; encoder and decoder, how many tokens each may get, or None.
    """
    tokenizer.padding_side = "right"
    found = {}
    for number in range(0, len(sentences), BATCH):
        some = sentences[number : number + BATCH]
        encoded = tokenizer(
            [text for text, _ in some],
            return_tensors="np",
            padding=True,
            truncation=feeding["encoder"] is not None,
            max_length=feeding["encoder"],
        )
        batch = {name: encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        found[f"inputs-{number // BATCH}"] = batch | _fed(
            tokenizer, [target for _, target in some], feeding
        )
    return found


def _fed(
    tokenizer: Any, targets: Sequence[str | None], feeding: Mapping[str, Any]
) -> dict[str, Array]:
    """Return what the decoder gets: its start token, then the target's; and the labels, -100 where there are none."""
    start, pad = feeding["start"], feeding["pad"]
    rows = [[] if target is None else list(tokenizer(target)["input_ids"]) for target in targets]
    rows = [
        [start, *(row[1:] if row[:1] == [start] else row)][: feeding["decoder"]] for row in rows
    ]
    length = max(map(len, rows))
    ids = np.array([row + [pad] * (length - len(row)) for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int64)
    found = {"decoder_input_ids": ids, "decoder_attention_mask": mask}
    labels = np.array([[*row[1:], *[-100] * (length - len(row) + 1)] for row in rows], np.int64)
    return found | ({"labels": labels} if (labels >= 0).any() else {})
