"""Swin's stack, which Donut's encoder has as well: attention in windows, and stages that each join four patches.

Source: transformers 4.57.6, models/swin, models/donut/modeling_donut_swin.py. Each window adds a bias by the distance
of two patches. Which row of the table that is follows from the window's size; PyTorch and TF store it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import numbered_layers
from ckptconv.schema.formulas import WindowDistances
from ckptconv.schema.tensors import (
    Module,
    Modules,
    computed,
    conv2d,
    held_by,
    index,
    linear,
    norm,
    parameter,
    under,
)

MOST_FEATURES = 1 << 31
MOST_STAGES = 16
"""Each doubles the width; real ones have four."""
MOST_WINDOW = 256
"""Patches along a window's side; real ones have 7 to 24, and the numbers of distances grow with the fourth power."""
DISTANCES = "which row of the table is the distance of two patches"


def stages(c: Config) -> tuple[tuple[int, int], ...]:
    """Return layers and heads of each stage. Raises SourceError: more stages than any model has."""
    depths, heads = c.sizes("depths"), c.sizes("num_heads")
    if len(depths) > MOST_STAGES:
        raise SourceError(
            f"{c.where}: 'depths' has {len(depths)} stages; ckptconv takes {MOST_STAGES}"
        )
    return tuple(zip(depths, heads, strict=False))


def inner_width(c: Config, outer: int) -> int:
    """Return the width inside a layer. Raises SourceError: it is no size."""
    inner = c.number("mlp_ratio") * outer
    if not 0 <= inner < MOST_FEATURES:
        raise SourceError(f"{c.where}: 'mlp_ratio' times {outer} must be a size, found {inner}")
    return int(inner)


def last_width(c: Config) -> int:
    """Return the width of the last stage; each stage doubles it."""
    return c.size("embed_dim") << max(0, len(stages(c)) - 1)


def window(c: Config) -> tuple[int, int]:
    """Return the size of a window. Raises SourceError: larger than any model's."""
    high, wide = c.extent("window_size")
    if max(high, wide) > MOST_WINDOW:
        raise SourceError(f"{c.where}: 'window_size' is more than {MOST_WINDOW}")
    return high, wide


def attention(c: Config, width: int, heads: int) -> Iterator[Module]:
    """`SwinSelfAttention`."""
    high, wide = window(c)
    rows = max(0, 2 * high - 1) * max(0, 2 * wide - 1)
    yield parameter("relative_position_bias_table", distance=rows, head=heads)
    distances = index("relative_position_index", query=high * wide, key=high * wide)
    stored = held_by(("pytorch", "tf"), [distances])
    yield from computed(stored, WindowDistances(high, wide), why=DISTANCES)
    for name in ("query", "key", "value"):
        yield linear(name, width, width, bias=c.flag("qkv_bias", default=True))


def block(c: Config, width: int, heads: int) -> Iterator[Module]:
    """`SwinLayer`."""
    inner = inner_width(c, width)
    yield norm("layernorm_before", width)
    yield from under("attention.self", attention(c, width, heads))
    yield linear("attention.output.dense", width, width)
    yield norm("layernorm_after", width)
    yield linear("intermediate.dense", inner, width)
    yield linear("output.dense", width, inner)


def layered(
    c: Config,
    blocks: Callable[[Config, int, int], Modules],
    *,
    joined: Callable[[int], int] = lambda width: 4 * width,
) -> Iterator[Module]:
    """All stages, below `encoder.layers`. Args: joined: width of the norm where four patches become one."""
    own, each = c.size("embed_dim"), stages(c)
    for number, (depth, heads) in enumerate(each):
        stage = [*numbered_layers("blocks", depth, blocks(c, own, heads))]
        if number + 1 < len(each):
            stage.append(linear("downsample.reduction", 2 * own, 4 * own, bias=False))
            stage.append(norm("downsample.norm", joined(own)))
        level = f"layers.{number}"
        yield from under("encoder", under(level, stage, tf=(level,)))
        own *= 2


def patches(c: Config) -> Iterator[Module]:
    """The projection of patches, and the norm after it."""
    own, patch = c.size("embed_dim"), c.extent("patch_size")
    yield conv2d("embeddings.patch_embeddings.projection", own, c.size("num_channels"), *patch)
    yield norm("embeddings.norm", own)


def swin_stack(c: Config) -> Iterator[Module]:
    """`DonutSwinModel`, and `SwinModel` without its last norm. Raises SourceError: positions that no class adds."""
    if c.flag("use_absolute_embeddings"):
        raise SourceError(
            f"{c.where}: 'use_absolute_embeddings' is true: PyTorch's class makes one position too many for its"
            " patches, and fails when it adds them."
        )
    yield from patches(c)
    yield from layered(c, block)


SWIN_DEFAULTS: Mapping[str, Json] = {
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": 7,
    "mlp_ratio": 4.0,
    "hidden_act": "gelu",
    "image_size": 224,
    "patch_size": 4,
    "num_channels": 3,
    "qkv_bias": True,
}
