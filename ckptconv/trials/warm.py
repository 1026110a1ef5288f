"""`python -m ckptconv.trials.warm`: the command line without its start-up, in a fork for each run.

Reads one request a line and answers in one line, both JSON:

    {"args": ["split", "a", "b"], "strace": ["-e", ...]}        under strace, which injects what it is told
    {"args": ["split", "a", "b"], "shim": {...}}                with `shim.py` between Python and the system
    {"args": [...], "exchanges": false}                         where directories cannot be exchanged in one step
    {"code": 0, "said": "..."}                                  exit code as `subprocess` has it; stdout and stderr

A run here is what `python -m ckptconv` does, in a process of its own; only the imports are done before the fork.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import IO, Any, NoReturn

from ckptconv.trials import shim

FRAMEWORKS = ("torch", "tensorflow", "jax", "transformers", "onnx", "onnxruntime")
"""Four seconds of the processor, and memory that every fork would copy its tables of."""
SECONDS = 60
"""A run that takes longer hangs; it takes a tenth of a second."""
SHOWN = 2000
PR_SET_PTRACER, ANY_PROCESS = 0x59616D61, -1


class _Unavailable(Exception):
    """strace cannot look into another process here."""


def _become(
    args: Sequence[str], start: int, output: int, spec: dict[str, Any] | None, exchanges: bool
) -> NoReturn:
    """Be a run of the command line: wait for the word, run, end.

    Args: exchanges: False makes the system one that cannot exchange two directories in one step, as NFS and FUSE.
    """
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # Where only parents may trace (Yama), strace, a sister, needs leave.
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(ANY_PROCESS), 0, 0, 0)
    os.read(start, 1)
    code: int | str | None = 1
    try:
        if spec is not None:
            shim.install(spec)
        if not exchanges:
            publishing: Any = import_module("ckptconv.transfer.publish.lock")
            publishing.renameat2 = lambda *_: False
        sys.argv = ["ckptconv", *args]
        runpy.run_module("ckptconv", run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException as error:  # the interpreter would show it and end with 1
        sys.excepthook(type(error), error, error.__traceback__)
    try:
        sys.stdout.flush()
    except OSError:
        code = code or 120  # what the interpreter itself ends with
    os._exit(code if isinstance(code, int) else int(code is not None))


def _attach(pid: int, options: Sequence[str]) -> subprocess.Popen[str]:
    """Start strace on a waiting process; return when it holds it."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", str(pid), *options], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if "attached" not in line:
        tracer.wait()
        raise _Unavailable(line.strip())
    return tracer


def _wait(pid: int) -> None:
    """Wait for the end of a process; kill it where it hangs."""
    pidfd = os.pidfd_open(pid)
    if not select.select([pidfd], [], [], SECONDS)[0]:
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)


def _run(request: dict[str, Any], output: IO[bytes]) -> int:
    """Run one request in a fork, and return how it ended."""
    start, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        _become(
            request["args"],
            start,
            output.fileno(),
            request.get("shim"),
            request.get("exchanges", True),
        )
    os.close(start)
    tracer = None
    try:
        if "strace" in request:
            tracer = _attach(pid, request["strace"])
        os.write(go, b"!")
        _wait(pid)
    except _Unavailable:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(go)
        _, status = os.waitpid(pid, 0)
        if tracer:
            tracer.communicate()
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    """Answer requests until there are none."""
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as output:
            try:
                code = _run(request, output)
            except (_Unavailable, OSError) as error:
                answer: dict[str, Any] = {"unavailable": str(error)}
            else:
                output.seek(0)
                answer = {"code": code, "said": output.read()[-SHOWN:].decode(errors="replace")}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _warm() -> None:
    """Import what runs import, so that no fork has to; no run computes outputs, so the frameworks stay away."""
    sys.modules |= dict.fromkeys(FRAMEWORKS)  # type: ignore[arg-type]  # None: an import of it fails
    for module in walk_packages([str(Path(__file__).parents[1])], "ckptconv."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):  # of a framework, or of an extra that is not installed
                import_module(module.name)
    for name in FRAMEWORKS:
        del sys.modules[name]
    import_module("h5py")


if __name__ == "__main__":
    _warm()
    main()
