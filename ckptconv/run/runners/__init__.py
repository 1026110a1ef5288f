"""One file = one framework: how to load a checkpoint with its class, run it, and generate with it.

A framework is imported inside the functions of its file alone, and these run in a child process of
their own (`python -m ckptconv.run.runners NAME JOBDIR`): so that TF, JAX and PyTorch never share a
process, and the child that answers for the target never sees the source's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.base.discovery import discover
from ckptconv.base.strict_json import Json
from ckptconv.schema.vocabulary import NamingName

Array: TypeAlias = NDArray[Any]
Listener: TypeAlias = Callable[[Array, Array], None]
"""Is told each step of a generation: tokens so far (rows, length), scores of the next one (rows, vocabulary)."""

ATTENTION_PLACES = 300
"""Attention maps are asked for up to so many tokens a row: they grow with the square, and a layer has them a head."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, and what its class said while loading it."""

    model: Any
    problems: tuple[str, ...]
    """`missing encoder.x`, `unexpected ...`, `mismatched ...`; empty when every tensor found its place."""
    settings: Mapping[str, Json]
    """What was fixed so that the answers can be compared: precision, attention kernel, device."""


class Reaching(Protocol):
    """Runs probes as `Framework.forward` does, and notes which elements of the parameters they depend on."""

    def forward(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Run one probe."""
        ...

    def reached(self) -> dict[str, list[int]]:
        """Return parameter -> how many elements were reached, and how many rows of its first axis."""
        ...


@dataclass(frozen=True, slots=True)
class Framework:
    """How one framework is started and asked."""

    name: NamingName
    model_class: str
    """Class in transformers that loads the whole checkpoint."""
    imports: tuple[str, ...]
    """Modules without which nothing works; `pip install 'ckptconv[NAME]'` brings them."""
    versions: tuple[str, ...]
    """Distributions whose versions belong into a report."""
    environment: Mapping[str, str]
    """What its process must have in its environment before the first import."""
    load: Callable[[Path, str], Loaded]
    """(checkpoint, precision) -> the model, which computes in that precision."""
    forward: Callable[[Any, Mapping[str, Array]], dict[str, Array]]
    """(model, one probe) -> quantity name -> array, in the order of the data flow."""
    generate: Callable[[Any, Array, Array, Listener | None], Array]
    """(model, input_ids, attention_mask, listener) -> token ids of shape (rows, length), the start token first;
    by the model's own generation config."""
    hidden: tuple[str, ...] = ()
    """Modules that its packages would import if they were there, and that nothing here needs."""
    precisions: tuple[str, ...] = ("float32",)
    reach: Callable[[Any], Reaching] | None = None
    """(model) -> what runs probes with gradients; None: this framework does not measure what is reached."""


def frameworks() -> dict[str, Framework]:
    """Return every framework, by name; imports none of them."""
    return discover("run.runners", "FRAMEWORK")


def wants_attention(batch: Mapping[str, Array]) -> bool:
    """Tell whether a probe is short enough to ask for attention maps."""
    sizes = (int(batch[name].shape[1]) for name in ("input_ids", "decoder_input_ids"))
    return max(sizes) <= ATTENTION_PLACES


def quantities(outputs: Any, array: Callable[[Any], Array]) -> dict[str, Array]:
    """Return what a `Seq2SeqLMOutput` holds as arrays, under the names of `states`; the loss is a single number."""
    found = {name: np.asarray(array(state)) for name, state in states(outputs).items()}
    return found | {"loss": np.mean(found["loss"])} if "loss" in found else found


def states(outputs: Any) -> dict[str, Any]:
    """Name what a `Seq2SeqLMOutput` holds, in the order of the data flow.

    `encoder.0` is the sum of the embeddings after their norm, `encoder.N` layer N; every state has the
    shape (batch, length, width), `encoder.N.attention`, `decoder.N.attention` and `decoder.N.cross` (batch,
    heads, queries, keys), the logits (batch, decoder length, vocabulary), the loss (). What a class does not
    give (`None`) is left out, and the comparison says so.
    """
    found = _stack("encoder", outputs.encoder_hidden_states, attention=outputs.encoder_attentions)
    found["encoder.last"] = outputs.encoder_last_hidden_state
    found |= _stack(
        "decoder",
        outputs.decoder_hidden_states,
        attention=outputs.decoder_attentions,
        cross=outputs.cross_attentions,
    )
    found["logits"] = outputs.logits
    found["loss"] = getattr(outputs, "loss", None)
    return {name: state for name, state in found.items() if state is not None}


def _stack(side: str, states: Any, **maps: Any) -> dict[str, Any]:
    """Name the states of a stack, each layer's attention before the layer's own."""
    held = {kind: tuple(found or ()) for kind, found in maps.items()}
    states, found = tuple(states or ()), {}
    for layer in range(max(len(states), *(len(one) + 1 for one in held.values()))):
        for kind, one in held.items():
            if 0 < layer <= len(one):
                found[f"{side}.{layer}.{kind}"] = one[layer - 1]
        if layer < len(states):
            found[f"{side}.{layer}"] = states[layer]
    return found


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the mean loss over labels that are not negative, in float64, as PyTorch defines it.

    Args: logits: (batch, length, vocabulary). labels: (batch, length).
    """
    counted = labels >= 0
    chosen = np.asarray(logits, np.float64)[counted]
    most = chosen.max(axis=-1, keepdims=True)
    total = np.log(np.exp(chosen - most).sum(axis=-1)) + most[:, 0]
    return np.asarray(np.mean(total - chosen[np.arange(len(chosen)), labels[counted]]))


def loading_problems(info: Mapping[str, Collection[Any]]) -> tuple[str, ...]:
    """Return what `output_loading_info=True` lists, one line a tensor, sorted."""
    return tuple(
        f"{kind} {one if isinstance(one, str) else ' '.join(map(str, one))}"
        for kind in ("missing", "unexpected", "mismatched")
        for one in sorted(info.get(f"{kind}_keys", ()), key=str)
    )
