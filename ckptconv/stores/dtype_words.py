"""A config's word for the weights' dtype: one that no class reads is replaced by the dtype that they have, and said.

transformers 4.57.6 looks the word up in torch while it reads the config, and fails with `auto`, `fp16`,
`torch.float16` or an empty one, which older versions left in files (configuration_utils.py, `PretrainedConfig`).
No class makes weights in 8-bit floats either: with `dtype="auto"`, which is the default of 5, torch refuses them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.stores.tensor import FLOATS, Stored

KEYS = ("dtype", "torch_dtype")
PARTS = ("encoder", "decoder")
"""Levels of a composite's config that are read as configs of their own."""
READABLE = frozenset({"float32", "float", "float64", "double", "float16", "half", "bfloat16"})


def unreadable_dtypes(values: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Return key and value of every dtype that no class reads; null names none."""
    for key, value in values.items():
        if key in KEYS and value is not None and not _is_readable(value):
            yield f"{prefix}{key}", value
        elif key in PARTS and isinstance(value, dict) and not prefix:
            yield from unreadable_dtypes(value, f"{key}.")


def _is_readable(value: Json) -> bool:
    return isinstance(value, str) and value in READABLE


def with_readable_dtypes(config: Config, tensors: Iterable[Stored]) -> Config:
    """Return a config whose words for dtypes are ones that a class reads: where they are not, that of the tensors."""
    dtype = stored_dtype(tensors)
    return replace(config, values=_replaced(config.values, dtype))


def stored_dtype(tensors: Iterable[Stored]) -> str:
    """Return the dtype in which most bytes of the floating-point tensors are stored; float32 where there are none."""
    nbytes: Counter[str] = Counter()
    for stored in tensors:
        if stored.spec.dtype in FLOATS:
            nbytes[stored.spec.dtype] += stored.spec.nbytes
    return max(sorted(nbytes), key=lambda dtype: nbytes[dtype], default="float32")


def _replaced(values: Mapping[str, Json], dtype: str, level: int = 0) -> dict[str, Json]:
    replaced: dict[str, Json] = {}
    for key, value in values.items():
        if key in KEYS and value is not None and not _is_readable(value):
            replaced[key] = dtype
        elif key in PARTS and isinstance(value, dict) and level == 0:
            replaced[key] = _replaced(value, dtype, 1)
        else:
            replaced[key] = value
    return replaced
