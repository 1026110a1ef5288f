"""Runs of a batch that are killed, and what must hold after each."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import ckptconv

Start: TypeAlias = Callable[..., "subprocess.Popen[bytes]"]
MakeModels: TypeAlias = Callable[[int], Path]
KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT)


def require_whole(folder: Path) -> int:
    """Require that every output is whole, and return how many there are; nothing else may lie there but stages."""
    outputs = sorted(folder.glob("[!.]*")) if folder.exists() else []
    assert [path for path in outputs if not ckptconv.check(path).whole] == []
    return len(outputs)


def killed_again_and_again(
    start: Start,
    arguments: tuple[object, ...],
    folder: Path,
    longest: float,
    seed: int,
    most: int = 8,
) -> int:
    """Kill runs at random points until one comes to its end or `most` were killed; return how many were.

    After each the outputs are whole, and every record is of a target that matches its source.
    """
    moments = random.Random(seed)
    for count in range(most):
        process = start(*arguments)
        try:
            process.communicate(timeout=moments.uniform(0.6, longest))
            return count
        except subprocess.TimeoutExpired:
            process.send_signal(KILLS[count % len(KILLS)])
            process.communicate()
        require_whole(folder / "out")
        require_true_records(folder)
    return most


def require_true_records(folder: Path) -> None:
    """Require that what the records call proven is."""
    for path in sorted((folder / "plan.batch").glob("*.json"))[:5]:
        task = json.loads(path.read_text())["outcome"]["task"]
        assert ckptconv.verify(folder / task["source"], folder / task["target"], "weights").matches


def finished(start: Start, *arguments: object) -> tuple[int, dict[str, Any], float]:
    """Run to the end; return exit code, report and seconds."""
    started = time.monotonic()
    process = start(*arguments, "--json")
    out, err = process.communicate(timeout=600)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, json.loads(out), time.monotonic() - started
