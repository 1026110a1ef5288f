"""What a file is, by its first bytes: for the message that says why it is not what its name promises."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.errors import SourceError

START_BYTES = 512
"""Enough to tell what a file is."""
FETCH = "The file is incomplete or damaged: fetch or save it once more."


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file."""

    name: str
    """As a message says it, with its article."""
    pattern: re.Pattern[bytes]
    """How it begins."""
    advice: str
    """What to do about it."""
    form: str = ""
    """The format of ckptconv that reads it."""


def _kind(name: str, pattern: bytes, advice: str, form: str = "") -> FileKind:
    return FileKind(name, re.compile(pattern, re.DOTALL), advice, form)


def _renamed(name: str) -> str:
    return f"If it holds the weights, rename it to {name}."


POINTER, HTML = "a Git LFS pointer", "a page of HTML"
"""What a clone without git-lfs, and a download that went wrong, leave in place of any file."""
KINDS = (
    _kind(
        POINTER,
        rb"version https://git-lfs",
        "Fetch the file that it points to: git lfs pull.",
    ),
    _kind(
        HTML,
        rb"(?i)\s*<(!doctype|html|head)",
        "The download went wrong: fetch the file itself.",
    ),
    _kind("XML", rb"\s*<\?xml", "The download went wrong: fetch the file itself."),
    _kind("safetensors", rb".{4}\0\0\0\0\{", _renamed("model.safetensors"), "safetensors"),
    _kind("an HDF5 file", rb"\x89HDF\r\n\x1a\n", _renamed("tf_model.h5"), "hdf5"),
    _kind(
        "the zip form of PyTorch (1.6 and later)",
        rb"PK\x03\x04.{26}[\w.-]{0,200}/(data\.pkl|version|byteorder)",
        _renamed("pytorch_model.bin"),
        "torch",
    ),
    _kind("a zip archive", rb"PK\x03\x04", "Unpack it, or fetch the weights themselves."),
    _kind(
        "the form of PyTorch before 1.6",
        rb"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
        _renamed("pytorch_model.bin"),
        "torch legacy",
    ),
    _kind("a pickle", rb"\x80[\x02-\x05]", "Save the weights with torch.save."),
    _kind("a GGUF file", rb"GGUF", "ckptconv does not read it; fetch the original weights."),
    _kind("a numpy array", rb"\x93NUMPY", "ckptconv does not read it."),
    _kind("a gzip archive", rb"\x1f\x8b", "Unpack it first."),
    _kind("a zstd archive", rb"\x28\xb5\x2f\xfd", "Unpack it first."),
    _kind("a tar file", rb".{257}ustar", "Unpack it first."),
    _kind("JSON", rb"\s*\{\s*[\"}]", "It holds no weights: fetch the file itself."),
)


def kind_of(start: bytes) -> FileKind | None:
    """Return what a file is that begins so; None: nothing that is known."""
    return next((kind for kind in KINDS if kind.pattern.match(start)), None)


def wrong_file(path: Path, expected: str, start: bytes, form: str = "") -> SourceError | None:
    """Return the error for a file that is plainly something else than its name says; None where nothing tells.

    Args: expected: what it should be. start: its first `START_BYTES` or fewer. form: the format that asks.
    """
    if not start:
        return SourceError(f"{path}: expected {expected}, found an empty file.\n{FETCH}")
    kind = kind_of(start)
    if kind is None or kind.form == form != "":
        return None
    return SourceError(f"{path}: expected {expected}, found {kind.name}.\n{kind.advice}")
