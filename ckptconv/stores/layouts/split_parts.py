"""What `ckptconv split` writes: the whole's config, and a directory with each part, read as one model again.

OUT/config.json, OUT/encoder, OUT/decoder, and OUT/bridge where the two differ in width; each part in
transformers' own layout, under the names that it has in the whole but for the part's own level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.presence import is_file
from ckptconv.base.strict_json import read_json
from ckptconv.schema.config import Config
from ckptconv.stores.companions import part_config
from ckptconv.stores.layouts import Layout, Weights, huggingface
from ckptconv.stores.tensor import Stored

COMPOSITE = "encoder-decoder"
LEVELS: Mapping[str, str] = {
    "encoder": "encoder.",
    "decoder": "decoder.",
    "bridge": "enc_to_dec_proj.",
}
"""Folder of a part -> what its names begin with in the whole."""
REQUIRED = ("encoder", "decoder")


def read(folder: Path) -> Iterator[Weights]:
    """Open the parts as one model; nothing where the directory is of another layout. See `Layout.read`."""
    config = folder / "config.json"
    if not all(is_file(folder / part / "config.json") for part in REQUIRED):
        return
    whole = Config(read_json(config), str(config)) if is_file(config) else None
    if whole is None or whole.get("model_type") != COMPOSITE:
        return
    parts = {
        part: _pytorch(folder / part) for part in LEVELS if is_file(folder / part / "config.json")
    }
    if not all(parts.get(part) for part in REQUIRED):
        return
    for part in REQUIRED:
        _require_same_config(whole, part, folder / part)
    yield _joined({part: weights for part, weights in parts.items() if weights})


def _pytorch(folder: Path) -> Weights | None:
    """Return PyTorch's weights of a part, if there are some."""
    candidates = [weights for weights in huggingface.read(folder) if weights.naming == "pytorch"]
    return min(candidates, key=huggingface.preference, default=None)


def _require_same_config(whole: Config, part: str, folder: Path) -> None:
    """Refuse a part whose own config is not what the whole says of it. Raises SourceError."""
    expected = part_config(whole, part, "")
    stored = read_json(folder / "config.json")
    differing = sorted(
        key
        for key in expected.keys() | stored.keys()
        if key != "architectures" and expected.get(key) != stored.get(key)
    )
    if differing:
        raise SourceError(
            f"{folder / 'config.json'}: differs from {part!r} in {whole.where} ({', '.join(differing[:5])}).\n"
            "`ckptconv join ENCODER DECODER OUT` makes a new model of two parts."
        )


def _joined(parts: Mapping[str, Weights]) -> Weights:
    """Return the parts' tensors under their names in the whole."""
    tensors: dict[str, Stored] = {}
    for part, weights in parts.items():
        for name, stored in weights.tensors.items():
            whole = LEVELS[part] + name
            tensors[whole] = replace(stored, spec=stored.spec.renamed(whole))
    return Weights(
        parts["encoder"].format,
        "pytorch",
        tuple(file for weights in parts.values() for file in weights.files),
        tensors,
        indexes=tuple(index for weights in parts.values() for index in weights.indexes),
        layout=LAYOUT.name,
        notices=(f"read from the parts: {', '.join(parts)}",),
    )


LAYOUT = Layout(
    "split",
    read,
    rank=1,
    marks=tuple(f"{part}/config.json" for part in REQUIRED),
    folders=tuple(LEVELS),
)
