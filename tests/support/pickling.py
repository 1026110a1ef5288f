"""Pickles written by hand, opcode by opcode, and what interprets them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from ckptconv.base.files import FileReader
from ckptconv.stores.parsers.pickle_machine import load
from ckptconv.stores.parsers.stream import Stream
from ckptconv.stores.parsers.torch_pickle import NAMES, Storages

START = b"\x80\x02"
Load = Callable[[bytes], object]


def text(value: str | bytes) -> bytes:
    """Return the opcode that pushes a string."""
    raw = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def interpreter(tmp_path: Path) -> Load:
    """Return a function that interprets bytes as the only content of a file."""
    path = tmp_path / "pickle"

    def run(data: bytes) -> object:
        path.write_bytes(data)
        with FileReader(path) as file:
            return load(Stream(file, 0, file.size), NAMES, Storages(legacy=False))

    return run
