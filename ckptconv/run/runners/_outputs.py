"""Models of transformers' classes, and what they answer under the names that all runners share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import Array, Session


class ClassSession(Session):
    """A model of one of the classes; each framework's runs it in its own way."""

    def __init__(self, model: Any, problems: tuple[str, ...], settings: Mapping[str, Json]) -> None:
        """Take a loaded model."""
        self.model, self.problems, self.settings = model, problems, settings
        self._own = model.generation_config
        self.generation = self._own.to_diff_dict()


def quantities(outputs: Any, array: Callable[[Any], Array]) -> dict[str, Array]:
    """Return what a `Seq2SeqLMOutput` holds as arrays, under the names of `states`; the loss is a single number."""
    arrays = {name: np.asarray(array(state)) for name, state in states(outputs).items()}
    return arrays | {"loss": np.mean(arrays["loss"])} if "loss" in arrays else arrays


def states(outputs: Any) -> dict[str, Any]:
    """Name what a `Seq2SeqLMOutput` holds, in the order of the data flow; see `Session.forward`.

    What a class does not give (`None`) is left out, and the comparison says so.
    """
    named = _stack("encoder", outputs.encoder_hidden_states, attention=outputs.encoder_attentions)
    named["encoder.last"] = outputs.encoder_last_hidden_state
    named |= _stack(
        "decoder",
        outputs.decoder_hidden_states,
        attention=outputs.decoder_attentions,
        cross=outputs.cross_attentions,
    )
    named["logits"] = outputs.logits
    named["loss"] = getattr(outputs, "loss", None)
    return {name: state for name, state in named.items() if state is not None}


def _stack(role: str, layers: Any, **maps: Any) -> dict[str, Any]:
    """Name the states of a stack, each layer's attention before the layer's own."""
    by_kind = {kind: _plain(layer_maps) for kind, layer_maps in maps.items()}
    layers, named = tuple(layers or ()), {}
    for layer in range(max(len(layers), *(len(kind_maps) + 1 for kind_maps in by_kind.values()))):
        for kind, kind_maps in by_kind.items():
            if 0 < layer <= len(kind_maps):
                named[f"{role}.{layer}.{kind}"] = kind_maps[layer - 1]
        if layer < len(layers):
            state = layers[layer]  # PEGASUS-X gives its last with the states of its global tokens
            named[f"{role}.{layer}"] = state[0] if isinstance(state, tuple) else state
    return named


def _plain(maps: Any) -> tuple[Any, ...]:
    """Return a stack's attention; none where a layer's has parts of several shapes, as PEGASUS-X's has."""
    layers = tuple(maps or ())
    return () if any(isinstance(layer, Mapping) for layer in layers) else layers


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the mean loss over labels that are not negative, in float64, as PyTorch defines it.

    Args: logits: (batch, length, vocabulary). labels: (batch, length).
    """
    counted = labels >= 0
    chosen = np.asarray(logits, np.float64)[counted]
    largest = chosen.max(axis=-1, keepdims=True)
    total = np.log(np.exp(chosen - largest).sum(axis=-1)) + largest[:, 0]
    return np.asarray(np.mean(total - chosen[np.arange(len(chosen)), labels[counted]]))


def loading_problems(info: Mapping[str, Collection[Any]]) -> tuple[str, ...]:
    """Return what `output_loading_info=True` lists, one line a tensor, sorted."""
    return tuple(
        f"{kind} {name if isinstance(name, str) else ' '.join(map(str, name))}"
        for kind in ("missing", "unexpected", "mismatched")
        for name in sorted(info.get(f"{kind}_keys", ()), key=str)
    )


def set_generation(model: Any, own: Any, settings: Mapping[str, Json] | None) -> None:
    """Give a model the generation config of these settings, or `own` again where there are none."""
    transformers = import_module("transformers")
    model.generation_config = (
        own if settings is None else transformers.GenerationConfig(**dict(settings))
    )


def plain_generate(model: Any, settings: Mapping[str, Json] | None) -> Callable[..., Any]:
    """Return `generate` of a model: with settings that of all models, without any the class's own.

    Whisper's own cuts sound into segments, detects languages and forces tokens, in every framework in another way;
    what a comparison asks for is the same search on all sides.
    """
    generate: Callable[..., Any] = model.generate
    if settings is None or "Whisper" not in type(model).__name__:
        return generate
    transformers = import_module("transformers")
    for mixin in ("GenerationMixin", "TFGenerationMixin", "FlaxGenerationMixin"):
        base = getattr(transformers, mixin, None)
        if isinstance(base, type) and isinstance(model, base):
            return partial(base.generate, model)  # type: ignore[attr-defined]
    return generate
