"""Values for tensors that no source holds: drawn from a seed, the same on every machine.

Normal values are looked up among 65,536 quantiles, since a library's own normal stream may change from
version to version, and logarithms differ in the last bit from machine to machine. The stream below is
Philox's raw output, which is fixed by its authors; each tensor has a stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ckptconv.binding.ops import Fill
from ckptconv.stores.tensor import TensorSpec
from ckptconv.transfer.casting import Items, encode

STEP = 1 << 20
"""Elements made at a time."""


def drawn(fill: Fill, spec: TensorSpec) -> Iterator[Items]:
    """Return a tensor's items as a fill says, some at a time, in the target's dtype."""
    if fill.formula is not None:
        yield encode(fill.formula.values(spec.shape).reshape(-1), spec.dtype)
        return
    stream = np.random.Philox(
        key=int.from_bytes(sha256(f"{fill.seed}:{spec.name}".encode()).digest()[:16], "big")
    )
    for start in range(0, spec.numel, STEP):
        count = min(STEP, spec.numel - start)
        if fill.std:
            raw = stream.random_raw((count + 3) // 4).astype("<u8").view("<u2")[:count]
            values = _quantiles()[raw] * np.float32(fill.std) + np.float32(fill.mean)
        else:
            values = np.full(count, fill.mean, np.float32)
        yield encode(values, spec.dtype)


@cache
def _quantiles() -> NDArray[np.float32]:
    """Return the standard normal's quantiles at the middles of 65,536 equal steps; the largest is 4.3."""
    normal = NormalDist()
    upper = [normal.inv_cdf((index + 0.5) / 65536) for index in range(32768, 65536)]
    half = np.array(upper, np.float32)
    return np.concatenate([-half[::-1], half])
