"""A process whose stdout and stderr are terminals of a given width, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a process wrote to two terminals, as bytes turned to text; lines end as terminals end them."""

    code: int
    out: str
    err: str


def on_terminal(*args: str, columns: int = 80, env: Mapping[str, str] | None = None) -> Shown:
    """Run Python with some arguments on terminals that are `columns` wide."""
    pairs = [pty.openpty() for _ in range(2)]
    for _, its in pairs:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {
        key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")
    }
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", "PYTHONUTF8": "1", **(env or {})}
    shown = ["", ""]

    def read(number: int) -> None:
        pieces = []
        while piece := _piece(pairs[number][0]):
            pieces.append(piece)
        shown[number] = b"".join(pieces).decode().replace("\r\n", "\n")

    process = subprocess.Popen(
        [sys.executable, *args],
        stdin=subprocess.DEVNULL,
        stdout=pairs[0][1],
        stderr=pairs[1][1],
        env=environment,
    )
    for _, its in pairs:
        os.close(its)
    readers = [Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    code = process.wait(120)
    for reader, (ours, _) in zip(readers, pairs, strict=True):
        reader.join()
        os.close(ours)
    return Shown(code, *shown)


def _piece(terminal: int) -> bytes:
    """Read once; a terminal whose other side is closed answers with an error on Linux."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
