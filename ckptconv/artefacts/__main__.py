"""The child process: `python -P -m ckptconv.artefacts FOLDER` reads a job there, and leaves its answer there.

    job.json      checkpoint (the stage: config, weights, tokenizer), model_class, format, max_length, beams, options
    answer.json   record, notices; or `refused`: why this model cannot be exported; `unwritable`: why a disk takes no
                  more, and `temporary`: whether it is this folder's and not the stage's; `failed`: what a library or
                  this program raised

The programs are written into the stage. Exit code 0: done. 3: refused. Anything else: it failed, and said why.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

REFUSED = 3
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What the system says where a disk takes no more."""
SCRATCH = "ckptconv-"
"""How the name of a job's folder begins; nothing else is ever removed."""
PACKAGE = str(Path(__file__).resolve().parents[1])


def _die_with_the_parent(folder: Path) -> None:
    """End this process when the parent's end of stdin closes, and remove the folder that the parent cannot remove."""

    def watch() -> None:
        os.read(0, 1)
        if folder.name.startswith(SCRATCH):
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _line(error: Exception) -> str:
    """Return the kind and the first line of an error, and where in this package it came up."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if PACKAGE in frame.filename]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {lines[0] if lines else ''}{place}"


def why_full(text: str) -> str:
    """Return what the system says of a full disk, where a library passes it on; empty of any other error."""
    return next((why for why in map(os.strerror, FULL) if why in text), "")


def unwritable(why: str, text: str, stage: Path, folder: Path) -> dict[str, Any]:
    """Say which of two disks takes no more: the one that the error names, or else the one with less room."""
    named = [str(place) in text for place in (folder, stage)]
    rooms = [shutil.disk_usage(place).free for place in (folder, stage)]
    is_temporary = named[0] if named[0] != named[1] else rooms[0] < rooms[1]
    return {"unwritable": why, "temporary": is_temporary}


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
        why = why_full(str(error))
        stage = Path(job["checkpoint"])
        failure = unwritable(why, str(error), stage, folder) if why else {}
        (folder / "answer.json").write_text(json.dumps(failure or {"failed": _line(error)}))
        return 1
    (folder / "answer.json").write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    _die_with_the_parent(Path(sys.argv[1]))
    status = main(Path(sys.argv[1]))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
