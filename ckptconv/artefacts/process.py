"""The parent's side of `python -m ckptconv.artefacts`: start the child, wait, read its answer, reap it.

Tracing needs PyTorch, which this process never imports. The child lives in its own process group and watches its stdin,
so that it does not outlive this one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ckptconv.artefacts.__main__ import REFUSED
from ckptconv.artefacts.formats import ArtefactFormat
from ckptconv.base.errors import DestinationError, FrameworkError, SourceError
from ckptconv.base.processes import ending, module_command, with_own_path
from ckptconv.base.strict_json import Json

TORCH = "2.13"
"""The line of PyTorch that was tested: `torch.export` and `while_loop` are young, and change."""
TAIL_LINES = 15
POLL_SECONDS = 0.05
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "USE_TORCH": "1",
    "USE_TF": "0",
    "USE_FLAX": "0",
    "TORCH_LOGS": "-all",
}


def require_libraries(form: ArtefactFormat, options: Mapping[str, Json]) -> None:
    """Refuse before any work what cannot be written here.

    Raises: FrameworkError: a library is missing, or PyTorch is of a version that was not tried.
    """
    wanted = (module for option, module in form.option_modules.items() if options.get(option))
    for module in (*form.modules, *wanted):
        if find_spec(module) is None:
            raise FrameworkError(
                f"--format {form.name} needs {module}, which is not installed here.\n"
                f"Install it with: pip install 'ckptconv[{form.extra}]'"
            )
    version = metadata.version("torch")
    if not f"{version}.".startswith(f"{TORCH}."):
        raise FrameworkError(
            f"export is tested with torch {TORCH}; installed is {version}.\n"
            f"Install it with: pip install 'torch=={TORCH}.*'"
        )


def run_export(job: Mapping[str, Json], what: str, timeout: float | None = None) -> dict[str, Any]:
    """Let a child do a job; see `ckptconv.artefacts.__main__`.

    Args: what: the checkpoint, for messages.
    Raises: SourceError: the model cannot be exported. DestinationError: the disk is full. FrameworkError: a library
    failed, the child died, or it took longer than `timeout` [s].
    """
    with tempfile.TemporaryDirectory(prefix="ckptconv-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                module_command("ckptconv.artefacts", str(folder)),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=with_own_path({**os.environ, **ENVIRONMENT}),
                start_new_session=True,
            )
        try:
            code = _wait(process, timeout)
        finally:
            _end(process)
        return _answer(folder, code, what, timeout)


def _wait(process: subprocess.Popen[bytes], timeout: float | None) -> int | None:
    """Return the exit code; None where it took too long."""
    begun = time.monotonic()
    while (code := process.poll()) is None:
        if timeout is not None and time.monotonic() > begun + timeout:
            return None
        time.sleep(POLL_SECONDS)
    return code


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what still runs, and reap it."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdin:
        process.stdin.close()


def _answer(folder: Path, code: int | None, what: str, timeout: float | None) -> dict[str, Any]:
    if code is None:
        raise FrameworkError(f"export: not finished within {timeout:g} s; nothing was written.")
    try:
        answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    except (OSError, ValueError):
        answer = {}
    if code == REFUSED and "refused" in answer:
        raise SourceError(f"{what}: cannot be exported: {answer['refused']}")
    if "unwritable" in answer:
        raise DestinationError(f"{what}: its programs cannot be written: {answer['unwritable']}")
    if "failed" in answer:
        raise FrameworkError(f"{what}: the export failed; nothing was written.\n{answer['failed']}")
    if code != 0 or "record" not in answer:
        raise FrameworkError(_reason(folder, code, what))
    return answer


def _reason(folder: Path, code: int, what: str) -> str:
    """Say in one line why a child failed, and show the end of its output."""
    text = (folder / "output").read_text(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    tail = "".join(f"\n  {line[:400]}" for line in lines[-TAIL_LINES:])
    shown = f"\nThe end of its output:{tail}" if tail else ""
    return f"{what}: the export failed ({ending(code)}); nothing was written{shown}"
