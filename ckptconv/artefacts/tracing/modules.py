"""The two modules that are traced: `Encode` runs a class once, `Step` again and again.

Both call the whole class as `generate` does, so whatever stands between its parts (a projection, a scale, a head with
a bias) is in the graph, for a pair as for one piece.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from transformers.modeling_outputs import BaseModelOutput

from ckptconv.artefacts.tracing.cache import KeysValues, empty_cache, keys_values, step_cache

PositionKind: TypeAlias = Literal["tensor", "integer"]
LAYER_COUNTS = (
    "num_decoder_layers",
    "decoder_layers",
    "num_hidden_layers",
    "n_layer",
    "num_layers",
)
"""Where configs say how many layers a decoder has; the first that is there counts."""
POSITION_LIMITS = ("max_target_positions", "max_position_embeddings", "n_positions")
"""Where configs say how many positions a decoder has."""
MASKS = ("attention_mask",)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a class is called with."""

    inputs: tuple[str, ...]
    """Of `encode`: the main input, and `attention_mask` where the class takes one."""
    start: int
    """Token that every answer begins with."""
    layers: int
    """Of the decoder."""
    limit: int | None
    """How many positions the decoder has, where there is a table of them."""
    cache_position: str
    """Name under which the class takes the position of a new token; empty where it takes none."""


def signature(model: Any, start: int, names: Collection[str]) -> Signature:
    """Read from a class's own `forward` how it is called.

    Args: start: token that answers begin with. given: names of inputs that are at hand; a mask of images is not.
    """
    accepted = inspect.signature(model.forward).parameters
    masks = (name for name in MASKS if name in accepted and name in names)
    decoder = getattr(model, "decoder", None)
    position = "cache_position" if "cache_position" in accepted else ""
    if not position and decoder is not None:
        own = inspect.signature(decoder.forward).parameters
        position = "decoder_cache_position" if "cache_position" in own else ""
    inputs = (main_input(model), *masks)
    return Signature(inputs, start, layer_count(model), position_limit(model), position)


def main_input(model: Any) -> str:
    """Return what the class reads; a pair for speech says `inputs`, and its encoder which kind of them."""
    name = str(model.main_input_name)
    return str(model.encoder.main_input_name) if name == "inputs" else name


def position_limit(model: Any) -> int | None:
    """Return how many positions the decoder has; None where its config names no number."""
    config = getattr(model.config, "decoder", None) or model.config
    limits = (getattr(config, name, None) for name in POSITION_LIMITS)
    return next((int(limit) for limit in limits if isinstance(limit, int) and limit > 0), None)


def layer_count(model: Any) -> int:
    """Return how many layers the decoder has."""
    config = getattr(model.config, "decoder", None) or model.config
    return next(
        int(count) for name in LAYER_COUNTS if isinstance(count := getattr(config, name, None), int)
    )


class First(NamedTuple):
    """What a class answers to its inputs and the start token."""

    states: torch.Tensor
    """Of the encoder."""
    cache: Any
    logits: torch.Tensor
    """(batch, vocabulary)."""


class Encode(torch.nn.Module):
    """inputs -> encoder states (batch, length, width), then the decoder's keys and values of them."""

    def __init__(self, model: torch.nn.Module, signature: Signature) -> None:
        """Wrap a class."""
        super().__init__()
        self.model, self.signature = model, signature

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the encoder, and one token through the decoder for what its layers make of the encoder's states."""
        first = self.first(*inputs)
        return first.states, *keys_values(first.cache.cross_attention_cache)

    def first(self, *inputs: torch.Tensor) -> First:
        """Return the encoder's states, and cache and logits after one token."""
        cache = empty_cache(self.signature.layers)
        outputs = self._outputs(inputs, 1, use_cache=True, past_key_values=cache)
        return First(outputs.encoder_last_hidden_state, cache, outputs.logits[:, 0])

    def followed(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits after one token, where another follows it: (batch, vocabulary)."""
        logits: torch.Tensor = self._outputs(inputs, 2, use_cache=False).logits[:, 0]
        return logits

    def _outputs(self, inputs: KeysValues, tokens: int, **settings: Any) -> Any:
        """Run the whole class with so many start tokens."""
        named = dict(zip(self.signature.inputs, inputs, strict=True))
        starts = torch.full((inputs[0].shape[0], tokens), self.signature.start, dtype=torch.long)
        return self.model(
            **named,
            decoder_input_ids=starts,
            decoder_attention_mask=torch.ones_like(starts),
            **settings,
        )


class Step(torch.nn.Module):
    """token, position, mask, own and cross keys and values -> logits, own keys and values with the token's row."""

    def __init__(
        self, model: torch.nn.Module, signature: Signature, width: int, kind: PositionKind
    ) -> None:
        """Wrap a class. `width` is that of the encoder's states; `kind`: what the class gets as a position."""
        super().__init__()
        self.model, self.signature, self.width, self.kind = model, signature, width, kind

    def forward(
        self,
        token: torch.Tensor,
        position: torch.Tensor,
        masks: KeysValues,
        own: KeysValues,
        cross: KeysValues,
    ) -> tuple[torch.Tensor, ...]:
        """Run one token of each row.

        Args: token: (batch, 1). position: (), where its row goes. masks: `attention_mask`, where `encode` takes it.
        own: (batch, heads, any length, width) each. cross: (batch, heads, length, width) each.
        Returns: logits (batch, vocabulary), then `own` with the new row.
        """
        place = self._place(position)
        rows = token.shape[0]
        visible = (torch.arange(own[0].shape[-2]) <= position)[None, :].expand(
            rows, own[0].shape[-2]
        )
        cache = step_cache(place, own, cross)
        named: dict[str, Any] = dict(zip(self.signature.inputs[1:], masks, strict=True))
        if self.signature.cache_position:
            named[self.signature.cache_position] = position.reshape(1)
        outputs = self.model(
            **named,
            encoder_outputs=BaseModelOutput(torch.zeros(rows, cross[0].shape[-2], self.width)),
            decoder_input_ids=token,
            decoder_attention_mask=visible.to(torch.long),
            use_cache=True,
            past_key_values=cache,
        )
        return outputs.logits[:, -1], *keys_values(cache.self_attention_cache)

    def _place(self, position: torch.Tensor) -> Any:
        """Return the position as the class takes it; an integer is known to be no negative one."""
        if self.kind == "tensor":
            return position
        number = position.item()
        torch._check(number >= 0)
        if self.signature.limit is not None:
            torch._check(
                number < self.signature.limit
            )  # so that no class asks whether to grow a table
        return number
