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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ckptconv.artefacts.__main__ import FULL, REFUSED, SCRATCH, why_full
from ckptconv.artefacts.formats import ArtefactFormat
from ckptconv.base.errors import DestinationError, FrameworkError, SourceError, system_reason
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


def run_export(
    job: Mapping[str, Json], source: Path, target: Path, timeout: float | None = None
) -> dict[str, Any]:
    """Let a child do a job; see `ckptconv.artefacts.__main__`. What its libraries leave lies in a folder that goes.

    Args: source, target: the checkpoint and the artefact, for messages.
    Raises: SourceError: the model cannot be exported. DestinationError: a disk is full. FrameworkError: a library
    failed, the child died, or it took longer than `timeout` [s].
    """
    with _scratch() as folder:
        (folder / "job.json").write_text(json.dumps(job))
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                module_command("ckptconv.artefacts", str(folder)),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=with_own_path({**os.environ, **ENVIRONMENT, "TMPDIR": str(folder)}),
                start_new_session=True,
            )
        try:
            code = _wait(process, timeout)
        finally:
            _end(process)
        return _answer(folder, code, (source, target), timeout)


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder for a child, and remove it. Raises DestinationError: the temporary directory is full."""
    try:
        with tempfile.TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True) as name:
            yield Path(name)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _full(Path(tempfile.gettempdir()), system_reason(error)) from None


def _full(place: Path, why: str) -> DestinationError:
    """Return the error of a temporary directory that takes no more."""
    return DestinationError(
        f"{place}: the temporary directory takes no more ({why}); nothing was written.\n"
        "Free some of it, or set TMPDIR to a directory with more room."
    )


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


def _answer(
    folder: Path, code: int | None, ends: tuple[Path, Path], timeout: float | None
) -> dict[str, Any]:
    source, target = ends
    if code is None:
        raise FrameworkError(f"export: not finished within {timeout:g} s; nothing was written.")
    try:
        answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    except (OSError, ValueError):
        answer = {}
    if code == REFUSED and "refused" in answer:
        raise SourceError(f"{source}: cannot be exported: {answer['refused']}")
    if "unwritable" in answer:
        if answer["temporary"]:
            raise _full(folder.parent, answer["unwritable"])
        raise DestinationError(
            f"{target}: the disk takes no more ({answer['unwritable']}); nothing was written."
        )
    if "failed" in answer:
        raise FrameworkError(
            f"{source}: the export failed; nothing was written.\n{answer['failed']}"
        )
    if code != 0 or "record" not in answer:
        output = (folder / "output").read_text(errors="replace")
        if why := why_full(output):  # so that no answer could be written either
            raise _full(folder.parent, why)
        raise FrameworkError(_reason(output, code, source))
    return answer


def _reason(text: str, code: int, source: Path) -> str:
    """Say in one line why a child failed, and show the end of its output."""
    lines = [line for line in text.splitlines() if line.strip()]
    tail = "".join(f"\n  {line[:400]}" for line in lines[-TAIL_LINES:])
    shown = f"\nThe end of its output:{tail}" if tail else ""
    return f"{source}: the export failed ({ending(code)}); nothing was written{shown}"
