"""Children that begin before anybody knows what they will be asked: while checkpoints are opened and compared.

To import a framework takes seconds, and the names of the files say which one a side needs. So its process begins as
soon as there are two directories, and waits. What guessed wrong, or is not needed, is ended. Imports little: a command
starts children before it imports what it does meanwhile.

The command itself takes a core meanwhile. Beside TF's or Flax's child, PyTorch's has the least to import and to run:
where no core is left for it, it begins when the checkpoints are compared, and still answers first.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from weakref import finalize

from ckptconv.base.processes import module_command, with_own_path
from ckptconv.base.weight_names import FILE_NAMES
from ckptconv.base.workers import core_count

SMALL_BYTES = 50_000_000
"""A checkpoint below this gets one thread, and does not wait for its turn."""
DEFAULTS = {
    "JAX_PLATFORMS": "cpu",
    # glibc keeps freed blocks, large ones too, to use them again. What it does not keep comes anew from the system,
    # page by page: 7.2 million page faults for a bert-base pair, not 1.6 million. And it keeps one pool for all
    # threads: with a pool a thread the gaps that attention maps leave add up, to 7.1 GB, not 3.8.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    # PyTorch's threads sleep while they wait for each other. They spin else, on cores that others need: on two cores
    # under a load of 17, two searches by a bert-base pair took 44.6 s of processor time so, and take 5.2 s.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""What a user's own environment may change."""
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "warning",
    "TOKENIZERS_PARALLELISM": "false",
}
FORMS = {"pytorch": ("safetensors", "torch"), "tf": ("hdf5",), "flax": ("msgpack",)}
"""Runner of a class -> formats of its weights; a safetensors file may be another's, seldom."""
CONFIG, ARTEFACT = "config.json", "artefact.json"


class Scratch:
    """A temporary directory that lasts as long as something holds it.

    It is made for the first child in it, and not before: of a parent that was killed, a child removes the one it is in.
    """

    @cached_property
    def path(self) -> Path:
        """The directory. Raises OSError: it cannot be made."""
        path = Path(mkdtemp(prefix="ckptconv-"))
        finalize(self, rmtree, path, ignore_errors=True)
        return path


@dataclass(slots=True)
class EarlyChild:
    """A process that imports its framework, and then waits for one job."""

    runner: str
    scratch: Scratch
    folder: Path
    """Of the child; its job is to be in `0`."""
    process: subprocess.Popen[bytes]


_WAITING: ContextVar[list[EarlyChild] | None] = ContextVar("children that wait", default=None)


@contextmanager
def early_children(*checkpoints: Path | str) -> Iterator[None]:
    """Start a child for each checkpoint whose files say by which class it is run; in the end, end those that wait.

    Within such a block another starts nothing. Args: checkpoints: the source first, of which PyTorch's weights count.
    """
    if _WAITING.get() is not None:
        yield
        return
    waiting: list[EarlyChild] = []
    token = _WAITING.set(waiting)
    try:
        for checkpoint, runner in _guesses(checkpoints):
            with suppress(OSError, ValueError):  # why it cannot be started is said by what needs it
                _start(checkpoint, runner, waiting)
        yield
    finally:
        _WAITING.reset(token)
        end_waiting(waiting)


def sides(
    source: Path | str, target: Path | str | None, save_trace: Path | None
) -> list[Path | str]:
    """Return the checkpoints of `verify` whose children are worth an early start, the source first."""
    # of a source that is recorded first, the child of the target would wait for long
    return [source] if target is None or save_trace else [source, target]


def _guesses(checkpoints: Sequence[Path | str]) -> list[tuple[Path, str]]:
    """Return the checkpoints whose children are to begin, and what runs them, as far as their files say it."""
    guesses: list[tuple[Path, str]] = []
    for number, checkpoint in enumerate(map(Path, checkpoints)):
        with suppress(OSError, ValueError):  # why it cannot be read is said by what needs it
            runner = runner_of(checkpoint, prefers_pytorch=number == 0)
            guesses += [(checkpoint, runner)] if runner else []
    slow = [guess for guess in guesses if guess[1] != "pytorch"]
    return slow if slow and core_count() <= len(guesses) else guesses


def _start(checkpoint: Path, runner: str, waiting: list[EarlyChild]) -> None:
    """Start the child of a checkpoint. Raises OSError: it cannot be started."""
    scratch = waiting[0].scratch if waiting else Scratch()
    folder = scratch.path / f"early-{len(waiting)}"
    folder.mkdir()
    process = launch(runner, folder, 1, threads([checkpoint]) | usual_environment())
    waiting.append(EarlyChild(runner, scratch, folder, process))


def runner_of(path: Path, prefers_pytorch: bool) -> str | None:
    """Return which runner a checkpoint's files ask for; None where they do not say it.

    Raises: OSError: it cannot be listed, or is no directory.
    """
    names = [entry.name for entry in path.iterdir()]
    if CONFIG not in names or ARTEFACT in names:
        return None
    present = [
        runner
        for runner, forms in FORMS.items()
        if any(name.startswith(FILE_NAMES[form]) for form in forms for name in names)
    ]
    certain = len(present) == 1 or (present[:1] == ["pytorch"] and prefers_pytorch)
    return present[0] if certain else None


def take(runner: str) -> EarlyChild | None:
    """Return a child of a runner that waits, and leave it to the caller; None where there is none."""
    waiting = _WAITING.get() or []
    child = next((child for child in waiting if child.runner == runner), None)
    if child is not None:
        waiting.remove(child)
    return child


def end_waiting(waiting: list[EarlyChild] | None = None) -> None:
    """End the children that nobody took, and remove their folders."""
    children = (_WAITING.get() or []) if waiting is None else waiting
    while children:
        child = children.pop()
        end(child.process)
        rmtree(child.folder, ignore_errors=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a child that still runs, with all that it started, and reap it."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # it ended just now
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdin:
        process.stdin.close()


def launch(
    runner: str, folder: Path, jobs: int, variables: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a child in its folder, for so many jobs."""
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            module_command(
                "ckptconv.run.runners",
                runner,
                *(str(folder / str(number)) for number in range(jobs)),
            ),
            stdin=subprocess.PIPE,
            bufsize=0,  # a turn is told at once
            stdout=output,
            stderr=subprocess.STDOUT,
            # what a library leaves in the temporary directory, as TF does, goes with the folder
            env={**variables, "TMPDIR": str(folder)},
            start_new_session=True,
        )


def usual_environment() -> dict[str, str]:
    """Return the environment of every child: offline, and this ckptconv; what its runner needs it sets itself."""
    return with_own_path(DEFAULTS | dict(os.environ) | OFFLINE)


def small(folders: Sequence[Path]) -> bool:
    """Tell whether the models in some folders are small, in the mean."""
    patterns = ("*", "variables/*")  # a SavedModel's weights lie one level below
    files = [
        file
        for folder in folders
        for pattern in patterns
        for file in folder.glob(pattern)
        if file.is_file()
    ]
    return sum(file.stat().st_size for file in files) < SMALL_BYTES * len(folders)


def threads(folders: Sequence[Path]) -> dict[str, str]:
    """Return one thread for small models: more would wait for each other by spinning, on cores that others need."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")
    return one if small(folders) else {}
