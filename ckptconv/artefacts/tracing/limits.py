"""How long inputs and answers may be, as the class itself shows: it fails beyond its tables of positions.

A config names a number in any case, also for classes whose positions are relative; so it is tried. Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ckptconv.artefacts.tracing.cache import keys_values
from ckptconv.artefacts.tracing.modules import (
    Encode,
    First,
    Signature,
    Step,
    main_input,
    position_limit,
)

TRIED = 4096
"""Beyond so many positions nothing is tried: attention grows with the square."""
OFFSETS = 8
"""Families set up to so many positions aside, for padding and the like."""


def encoder_limit(model: Any, signature: Signature) -> int | None:
    """Return the longest input of tokens; None where none is too long for the class, or inputs are no tokens."""
    config = getattr(model.config, "encoder", None) or model.config
    named = getattr(config, "max_position_embeddings", None)
    if main_input(model) != "input_ids" or not isinstance(named, int):
        return None
    token = next(token for token in range(3) if token != getattr(config, "pad_token_id", None))

    def runs(length: int) -> bool:
        ids = torch.full((1, length), token)
        inputs = (ids, torch.ones_like(ids))[: len(signature.inputs)]
        return _runs(lambda: Encode(model, signature)(*inputs))

    return _largest(named, runs)


def decoder_limit(model: Any, signature: Signature, first: First) -> int | None:
    """Return the longest answer, the start token included; None where none is too long for the class.

    Args: first: what `Encode.first` gave.
    """
    named = position_limit(model)
    if named is None:
        return None
    step = Step(model, replace(signature, limit=None), first.states.shape[-1], "integer")
    cross = [tensor[:1] for tensor in keys_values(first.cache.cross_attention_cache)]
    own = [tensor[:1, :, :1] for tensor in keys_values(first.cache.self_attention_cache)]
    masks = [torch.ones(1, cross[0].shape[2], dtype=torch.long) for _ in signature.inputs[1:]]
    token = torch.full((1, 1), signature.start)

    def runs(length: int) -> bool:
        buffers = [tensor.expand(-1, -1, length, -1) for tensor in own]
        return _runs(lambda: step(token, torch.tensor(length - 1), masks, buffers, cross))

    return _largest(named, runs)


def _largest(named: int, runs: Callable[[int], bool]) -> int | None:
    """Return the largest length up to `named` that runs, where the next one does not; None where longer ones run."""
    if not 0 < named <= TRIED or runs(named + 1):
        return None
    lengths = range(named, max(0, named - OFFSETS), -1)
    return next((length for length in lengths if runs(length)), None)


def _runs(call: Callable[[], Any]) -> bool:
    try:
        with torch.inference_mode():
            call()
    except Exception:  # each class has its own way to fail
        return False
    return True
