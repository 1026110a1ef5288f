"""General changes to how classes run, so that no length is baked into a trace; none of them changes an answer.

- A buffer that holds 0, 1, 2, ... is made anew at each call: a slice of the stored one would fix its length.
- Masks are made by broadcasting: transformers maps a function over indices with vmap, which no format has.
- Integers that are taken from a fraction become fractions first: PyTorch has no way to ONNX for the two at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformers import masking_utils


class Counting:
    """Stands for a buffer of shape (1, N) that holds 0, 1, 2, ...: a slice of it is counted where it is taken."""

    def __init__(self, length: int) -> None:
        """Remember the length."""
        self.length, self.shape, self.dtype = length, torch.Size([1, length]), torch.long

    def __getitem__(self, key: Any) -> torch.Tensor:
        """Return numbers of shape (1, length of the slice); from a tensor on, the one number."""
        part = key[-1]
        if isinstance(part.start, torch.Tensor):
            return part.start.reshape(1, 1)  # a step takes one token
        start = 0 if part.start is None else part.start
        stop = self.length if part.stop is None else part.stop
        return torch.arange(start, stop, dtype=torch.long)[None]

    def size(self, *axis: int) -> Any:
        """Return the shape, or one of its axes."""
        return self.shape[axis[0]] if axis else self.shape

    def expand(self, *sizes: int) -> torch.Tensor:
        """Return the whole, with more rows."""
        return self.whole().expand(*sizes)

    def whole(self) -> torch.Tensor:
        """Return all of the buffer."""
        return torch.arange(self.length, dtype=torch.long)[None]

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Any = (), settings: Any = None
    ) -> Any:
        """Stand in any function of PyTorch for the whole: CLIP looks all its positions up."""
        filled = torch.utils._pytree.tree_map(
            lambda value: value.whole() if isinstance(value, cls) else value,
            (arguments, settings or {}),
        )
        return function(*filled[0], **filled[1])


def count_positions(model: torch.nn.Module) -> None:
    """Put `Counting` in the place of every buffer that counts."""
    for module in model.modules():
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and _counts(buffer):
                del module._buffers[name]
                setattr(module, name, Counting(buffer.shape[1]))


def _counts(buffer: torch.Tensor) -> bool:
    if (
        buffer.dtype != torch.long
        or buffer.ndim != 2
        or buffer.shape[0] != 1
        or buffer.shape[1] < 2
    ):
        return False
    return bool(torch.equal(buffer, torch.arange(buffer.shape[1])[None]))


def _broadcast_mask(
    batch_size: int,
    cache_position: torch.Tensor,
    kv_length: int,
    kv_offset: int = 0,
    mask_function: Callable[..., torch.Tensor] = masking_utils.causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    **_settings: Any,
) -> torch.Tensor:
    """Return 0 where a query may look at a key, and the lowest number elsewhere: (batch, 1, queries, keys)."""
    rows, heads = (
        torch.arange(batch_size)[:, None, None, None],
        torch.zeros(1, 1, 1, 1, dtype=torch.long),
    )
    queries = cache_position[None, None, :, None]
    keys = (torch.arange(kv_length) + kv_offset)[None, None, None, :]
    visible = mask_function(rows, heads, queries, keys)
    if attention_mask is not None:
        padding = masking_utils.prepare_padding_mask(
            attention_mask, kv_length, kv_offset, _slice=False
        )
        visible = visible & padding[:, None, None, :].to(torch.bool)
    visible = visible.expand(batch_size, 1, cache_position.shape[0], kv_length)
    lowest = torch.full((), torch.finfo(dtype).min, dtype=dtype)
    return torch.where(visible, torch.zeros((), dtype=dtype), lowest)


@contextmanager
def broadcast_masks() -> Iterator[None]:
    """Make masks by broadcasting, while this lasts."""
    functions = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    usual = functions["eager"]
    functions["eager"] = _broadcast_mask
    try:
        yield
    finally:
        functions["eager"] = usual


class LowerableCalls(TorchFunctionMode):
    """Puts calls that every format has in the place of calls that answer the same and that one lacks."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), settings: Any = None
    ) -> Any:
        """Run a function of PyTorch, or ours in its place."""
        if function is torch.Tensor.__rsub__ and isinstance(arguments[1], float):
            tensor, number = arguments
            return function(tensor.to(torch.result_type(tensor, number)), number)
        return function(*arguments, **(settings or {}))
