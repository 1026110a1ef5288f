"""Names of tensors in Keras's HDF5 files: a layer lists its weights, and some weights belong to several layers.

Source: transformers 4.57.6, modeling_tf_utils.py (`load_tf_weights_from_h5`): the class looks for the weights of a
layer in the list of that layer alone, by their names without the model's own level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ckptconv.base.errors import SourceError
from ckptconv.stores.parsers.files import FileReader
from ckptconv.stores.tensor import Stored

CROSS_ATTENTION = ("crossattention", "cross_attention", "crossattention_", "encoder_attn")
"""What the levels of a cross-attention are called in TF's classes."""
SIDES = ("encoder", "decoder", "enc_to_dec_proj")
"""Layers of the composite class."""
BLOCK_BYTES = 1 << 20
"""Compared at a time."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A weight as a layer lists it."""

    layer: str
    """Empty in a shard, which has no layers."""
    weight: str
    """As it is listed, with the model's own level before it."""
    stored: Stored
    """Under its name without that level."""

    @property
    def path(self) -> str:
        """Where it lies in the file."""
        return f"{self.layer}/{self.weight}" if self.layer else self.weight

    @property
    def top(self) -> str:
        """The first level of its name: the layer that it belongs to."""
        return self.stored.spec.name.split("/", 1)[0]


def by_name(
    listed: Sequence[Listed], file: FileReader
) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """Return each tensor once, under its name, and what a user should know of it.

    Raises: SourceError: one is listed where the class would not look for it, or two of one name differ.
    """
    notices: tuple[str, ...] = ()
    sides = _two_models(listed)
    if sides:
        listed = [_below(sides[weight.layer], weight) for weight in listed]
        names = ", ".join(f"{layer!a:.80} as the {side}" for layer, side in sides.items())
        notices = (f"{file.path.name}: two models that were built apart: {names}",)
    _require_in_place(listed, file)
    tensors: dict[str, Listed] = {}
    for weight in listed:
        name = weight.stored.spec.name
        first = tensors.setdefault(name, weight)
        if first is weight:
            continue
        if not _same(first.stored, weight.stored, file):
            raise SourceError(
                f"{file.path}: {first.path!a:.200} and {weight.path!a:.200} have one name, {name!a:.200},"
                " and different values.\nLoad it with its class and save it anew."
            )
        if weight.layer == weight.top:
            tensors[name] = weight
    return {name: weight.stored for name, weight in tensors.items()}, notices


def _two_models(listed: Sequence[Listed]) -> dict[str, str] | None:
    """Return layer -> side where a file holds two whole models as its layers, one of which reads an encoder.

    `TFEncoderDecoderModel(encoder=..., decoder=...)` saves two models that were built before so.
    """
    layers = list(dict.fromkeys(weight.layer for weight in listed))
    whole = all(weight.weight.startswith(f"{weight.layer}/") for weight in listed)
    if len(layers) != 2 or not whole or set(layers) & {*SIDES, ""}:
        return None
    readers = {weight.layer for weight in listed if _reads_encoder(weight.weight)}
    if len(readers) != 1:
        return None
    return {layer: "decoder" if layer in readers else "encoder" for layer in layers}


def _reads_encoder(name: str) -> bool:
    return any(level in CROSS_ATTENTION for level in name.split("/"))


def _below(side: str, weight: Listed) -> Listed:
    """Return a weight of a model that was built apart under its name in the composite class."""
    spec = weight.stored.spec
    return replace(weight, stored=replace(weight.stored, spec=spec.renamed(f"{side}/{spec.name}")))


def _require_in_place(listed: Sequence[Listed], file: FileReader) -> None:
    """Refuse a weight that stands only in the list of another layer: the class would leave its own as it was drawn.

    A layer none of whose weights has its name is a whole model inside another one, and lists what it likes.
    """
    own = {weight.layer for weight in listed if weight.layer == weight.top}
    layers = {*SIDES, *(weight.layer for weight in listed)}
    in_place = {weight.stored.spec.name for weight in listed if weight.layer == weight.top}
    strays = [
        weight
        for weight in listed
        if weight.layer in own
        and weight.layer != weight.top
        and weight.stored.spec.name not in in_place
        and weight.top in layers
    ]
    if strays:
        more = f" and {len(strays) - 1} more" if len(strays) > 1 else ""
        raise SourceError(
            f"{file.path}: {strays[0].stored.spec.name!a:.200}{more} in the list of layer"
            f" {strays[0].layer!a:.80}: TF's class looks for it in that of {strays[0].top!a:.80}, and would not"
            " load it.\nLoad the model that it was saved from, and save it anew."
        )


def _same(first: Stored, second: Stored, file: FileReader) -> bool:
    """Tell whether two tensors of a file are the same, byte for byte."""
    left, right = first.chunks[0], second.chunks[0]
    if (first.spec.dtype, first.spec.shape) != (second.spec.dtype, second.spec.shape):
        return False
    return all(
        file.read(left.offset + at, min(BLOCK_BYTES, left.nbytes - at))
        == file.read(right.offset + at, min(BLOCK_BYTES, left.nbytes - at))
        for at in range(0, left.nbytes, BLOCK_BYTES)
    )
