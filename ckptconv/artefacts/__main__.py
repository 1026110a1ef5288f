"""The child process: `python -P -m ckptconv.artefacts FOLDER` reads a job there, and leaves its answer there.

    job.json      checkpoint (the stage: config, weights, tokenizer), model_class, format, max_length, beams, options
    answer.json   record, notices; or `refused`: why this model cannot be exported; `unwritable`: why the programs
                  cannot be written; `failed`: what a library or this program raised

The programs are written into the stage. Exit code 0: done. 3: refused. Anything else: it failed, and said why.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

REFUSED = 3
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What the system says where a disk takes no more."""
PACKAGE = str(Path(__file__).resolve().parents[1])


def _die_with_the_parent() -> None:
    """End this process when the parent's end of stdin closes, however the parent came to its end."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _line(error: Exception) -> str:
    """Return the kind and the first line of an error, and where in this package it came up."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if PACKAGE in frame.filename]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {lines[0] if lines else ''}{place}"


def main(folder: Path) -> int:
    """Do one job; return the exit code."""
    from ckptconv.artefacts.exporting import ExportRefused, exported

    job: dict[str, Any] = json.loads((folder / "job.json").read_text())
    try:
        answer = exported(job)
    except ExportRefused as refusal:
        (folder / "answer.json").write_text(json.dumps({"refused": str(refusal)}))
        return REFUSED
    except Exception as error:
        traceback.print_exc()
        kind = "unwritable" if isinstance(error, OSError) and error.errno in FULL else "failed"
        (folder / "answer.json").write_text(json.dumps({kind: _line(error)}))
        return 1
    (folder / "answer.json").write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    _die_with_the_parent()
    status = main(Path(sys.argv[1]))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
