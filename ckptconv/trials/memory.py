"""How much memory this process took at its highest, since it was last asked to forget.

`ru_maxrss` will not do: a child begins with its parent's, and nothing sets it back. Linux keeps one that
can be set back; elsewhere `ru_maxrss` is an upper bound. What was freed counts too until the allocator gives it
back, so that it is asked to before the next measurement.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import resource
from contextlib import suppress
from types import TracebackType

_HIGHEST = re.compile(rb"VmHWM:\s*([0-9]+) kB")


def give_back() -> None:
    """Free what nothing refers to any more, and hand what is free to the system, where its C library can.

    An error and the frames that it passed refer to each other: only the collector frees what they hold.
    """
    gc.collect()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Peak:
    """Peak of the resident memory; a context manager. Reading it opens no file, so that a `Watch` may look on."""

    def __init__(self) -> None:
        self._status = self._reset = -1
        with suppress(OSError):
            self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
            self._reset = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)

    def __enter__(self) -> Peak:
        self.forget()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for fd in (self._status, self._reset):
            if fd >= 0:
                os.close(fd)

    def forget(self) -> None:
        """Begin anew with what is in use now, where the system can."""
        if self._reset >= 0:
            with suppress(OSError):
                os.pwrite(self._reset, b"5", 0)

    @property
    def nbytes(self) -> int:
        """The peak [bytes]."""
        match = _HIGHEST.search(os.pread(self._status, 8192, 0)) if self._status >= 0 else None
        kilobytes = int(match[1]) if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kilobytes * 1024
