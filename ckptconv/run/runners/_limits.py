"""Does an artefact refuse what lies beyond its positions, as the class does, and take what lies within them?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from ckptconv.run.runners import Array
from ckptconv.stores.artefact import Artefact

Call: TypeAlias = Callable[[int], object]
TEXT = "input_ids"


def limit_problems(artefact: Artefact, encode: Call, step: Call) -> Iterator[str]:
    """Try the last position and the one beyond, where the artefact's inputs are tokens and its record has limits.

    Args: encode: runs an input of so many tokens. step: runs a cached step at a position. Both raise where the
    program refuses.
    """
    if artefact.inputs[0] != TEXT:
        return
    limit = artefact.limit("encoder")
    if limit is not None:
        if not _answers(encode, limit):
            yield f"mismatched limit: an input of {limit} tokens is refused, which PyTorch takes"
        if _answers(encode, limit + 1):
            yield f"mismatched limit: an input of {limit + 1} tokens is answered, which PyTorch refuses"
    limit = artefact.limit("decoder")
    if limit is not None:
        if not _answers(step, limit - 1):
            yield f"mismatched limit: position {limit - 1} of the decoder is refused, which PyTorch takes"
        if _answers(step, limit):
            yield f"mismatched limit: position {limit} of the decoder is answered, which PyTorch refuses"


def _answers(call: Call, number: int) -> bool:
    """Tell whether a program answers rather than refuses."""
    try:
        call(number)
    except Exception:  # every runtime has its own
        return False
    return True


def ones(artefact: Artefact, length: int) -> dict[str, Array]:
    """Return one row of a token that is no padding, and its mask."""
    token = 0 if artefact.values.get("encoder_pad") != 0 else 1
    ids = np.full((1, length), token, np.int64)
    mask = np.ones_like(ids)
    return {name: ids if name == TEXT else mask for name in artefact.inputs}


def start_token(artefact: Artefact) -> Array:
    """Return what answers begin with, as a batch of one."""
    return np.array([[int(str(artefact.search.get("start", 0)))]], np.int64)
