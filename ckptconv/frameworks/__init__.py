"""One file = one framework: how to load a checkpoint with its class, run it, and generate with it.

A framework is imported inside the functions of its file alone, and these run in a child process of
their own (`python -m ckptconv.frameworks NAME JOBDIR`): so that TF, JAX and PyTorch never share a
process, and the child that answers for the target never sees the source's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.config import Json
from ckptconv.discovery import discover
from ckptconv.table import DialectName

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, and what its class said while loading it."""

    model: Any
    problems: tuple[str, ...]
    """`missing encoder.x`, `unexpected ...`, `mismatched ...`; empty when every tensor found its place."""
    settings: Mapping[str, Json]
    """What was fixed so that the answers can be compared: precision, attention kernel, device."""


@dataclass(frozen=True, slots=True)
class Framework:
    """How one framework is started and asked."""

    name: DialectName
    model_class: str
    """Class in transformers that loads the whole checkpoint."""
    imports: tuple[str, ...]
    """Modules without which nothing works; `pip install 'ckptconv[NAME]'` brings them."""
    versions: tuple[str, ...]
    """Distributions whose versions belong into a report."""
    environment: Mapping[str, str]
    """What its process must have in its environment before the first import."""
    load: Callable[[Path], Loaded]
    forward: Callable[[Any, Mapping[str, Array], str], dict[str, Array]]
    """(model, one probe, precision) -> quantity name -> array, in the order of the data flow."""
    generate: Callable[[Any, Array, Array, Mapping[str, Json] | None], Array]
    """(model, input_ids, attention_mask, settings) -> token ids of shape (rows, length), the start
    token first. Settings replace the checkpoint's own generation config; None leaves it."""
    precisions: tuple[str, ...] = ("float32",)


def frameworks() -> dict[str, Framework]:
    """Return every framework, by name; imports none of them."""
    return discover("frameworks", "FRAMEWORK")


def quantities(outputs: Any, array: Callable[[Any], Array]) -> dict[str, Array]:
    """Name what a `Seq2SeqLMOutput` holds, in the order of the data flow.

    `encoder.0` is the sum of the embeddings after their norm, `encoder.N` layer N; every state has the
    shape (batch, length, width), the logits (batch, decoder length, vocabulary). The hidden states of
    a decoder without them (`None`) are left out, and the comparison says so.
    """
    found = {f"encoder.{n}": state for n, state in enumerate(outputs.encoder_hidden_states or ())}
    found["encoder.last"] = outputs.encoder_last_hidden_state
    found |= {f"decoder.{n}": state for n, state in enumerate(outputs.decoder_hidden_states or ())}
    found["logits"] = outputs.logits
    return {name: np.asarray(array(state)) for name, state in found.items()}


def loading_problems(info: Mapping[str, Collection[Any]]) -> tuple[str, ...]:
    """Return what `output_loading_info=True` lists, one line a tensor, sorted."""
    return tuple(
        f"{kind} {one if isinstance(one, str) else ' '.join(map(str, one))}"
        for kind in ("missing", "unexpected", "mismatched")
        for one in sorted(info.get(f"{kind}_keys", ()), key=str)
    )
