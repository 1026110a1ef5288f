"""The caches that a traced step runs with, in the place of those of transformers.

A layer's own keys and values lie in a buffer of any number of rows, of which the first `position` count. The new
row is written at `position`, and the class attends to the whole buffer under a mask that hides what comes later. So
every shape is free or fixed, none depends on data, and the same graph serves a buffer that grows by a row a step as
well as one that is as long as the longest answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, EncoderDecoderCache

KeysValues = Sequence[torch.Tensor]
"""key, value of layer 0, key, value of layer 1, ...; each (rows, heads, length, width)."""


class BufferLayer(CacheLayerMixin):
    """The decoder's own keys and values of one layer: `update` writes one row at `position`."""

    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, position: Any) -> None:
        """Take buffers of shape (rows, heads, length, width); `position` is a tensor () or a symbolic integer."""
        super().__init__()
        self.keys, self.values, self.position = keys, values, position
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.here = (torch.arange(keys.shape[-2]) == position)[None, None, :, None]

    def lazy_initialization(self, key_states: torch.Tensor) -> None:
        """Do nothing: the buffers are there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, cache_kwargs: Any = None
    ) -> Any:
        """Return the buffers with the new row in its place."""
        self.keys = torch.where(self.here, key_states, self.keys)
        self.values = torch.where(self.here, value_states, self.values)
        return self.keys, self.values

    def get_seq_length(self) -> Any:
        """Return how many rows count before this step."""
        return self.position

    def get_mask_sizes(self, cache_position: torch.Tensor) -> tuple[int, int]:
        """Return the length that a mask must have, and where it begins."""
        return self.keys.shape[-2], 0

    def get_max_cache_shape(self) -> int:
        """Return -1: no limit of its own."""
        return -1


class FilledLayer(CacheLayerMixin):
    """Keys and values that are written as a whole: of the encoder's states, or of the first token."""

    is_sliding = False

    def __init__(
        self, keys: torch.Tensor | None = None, values: torch.Tensor | None = None
    ) -> None:
        """Take tensors of shape (rows, heads, length, width), or wait for them."""
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True
        self.dtype, self.device = torch.get_default_dtype(), torch.device("cpu")

    def lazy_initialization(self, key_states: torch.Tensor) -> None:
        """Do nothing: `update` takes what there is."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, cache_kwargs: Any = None
    ) -> Any:
        """Take and return the tensors."""
        self.keys, self.values = key_states, value_states
        return key_states, value_states

    def get_seq_length(self) -> int:
        """Return the length; 0 before there is anything."""
        return 0 if self.keys is None else self.keys.shape[-2]

    def get_mask_sizes(self, cache_position: torch.Tensor) -> tuple[int, int]:
        """Return the length that a mask must have, and where it begins: before the first update, the queries'."""
        return self.get_seq_length() or cache_position.shape[0], 0

    def get_max_cache_shape(self) -> int:
        """Return -1: no limit of its own."""
        return -1


class PairCache(EncoderDecoderCache):
    """The decoder's own cache, and the encoder's, which is filled already or is to be filled."""

    def __init__(
        self, own: Sequence[CacheLayerMixin], cross: Sequence[CacheLayerMixin], *, is_filled: bool
    ) -> None:
        """Take one layer of each for every layer of the decoder."""
        self.self_attention_cache, self.cross_attention_cache = (
            Cache(layers=list(own)),
            Cache(layers=list(cross)),
        )
        self.is_updated = dict.fromkeys(range(len(cross)), is_filled)


def empty_cache(layers: int) -> PairCache:
    """Return the cache of a first step, which fills both sides."""
    return PairCache(
        [FilledLayer() for _ in range(layers)],
        [FilledLayer() for _ in range(layers)],
        is_filled=False,
    )


def step_cache(position: Any, own: KeysValues, cross: KeysValues) -> PairCache:
    """Return the cache of a later step.

    Args: position: where the new row goes, a tensor () or a symbolic integer.
    """
    buffers = [BufferLayer(keys, values, position) for keys, values in _pairs(own)]
    return PairCache(
        buffers, [FilledLayer(keys, values) for keys, values in _pairs(cross)], is_filled=True
    )


def keys_values(cache: Any) -> tuple[torch.Tensor, ...]:
    """Return the tensors of one side of a cache, in the order of `KeysValues`."""
    return tuple(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))


def _pairs(tensors: KeysValues) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(tensors[::2], tensors[1::2], strict=True))
