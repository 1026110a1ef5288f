"""A process for one attempt: started, waited for, and ended when nobody wants its answer any more.

It runs wherever this is called: on this machine, or on a worker of a cluster.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Any

from ckptconv.base.errors import one_line
from ckptconv.base.files import follows_links, limits
from ckptconv.base.processes import ending, module_command, with_own_path
from ckptconv.base.strict_json import Json
from ckptconv.batches.task import Outcome, Task

GRACE_SECONDS = 20.0
"""What an attempt that must end has for clearing up, before it is killed."""
TAIL_CHARACTERS = 500


def request_of(task: Task, record: Mapping[str, Json] | None) -> dict[str, Any]:
    """Return what an attempt is asked, under the limits that hold here."""
    return {
        "task": {**asdict(task), "options": dict(task.options)},
        "record": dict(record) if record else None,
        "limits": asdict(limits()),
        "follow_links": follows_links(),
    }


class Processes:
    """The attempts that run, so that all of them can be ended."""

    def __init__(self) -> None:
        self._lock, self._running, self._ended = Lock(), set[subprocess.Popen[bytes]](), False

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run one attempt, and return its outcome and evidence; a process that dies is an outcome too."""
        with TemporaryFile() as output, TemporaryFile() as errors:
            process = self._start(output, errors)
            if process is None:
                return died(request, "was not begun")
            try:
                assert process.stdin
                with suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(request).encode() + b"\n")
                    process.stdin.flush()
                code = process.wait()
            finally:
                self._reap(process)
            return _read(request, code, output, errors)

    def end(self) -> None:
        """Let every attempt clear up and end; begin no other."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            with suppress(OSError):
                os.kill(process.pid, signal.SIGTERM)
        for process in running:
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _start(self, output: IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._ended:
                return None
            process = subprocess.Popen(
                module_command("ckptconv.batches.attempt"),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                env=with_own_path(os.environ),
                start_new_session=True,
            )
            self._running.add(process)
        return process

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)
        if process.poll() is None:  # an exception came while it was waited for
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        if process.stdin:
            with suppress(OSError):
                process.stdin.close()


def run_attempt(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run one attempt: what a worker of a cluster is given to do."""
    return Processes().answer(request)


def _read(
    request: Mapping[str, Any], code: int, output: IO[bytes], errors: IO[bytes]
) -> dict[str, Any]:
    output.seek(0)
    lines = output.read().splitlines()
    if code == 0 and lines:
        with suppress(ValueError):
            answer: dict[str, Any] = json.loads(lines[-1])
            return answer
    errors.seek(0)
    tail = one_line(errors.read().decode(errors="replace").strip())[-TAIL_CHARACTERS:]
    return died(request, f"ended without an answer ({ending(code)}){': ' if tail else ''}{tail}")


def died(request: Mapping[str, Any], how: str) -> dict[str, Any]:
    """Return the answer for an attempt that gave none."""
    task = Task(**request["task"])
    return {
        "outcome": Outcome(task, "failed", 70, f"the process of this conversion {how}").to_json(),
        "evidence": {},
    }
