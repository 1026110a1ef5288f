"""What transformers' Flax classes need of jax and jax 0.10 dropped: `a_min` and `a_max` of `jnp.clip`."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

GIVEN_BACK = "a_min and a_max given back, which jax 0.10 dropped and this class uses"


def give_back_clip() -> bool:
    """Let `jnp.clip` take the keywords that it took up to jax 0.9, as T5 uses them; return whether it did not."""
    jnp: Any = import_module("jax.numpy")
    clip = jnp.clip
    if "a_max" in inspect.signature(clip).parameters:
        return False

    def clip_as_before(array: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
        return clip(array, bounds.pop("min", a_min), bounds.pop("max", a_max), **bounds)

    jnp.clip = clip_as_before
    return True
