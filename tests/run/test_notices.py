"""`notices`: what a user should know beside the verdict; on made-up answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from answering import TOKENS, answers, judged


def test_notices_say_what_was_chosen_and_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision, chosen tokens, a source that loaded badly, other generation settings."""
    source, target = answers()
    source = replace(source, problems=("missing pooler",), generation={"num_beams": 4})
    same = np.where(TOKENS >= 0, 4, -1)
    source, target = (
        replace(item, arrays={**item.arrays, "greedy/tokens": same}) for item in (source, target)
    )
    report = judged(monkeypatch, source, target)
    conversion = "\n".join(report.notices)
    for words in (
        "the weights are float16",
        "eos_token_id = 28",
        "loading the source: missing pooler",
        "num_beams is 4 in the source, not set in the target",
        "one and the same token",
    ):
        assert words in conversion
    assert report.matches
