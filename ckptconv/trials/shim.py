"""Faults between Python and the system, where there is no strace: the nth call of a function fails or kills.

It reaches what Python calls by name, and so neither what the HDF5 library writes by itself nor a rename
through ctypes, for which `lock.renameat2` stands.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ckptconv.transfer.publish import lock

CALLS: dict[str, tuple[ModuleType, ...]] = {
    **dict.fromkeys(
        (
            "write",
            "pwrite",
            "fsync",
            "truncate",
            "ftruncate",
            "sendfile",
            "mkdir",
            "rename",
            "unlink",
            "rmdir",
        ),
        (os,),
    ),
    "open": (io, builtins),
    "renameat2": (lock,),
}
"""Function -> where callers find it. Of `open` only calls that write count."""
OPEN, WRITE, CLOSE = os.open, os.write, os.close
"""The real ones, for the shim's own use."""


class _Shim:
    """Counts calls, and lets one of them fail: the nth, or all from then on."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def strike(self, name: str) -> None:
        """Count a call; raise OSError or send the signal where it is the one."""
        with self._lock:
            self._counts[name] += 1
            count = self._counts[name]
            if "counts" in self._spec:
                _note(Path(self._spec["counts"]), dict(self._counts))
        if name != self._spec.get("call") or not self._due(count):
            return
        fault = self._spec["fault"]
        if fault.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[fault])
        else:
            code = getattr(errno, fault)
            raise OSError(code, os.strerror(code))

    def _due(self, count: int) -> bool:
        nth: int = self._spec["when"]
        return count >= nth if self._spec["onwards"] else count == nth


def _note(path: Path, counts: dict[str, int]) -> None:
    """Write counts by a way that is not itself counted."""
    fd = OPEN(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    WRITE(fd, json.dumps(counts).encode())
    CLOSE(fd)


def install(spec: dict[str, Any]) -> None:
    """Wrap the functions of this process.

    Args: spec: `{"counts": path}` counts only; `{"call", "when", "fault", "onwards"}` says what shall happen.
    """
    shim = _Shim(spec)
    for name, places in CALLS.items():
        real = getattr(places[0], name)
        for place in places:
            setattr(place, name, _wrapped(shim, name, real))


def _wrapped(shim: _Shim, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        mode = options.get("mode", args[1] if len(args) > 1 else "r")
        if name != "open" or set(str(mode)) & set("wxa+"):
            shim.strike(name)
        return real(*args, **options)

    return call
