"""`python -m ckptconv`, and the script of that name: the command line, imported where it may fail."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

INTERNAL_ERROR = 70
"""Exit code; see `base/errors.py`, which may be what cannot be imported."""
INTERRUPTED = 130
"""Exit code; so is this one."""

GARBAGE_OBJECTS = 200_000
"""New objects between two searches for cycles, which are rare here: Python's own 700 take a tenth of a start."""


def main() -> NoReturn:
    """Run the command line."""
    # numpy's BLAS, which nothing here computes with, takes memory for each of its threads, and exits with 1 without it
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(GARBAGE_OBJECTS)
    atexit.register(
        gc.freeze
    )  # else Python looks for cycles when it ends, for a tenth of a short run
    try:
        from ckptconv.cli.main import main as run
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        text = (
            f"Error: ckptconv cannot be loaded: {type(error).__name__}: {ascii(str(error))[:300]}\n"
        )
        with suppress(OSError):
            os.write(2, text.encode())
        sys.exit(INTERNAL_ERROR)
    except KeyboardInterrupt:  # from here on `base/workers.py` takes signals
        with suppress(OSError):
            os.write(2, b"Error: interrupted\n")
        os._exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
