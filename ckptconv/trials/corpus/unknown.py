"""Directories that are no checkpoint of ours: other formats, and no weights at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ckptconv.trials.case import MalformedCase
from ckptconv.trials.corpus._model import CONFIG


def _holding(files: Mapping[str, bytes], *, config: bool = True) -> Callable[[Path], None]:
    """Return what builds a directory of files, with the sound model's config or without one."""

    def build(folder: Path) -> None:
        if config:
            (folder / "config.json").write_text(json.dumps(CONFIG))
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    return build


_NO_WEIGHTS = "no weights here"
_NO_CONFIG = "no config.json here, so this is no checkpoint"
_SAVED = {
    "saved_model.pb": b"\x08\x01\x12\x00",
    "variables/variables.index": b"",
    "variables/variables.data-00000-of-00001": b"",
}
# name, what a reader that does not look would do, what the refusal says, the files
_TABLE: tuple[tuple[str, str, str, Callable[[Path], None]], ...] = (
    ("nothing", "an empty model", _NO_CONFIG, _holding({}, config=False)),
    ("config-alone", "an empty model", _NO_WEIGHTS, _holding({})),
    ("saved-model", "a graph that runs code", _NO_WEIGHTS, _holding(_SAVED)),
    (
        "saved-model-without-config",
        "a graph that runs code",
        _NO_CONFIG,
        _holding(_SAVED, config=False),
    ),
    ("keras", "layers that run code", _NO_WEIGHTS, _holding({"model.keras": b"PK\3\4"})),
    (
        "keras-weights",
        "names of another form",
        _NO_WEIGHTS,
        _holding({"model.weights.h5": b"\x89HDF\r\n\x1a\n"}),
    ),
    (
        "tf-checkpoint",
        "names of another form",
        _NO_WEIGHTS,
        _holding({"checkpoint": b"model", "model.ckpt.index": b""}),
    ),
    (
        "orbax",
        "names of another form",
        _NO_WEIGHTS,
        _holding({"_METADATA": b"{}", "d/manifest": b"{}"}),
    ),
    ("onnx", "a graph of another form", _NO_WEIGHTS, _holding({"model.onnx": b"\x08\x07"})),
    ("gguf", "names of another form", _NO_WEIGHTS, _holding({"model.gguf": b"GGUF\3\0\0\0"})),
    (
        "numpy",
        "objects that run code",
        _NO_WEIGHTS,
        _holding({"weights.npz": b"PK\3\4", "weights.npy": b"\x93NUMPY"}),
    ),
    (
        "pickle",
        "a form that runs code",
        _NO_WEIGHTS,
        _holding({"model.pkl": b"\x80\2cos\nsystem\n."}),
    ),
    (
        "code-alone",
        "code that is imported",
        _NO_WEIGHTS,
        _holding({"modeling_evil.py": b"raise SystemExit(9)"}),
    ),
)

CASES = tuple(
    MalformedCase(f"unknown-{name}", threat, build, says) for name, threat, says, build in _TABLE
)
