"""The parent's side of `python -m ckptconv.run.runners`: what children are asked and answer; start, wait, reap.

Frameworks are imported at once, by children that may have been started before (`early.py`): that takes seconds, and
little memory. Then small models run at once, a thread each. Of large ones PyTorch's and TF's classes run at once in
float32, each with half of the cores; then the reference has all of them, and the memory, to itself for
float64, which takes as much as two models in float32. More of them, and whatever holds weights more than once, run one
after the other. A child waits for its turn, and for the room that float64 takes: a byte on its stdin says each.

A child lives in its own process group and watches its stdin, so that none outlives the parent: not
after Ctrl-C or SIGTERM (the `finally` below), and not after SIGKILL (its stdin closes).
"""

from __future__ import annotations

import json
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from io import BytesIO
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_magic

from ckptconv.base.environment import install_advice
from ckptconv.base.errors import CkptconvError, FrameworkError, SourceError
from ckptconv.base.files import ensure_folder
from ckptconv.base.processes import ending
from ckptconv.base.strict_json import Json
from ckptconv.base.workers import core_count
from ckptconv.run.early import (
    Scratch,
    end,
    end_waiting,
    launch,
    small,
    take,
    threads,
    usual_environment,
)
from ckptconv.run.endings import Ending
from ckptconv.run.modalities import Example
from ckptconv.run.phases import tell_phases
from ckptconv.run.runners import JOBS, ROOM, RUNNERS, TURN, Array


@dataclass(frozen=True, slots=True)
class Job:
    """What one child is asked."""

    runner: str
    """Name of one of `RUNNERS`."""
    checkpoint: Path
    """What it loads: a checkpoint, or an artefact."""
    probes: Mapping[str, Array]
    """As `Modality.make_probes` returns them."""
    precisions: tuple[str, ...] = ("float32",)
    generate: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    """Name of a search -> its settings, see `forward.searches`; empty: generate nothing from the probes."""
    generate_from: str = ""
    """The probe whose encoder inputs are generated from."""
    examples: Sequence[Example] = ()
    """What probes are made of with the checkpoint's own tokenizer or processor."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """As `Modality.facts` returns them."""
    texts: Sequence[str] = ()
    """Sentences to answer with the checkpoint's own tokenizer and generation config."""
    coverage: bool = True
    """Whether the reference notes which elements of its parameters the probes reach."""
    modality: str = "text"
    """Name of one of `modalities()`."""
    model_class: str = ""
    """The class in transformers that loads the checkpoint; empty for runners that use none."""

    @property
    def is_reference(self) -> bool:
        """True where the child gives float64 as well."""
        return "float64" in self.precisions


ZIP_HEADER, ZIP_LENGTHS = 30, 26
"""Bytes before a member's name in a zip file, and where the lengths of the name and of what follows it stand there."""
NPY_HEADER = 4096
"""More than the header of any array that a child answers."""


class StoredArrays(Mapping[str, Array]):
    """The arrays of a child's answer, which stay in its file: each access shows one, and reads what is used of it.

    Whoever asks for a shape alone reads a hundred bytes. Safe to use from several threads.
    """

    def __init__(self, path: Path, keep: Scratch | None = None) -> None:
        """Open the file of a child, as `np.savez` writes it; `keep` is the directory that must last as long as this.

        Raises: OSError, ValueError: there is none, or it is cut short.
        """
        with path.open("rb") as file:
            self._memory = mmap(file.fileno(), 0, access=ACCESS_READ)
            try:
                with ZipFile(file) as archive:
                    members = {entry.filename: entry.header_offset for entry in archive.infolist()}
            except BadZipFile as error:
                raise ValueError(str(error)) from None
        self._members = {name.removesuffix(".npy"): offset for name, offset in members.items()}
        self._keep = keep

    def __getitem__(self, name: str) -> Array:
        offset = self._members[name]
        lengths = struct.unpack_from("<HH", self._memory, offset + ZIP_LENGTHS)
        start = offset + ZIP_HEADER + sum(lengths)
        stream = BytesIO(self._memory[start : start + NPY_HEADER])
        read_magic(stream)
        shape, columns_first, dtype = read_array_header_1_0(stream)
        start += stream.tell()
        values = np.frombuffer(self._memory, dtype, prod(shape), start)
        return values.reshape(shape, order="F" if columns_first else "C")

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one child answered."""

    runner: str
    arrays: Mapping[str, Array]
    """`PRECISION/PROBE/QUANTITY` -> floats. `inputs/PROBE.INPUT` -> what examples were turned into.

    Of the search NAME: `NAME/tokens` -> (rows, new tokens), -1 after the end; `float32/NAME/cached` -> logits
    of its steps (rows, steps, vocabulary). Of the reference also `float64/NAME/cached`, from one full pass over
    the same tokens, or `NAME/margins` -> (rows, steps). Of the model's own search: `NAME/exact` -> tokens in float64,
    and `NAME/margins` -> (rows, steps) where it is greedy, else (rows, 1).
    `NAME/own_steps` is there where the reference's cached steps compute something else than its full pass: then they
    stand for it. A search that is beyond the runner has no arrays."""
    problems: tuple[str, ...]
    """What loading met: `missing NAME`, `unexpected NAME`, `mismatched NAME`."""
    versions: Mapping[str, str]
    settings: Mapping[str, Json]
    """What was fixed for the run."""
    generation: Mapping[str, Json]
    """The checkpoint's own generation config, where it differs from the defaults."""
    texts: tuple[str, ...]
    loaded: tuple[str, ...]
    """Which of torch, tensorflow and jax the process had imported in the end."""
    seconds: float
    """From its turn to the end of the process [s]."""
    reached: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Of the reference: parameter -> elements that were reached by some probe, and rows with at least one."""
    unable: Mapping[str, str] = field(default_factory=dict)
    """Search that its class cannot make -> the error that it raises."""
    endings: tuple[Ending, ...] = ()
    """How the answers to the texts ended; none in a trace of an older ckptconv."""


def write_job(job: Job, folder: Path, threads: int | None = None) -> None:
    """Write one job into a new folder, where the child reads it; see `ckptconv.run.runners.__main__`.

    Args: threads: in float32; None: as many as the runner has of itself.
    """
    folder.mkdir()
    question = {
        "checkpoint": str(job.checkpoint.absolute()),
        "model_class": job.model_class,
        "modality": job.modality,
        "facts": dict(job.facts),
        "precisions": job.precisions,
        "generate": {name: dict(settings) for name, settings in job.generate.items()},
        "generate_from": job.generate_from,
        "examples": [asdict(example) for example in job.examples],
        "texts": list(job.texts),
        "coverage": job.coverage and job.is_reference,
        "threads": threads,
    }
    (folder / "job.json").write_text(json.dumps(question))
    np.savez(folder / "probes.npz", allow_pickle=False, **dict(job.probes))


def read_report(folder: Path) -> dict[str, Any]:
    """Return what a child reported in its folder besides arrays; empty where it reported nothing."""
    try:
        report: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    except (OSError, ValueError):
        return {}
    return report


TAIL_LINES = 15
POLL_SECONDS = 0.02
TELL_SECONDS = 0.5
"""Between two looks at what the children are at."""
AT_ONCE = 2
"""How many large models run at once in float32: as many as take the memory of one in float64."""


@dataclass(slots=True)
class _Child:
    jobs: Sequence[Job]
    """Answered one after the other; all of one runner."""
    folder: Path
    scratch: Scratch
    """What holds the folder."""
    process: subprocess.Popen[bytes]
    started: float
    seconds: float = field(default=0.0)
    has_room: bool = field(default=False)
    """Whether it may compute in float64."""

    @property
    def name(self) -> str:
        return self.jobs[0].runner

    @property
    def is_reference(self) -> bool:
        return any(job.is_reference for job in self.jobs)


@dataclass(frozen=True, slots=True)
class _Deadline:
    """How long all children together may take [s]; None waits."""

    seconds: float | None
    start: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        return self.seconds is not None and time.monotonic() > self.start + self.seconds


def environment(name: str) -> dict[str, str]:
    """Return the environment of a runner's child: offline, its framework alone, and this ckptconv."""
    return usual_environment() | dict(RUNNERS[name].process.environment)


def _threads(jobs: Sequence[Job]) -> dict[str, str]:
    """Return one thread for the models of one child, where they are small."""
    return threads([job.checkpoint for job in jobs])


def _small(jobs: Sequence[Job]) -> bool:
    """Tell whether the models of one child are small, in the mean."""
    return small([job.checkpoint for job in jobs])


def run_children(jobs: Sequence[Job], timeout: float | None = None) -> list[Answer]:
    """Start one child a job, and return their answers in the order of the jobs.

    Raises: FrameworkError: a framework is missing, or a child died or took longer than `timeout`
    seconds; the message ends with the last lines of its output. SourceError: an example that a checkpoint's
    tokenizer or processor cannot read. No child is left behind.
    """
    answers = [answers[0] for answers in run_batches([[job] for job in jobs], timeout)]
    for answer in answers:
        if isinstance(answer, FrameworkError):
            raise answer
    return [answer for answer in answers if isinstance(answer, Answer)]


def run_batches(
    batches: Sequence[Sequence[Job]], timeout: float | None = None
) -> list[list[Answer | FrameworkError]]:
    """Start one child a batch; each answers the jobs of its batch, of one runner, one after the other.

    Children of small models run at once; if one model is large, two at most do, and float64 waits for the other.

    Returns: the answers as the jobs were given; a job that failed among others has its error there.
    Raises: FrameworkError: as `run_children`.
    """
    _require(batches)
    children: list[_Child] = []
    deadline = _Deadline(timeout)
    try:
        root = Scratch()  # goes with the last answer that reads from it
        try:
            threads = _shared_cores(batches)
            for batch in batches:
                children.append(_start(batch, root, str(len(children)), threads))
            end_waiting()
            at_once = all(_small(child.jobs) for child in children)
            for turn in [children] if at_once else _turns(children):
                for child in turn:
                    _begin(child)
                if at_once:
                    _make_room(turn)
                _wait(turn, children, deadline)
            return [
                [_read(child, number) for number in range(len(child.jobs))] for child in children
            ]
        finally:
            for child in children:
                end(child.process)
    except OSError as error:
        raise FrameworkError(f"cannot run a framework in a child process: {error}") from None


def _turns(children: Sequence[_Child]) -> list[Sequence[_Child]]:
    """Return the children of large models that run at once."""
    count = _large_at_once([child.jobs for child in children])
    return [children[first : first + count] for first in range(0, len(children), count)]


def _large_at_once(batches: Sequence[Sequence[Job]]) -> int:
    """Return how many large models run at once: two that are frugal, or one."""
    return AT_ONCE if all(RUNNERS[batch[0].runner].process.frugal for batch in batches) else 1


def _require(batches: Sequence[Sequence[Job]]) -> None:
    """Refuse before the first turn what is not installed; a child says what is installed and broken."""
    for name in dict.fromkeys(batch[0].runner for batch in batches):
        for module in RUNNERS[name].process.modules:
            if find_spec(module) is None:
                raise FrameworkError(_unavailable(name, f"No module named {module!r}"))


def _shared_cores(batches: Sequence[Sequence[Job]]) -> int | None:
    """Return how many threads each of two large models that run at once has in float32; None: what it has of itself.

    Each with a thread for every core, they would wait for each other in every small step of a search.
    """
    if min(len(batches), _large_at_once(batches)) < AT_ONCE or all(map(_small, batches)):
        return None
    return max(core_count() // AT_ONCE, 1)


def _start(jobs: Sequence[Job], root: Scratch, name: str, threads: int | None = None) -> _Child:
    """Ask a child that waits, or a new one."""
    for job in jobs:
        ensure_folder(job.checkpoint)
    early = take(jobs[0].runner) if len(jobs) == 1 else None
    if early:
        child = _Child(jobs, early.folder, early.scratch, early.process, time.monotonic())
    else:
        folder = root.path / name
        folder.mkdir()
        variables = _threads(jobs) | environment(jobs[0].runner)
        process = launch(jobs[0].runner, folder, len(jobs), variables)
        child = _Child(jobs, folder, root, process, time.monotonic())
    try:
        for number, job in enumerate(jobs):
            write_job(job, child.folder / str(number), threads)
    except BaseException:
        end(child.process)
        raise
    _permit(child, JOBS)
    return child


def _begin(child: _Child) -> None:
    """Tell a child that its turn has come."""
    _permit(child, TURN)
    child.started = time.monotonic()


def _make_room(children: Sequence[_Child]) -> None:
    """Tell children that they may compute in float64."""
    for child in children:
        if not child.has_room:
            _permit(child, ROOM)
            child.has_room = True


def _permit(child: _Child, permit: bytes) -> None:
    assert child.process.stdin
    with suppress(BrokenPipeError):  # it has ended, and why is seen by whoever waits for it
        child.process.stdin.write(permit)


def _wait(turn: Sequence[_Child], children: Sequence[_Child], deadline: _Deadline) -> None:
    """Return when every child of a turn has ended well; raise as soon as any has not.

    A reference has room when all others have ended.
    """
    running, told_at = list(turn), 0.0
    while running:
        if all(child.is_reference for child in running):
            _make_room(running)
        ended = sum(child.process.poll() is not None for child in children)
        # At an end at once: a child that is quick would have told nobody what it did.
        if time.monotonic() - told_at > TELL_SECONDS or ended > len(children) - len(running):
            told_at = time.monotonic()
            folders = [(child.name, child.folder) for child in running]
            tell_phases(folders, ended, len(children), told_at - children[0].started)
        for child in children:
            code = child.process.poll()
            if code is None:
                continue
            if code != 0:
                raise _failure(child, code)
            if child in running:
                child.seconds = time.monotonic() - child.started
                running.remove(child)
        if running and deadline.is_over():
            raise FrameworkError(
                f"{running[0].name}: no answer within {deadline.seconds:g} s{_tail(running[0])}"
            )
        if running:
            time.sleep(POLL_SECONDS)


def _failure(child: _Child, code: int) -> CkptconvError:
    """Return why a child failed: in one line, and the end of its output where it did not say so itself."""
    report = read_report(child.folder / "0")
    if "refused" in report:
        return SourceError(report["refused"])
    if "unavailable" in report:
        return FrameworkError(_unavailable(child.name, report["unavailable"]))
    lines = _output(child)
    last = f": {lines[-1].strip()}" if lines else ""
    what = f"{child.name}: could not run {child.jobs[0].checkpoint}"
    return FrameworkError(f"{what} ({ending(code)}){last}{_tail(child)}")


def _unavailable(name: str, why: str) -> str:
    return (
        f"{name} cannot be imported here: {why}\n"
        f"{install_advice(RUNNERS[name].process.extra)}\n"
        "`ckptconv doctor` shows what works here; `verify --level weights` needs no framework."
    )


def _output(child: _Child) -> list[str]:
    text = (child.folder / "output").read_text(errors="replace")
    return [line for line in text.splitlines() if line.strip()]


def _tail(child: _Child) -> str:
    lines = _output(child)[-TAIL_LINES:]
    return "\nThe end of its output:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""


def _read(child: _Child, number: int) -> Answer | FrameworkError:
    folder = child.folder / str(number)
    report = read_report(folder)
    if "failed" in report:
        return FrameworkError(
            f"{child.name}: could not run {child.jobs[number].checkpoint}: {report['failed']}"
        )
    try:
        arrays = StoredArrays(folder / "answers.npz", child.scratch)
    except (OSError, ValueError) as error:
        raise FrameworkError(
            f"{child.name}: ended without an answer ({error}){_tail(child)}"
        ) from None
    return Answer(
        runner=child.jobs[number].runner,
        arrays=arrays,
        problems=tuple(report.get("problems", ())),
        versions=report.get("versions", {}),
        settings=report.get("settings", {}),
        generation=report.get("generation", {}),
        texts=tuple(report.get("texts", ())),
        loaded=tuple(report.get("loaded", ())),
        seconds=child.seconds,
        reached=report.get("reached", {}),
        unable=report.get("unable", {}),
        endings=tuple(
            Ending(tuple(entry["tokens"]), entry["cut"]) for entry in report.get("endings", ())
        ),
    )
