"""`batch`: many conversions, each verified; what was proven before is not done again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.errors import UsageError, require_integer
from ckptconv.base.results import PagedResult
from ckptconv.batches.engines import Engine, dask, local
from ckptconv.batches.plan import NO_PLAN, pattern_plan, read_plan
from ckptconv.batches.process import request_of
from ckptconv.batches.records import Records
from ckptconv.batches.task import Outcome, Task, outcome_of


@dataclass(frozen=True, slots=True, repr=False)
class Batch(PagedResult):
    """How every conversion of a batch ended."""

    plan: str
    """The file, or the pattern."""
    records: Path
    """Folder of what was proven."""
    outcomes: tuple[Outcome, ...]
    """In the order of the plan."""
    seconds: float

    @property
    def matches(self) -> bool:
        """True where every conversion is proven, and there is one."""
        return bool(self.outcomes) and all(outcome.matches for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 where all is proven, 1 where something differs; else the highest code of what could not be done."""
        codes = {outcome.exit_code for outcome in self.outcomes}
        return 1 if 1 in codes else max(codes, default=0)


def batch(
    plan: Path | str,
    target: str = "",
    *,
    command: str = "pt2tf",
    level: str = "outputs",
    jobs: int | None = None,
    dask_scheduler: str = "",
    records: Path | str | None = None,
    overwrite: bool = False,
    progress: Callable[[Outcome, int, int], None] = lambda outcome, done, total: None,
) -> Batch:
    """Run many conversions and verify each; run again, it goes on where it was stopped.

    Args: plan: a TOML file; or with `target` a pattern of directories, such as `models/*`.
    target: of a pattern, with `{name}` for the name of the directory. command, level, overwrite: of a pattern.
    jobs: conversions at a time on this machine; None takes half of its cores.
    dask_scheduler: address of the scheduler of a Dask cluster, whose workers see the same files, to run on instead.
    records: folder for what was proven; None takes one beside the plan. overwrite: replace other outputs of ckptconv.
    progress: called with each outcome, how many there are, and how many there will be.
    Returns: an outcome for each conversion; one that is refused or fails does not stop the others.
    Raises: UsageError: the plan asks for what makes no sense; nothing was converted. SourceError: it cannot be read.
    DestinationError: the records cannot be written. FrameworkError: no such cluster.
    """
    if jobs is not None:
        require_integer("jobs", jobs, 1)
    started = time.monotonic()
    if target:
        tasks = pattern_plan(str(plan), target, command, level, overwrite=overwrite)
    elif Path(plan).suffix == ".toml" or Path(plan).is_file():
        tasks = read_plan(Path(plan))
    else:
        raise UsageError(
            f"{plan}: {'is a directory, not a' if Path(plan).is_dir() else 'no such'} file. {NO_PLAN}"
        )
    store = Records(Path(records) if records else _beside(str(plan), bool(target)))
    here = jobs or max(1, (os.cpu_count() or 2) // 2)
    engine = dask(dask_scheduler) if dask_scheduler else local(here)
    outcomes = _run(tasks, store, engine, progress)
    return Batch(str(plan), store.folder, outcomes, time.monotonic() - started)


def _beside(plan: str, is_pattern: bool) -> Path:
    return Path("ckptconv.batch") if is_pattern else Path(plan).with_suffix(".batch")


def _run(
    tasks: Sequence[Task],
    records: Records,
    engine: Engine,
    progress: Callable[[Outcome, int, int], None],
) -> tuple[Outcome, ...]:
    """Attempt every task, and write a record of each that matched as soon as it is known."""
    outcomes: dict[str, Outcome] = {}
    requests = (request_of(task, records.read(task)) for task in tasks)
    answers = engine(requests)
    try:
        for answer in answers:
            outcome = outcome_of(answer["outcome"])
            if outcome.matches and not outcome.resumed:
                records.write(outcome, answer["evidence"])
            outcomes[outcome.task.key] = outcome
            progress(outcome, len(outcomes), len(tasks))
    finally:
        close = getattr(answers, "close", None)
        if close:
            close()
    return tuple(outcomes[task.key] for task in tasks)
