"""Memory that a process has freed, given back to the system."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Give back what is free between blocks that are in use; where the C library cannot, nothing happens.

    glibc keeps freed blocks to use them again. After a model was loaded or taken down, that may be as much as it holds.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
