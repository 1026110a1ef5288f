"""The parent's side of `hdf5_child.py`: one process for all files of a run, started when the first is read."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import IO, Any

from ckptconv.base.errors import SourceError
from ckptconv.base.files import real_path
from ckptconv.base.limits import limits, more

SCRIPT = Path(__file__).with_name("hdf5_child.py")
HEAD_BYTES = 12
"""Wait status and length of an answer."""
NONSENSE = "the process that reads HDF5 answered something else than places; do not use this file"
"""Only a file that took the process over can make it do so."""
START_SECONDS = 30
"""More than a start and an import of h5py take on any machine, beside what the limits give."""
KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "TMPDIR")
ENVIRONMENT = {
    "HDF5_PLUGIN_PRELOAD": "::",  # no filter is loaded from a file
    "HDF5_USE_FILE_LOCKING": "FALSE",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class Died(Exception):
    """The process ended, or had to be ended, before it answered."""


@dataclass(slots=True)
class _Server:
    """The running process, if there is one."""

    process: subprocess.Popen[bytes] | None = None
    owner: int = 0
    """Who started it: a fork of this process must not answer for it, nor end it."""
    lock: Lock = field(default_factory=Lock)
    """One question at a time."""

    def start(self) -> subprocess.Popen[bytes]:
        """Return the process, a new one where there is none, or the last one ended, or it is another's."""
        if self.process is None or self.owner != os.getpid() or self.process.poll() is not None:
            self.stop()
            self.owner = os.getpid()
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SCRIPT), *_homes()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={key: os.environ[key] for key in KEPT if key in os.environ} | ENVIRONMENT,
                process_group=0,
            )
        return self.process

    def stop(self) -> None:
        """End the process and whatever it forked, and reap it."""
        process, self.process = self.process, None
        if process is None:
            return
        if self.owner != os.getpid():
            process.returncode = (
                0  # so that Python does not look for it as for a child of this process
            )
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


_SERVER = _Server()
atexit.register(_SERVER.stop)


def _homes() -> list[str]:
    """Return the folders that hold h5py and numpy; the child has no other path, and no `site`."""
    specs = (find_spec(name) for name in ("h5py", "numpy"))
    return list(
        dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin)
    )


def start() -> None:
    """Start the process ahead of its first file, so that its import runs beside other work."""
    _SERVER.start()


def ask(path: Path) -> dict[str, Any]:
    """Return what the child says of a file: `file` and `tensors`, or `refused`.

    Raises: SourceError: it died, took too long or too much memory, or answered something else.
    """
    now = limits()
    request = {
        "path": os.fsdecode(real_path(path)),
        "bytes": now.hdf5_bytes,
        "seconds": now.hdf5_seconds,
        "tensors": now.tensors,
        "text": now.header_bytes,
    }
    try:
        with _SERVER.lock:
            status, answer = _exchange(_SERVER.start(), json.dumps(request).encode() + b"\n")
    except (Died, OSError) as error:
        _SERVER.stop()
        raise SourceError(
            f"{path}: the process that reads HDF5 stopped ({error}); the file may be damaged"
        ) from None
    except (
        BaseException
    ):  # a signal in the midst of an answer: the next one would be taken for the rest of this
        _SERVER.stop()
        raise
    if status:
        raise SourceError(
            f"{path}: the HDF5 library failed on it ({_death(status)}).\nFetch or save it once more."
        )
    try:
        reply = json.loads(answer)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        raise SourceError(f"{path}: {NONSENSE}")
    return reply


def _exchange(process: subprocess.Popen[bytes], request: bytes) -> tuple[int, bytes]:
    """Send a request; return the fork's wait status and its answer. Raises Died, OSError."""
    assert process.stdin
    assert process.stdout
    until = time.monotonic() + START_SECONDS + limits().hdf5_seconds
    process.stdin.write(request)
    process.stdin.flush()
    head = _receive(process.stdout, HEAD_BYTES, until)
    return int.from_bytes(head[:4], "big"), _receive(
        process.stdout, int.from_bytes(head[4:], "big"), until
    )


def _receive(pipe: IO[bytes], nbytes: int, until: float) -> bytes:
    """Return exactly `nbytes` bytes. Raises Died: the pipe ends, or the time does."""
    parts = []
    while nbytes:
        if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            raise Died(f"no answer in time; {more('hdf5_seconds')}")
        part = os.read(pipe.fileno(), min(nbytes, 1 << 20))
        if not part:
            raise Died("it ended")
        parts.append(part)
        nbytes -= len(part)
    return b"".join(parts)


def _death(status: int) -> str:
    """Say how a fork ended that gave no answer."""
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU:
        return f"more than {limits().hdf5_seconds} s of CPU time; {more('hdf5_seconds')}"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
