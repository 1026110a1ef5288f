"""`python -m ckptconv.batches.attempt`: one conversion and its verification, in a process of its own.

The request is the first line of stdin, the answer the last of stdout, both JSON. When stdin closes, whoever asked is
gone, and this process ends as on SIGTERM: nothing half-written stays.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import Any

from ckptconv.base.environment import versions
from ckptconv.base.errors import (
    CkptconvError,
    DestinationError,
    InternalError,
    Interrupted,
    SourceError,
    names_in_one_line,
    one_line,
)
from ckptconv.base.files import following_links, limited, with_addresses
from ckptconv.base.presence import lies_at
from ckptconv.base.strict_json import Json
from ckptconv.base.workers import install
from ckptconv.batches.evidence import evidence, is_its_output, states, way, write_options
from ckptconv.batches.plan import VERIFICATION
from ckptconv.batches.task import Outcome, Task, outcome_of
from ckptconv.report.verify import cause_sentence, notices, verdict, verdict_text, verification_text
from ckptconv.stores.hub import resolve
from ckptconv.verbs.convert import DIRECTIONS, convert
from ckptconv.verbs.verify import Verification, verify


def attempt(task: Task, record: Mapping[str, Json] | None) -> tuple[Outcome, dict[str, Json]]:
    """Convert and verify, unless a record shows that the same bytes matched before.

    Args: record: what an earlier run wrote of this task.
    Returns: the outcome, and the evidence that it rests on; empty where there is no verdict.
    """
    started, remarks = time.monotonic(), list[str]()
    try:
        outcome, rests_on = _attempted(task, record, remarks)
    except Interrupted:
        raise
    except CkptconvError as error:
        outcome, rests_on = _failed(task, error), {}
    except Exception as error:
        kind = InternalError(
            f"internal error: {type(error).__name__}: {one_line(str(error))[:300]}"
        )
        outcome, rests_on = _failed(task, kind), {}
    outcome = replace(outcome, notices=tuple(dict.fromkeys((*remarks, *outcome.notices))))
    return replace(_tame(outcome), seconds=time.monotonic() - started), rests_on


def _tame(outcome: Outcome) -> Outcome:
    """Let no name of a path that the plan, or its pattern, led to begin a line of what is said.

    What stands here for an address is called by it: who asked does not know of it.
    """
    task, directory = outcome.task, ""
    with suppress(FileNotFoundError):  # it may be deleted
        directory = os.getcwd()  # noqa: PTH109  # a text, not a Path
    paths = (task.source, task.target, str(task.options.get("inputs", "")), directory)

    def tame(text: str) -> str:
        return with_addresses(names_in_one_line(text, paths))

    return replace(
        outcome,
        message=tame(outcome.message),
        report=tame(outcome.report),
        notices=tuple(map(tame, outcome.notices)),
    )


def _attempted(
    task: Task, record: Mapping[str, Json] | None, remarks: list[str]
) -> tuple[Outcome, dict[str, Json]]:
    """Return what `attempt` does; `remarks` gets what the conversion says, also where its verification fails."""
    naming, _ = DIRECTIONS.get(task.command, (None, None))
    source = resolve(task.source, naming)
    inputs = task.options.get("inputs")
    target, extra = Path(task.target), Path(str(inputs)) if inputs else None
    if (
        record
        and lies_at(target)
        and _is_of_these_versions(record)
        and evidence(source, target, extra) == record["evidence"]
    ):
        values = record["outcome"]
        assert isinstance(values, dict)
        earlier = replace(outcome_of(values), task=task)
        return replace(earlier, resumed=True, written=False), dict(record["evidence"])
    written = _convert(task, source, remarks)
    target = resolve(target)
    read = (source, target, extra) if extra else (source, target)
    before = states(*read)
    rests_on = evidence(source, target, extra)
    options: dict[str, Any] = {
        key: task.options[key] for key in VERIFICATION if key in task.options
    }
    options["inputs"] = extra
    result = verify(
        source,
        target,
        task.level,  # type: ignore[arg-type]
        positions=task.options.get("positions"),  # type: ignore[arg-type]
        **options,
    )
    if states(*read) != before:
        raise SourceError(f"{task}: a file changed while it was verified. Run the batch again.")
    return replace(_verified(task, result), written=written), rests_on


def _is_of_these_versions(record: Mapping[str, Json]) -> bool:
    """Tell whether a record can hold at all, before gigabytes are read for it."""
    rests_on = record["evidence"]
    return isinstance(rests_on, dict) and rests_on.get("versions") == dict(versions())


def _convert(task: Task, source: Path, remarks: list[str]) -> bool:
    """Write the target, unless it is there; return whether it was written.

    Args: remarks: gets the notices; of what an earlier run wrote, those that need no value of a tensor.
    Raises: DestinationError: something else has its place.
    """
    if task.command == "verify":
        return False
    options = write_options(task)
    written = not (lies_at(task.target) and is_its_output(task, source))
    try:
        result = convert(source, task.target, way(task), replace(options, dry_run=not written))
    except DestinationError:
        if not is_its_output(task, source):  # a worker that was given up may have come first
            raise
        written = False
        result = convert(source, task.target, way(task), replace(options, dry_run=True))
    remarks += result.notices
    return written


def _verified(task: Task, result: Verification) -> Outcome:
    if result.where:
        message = cause_sentence(result.where, result.weights.problems)
    else:
        message = verdict_text(result).partition(": ")[2]
    coverage = result.outputs.coverage if result.outputs else None
    return Outcome(
        task,
        verdict(result),  # type: ignore[arg-type]
        0 if result.matches else 1,
        message,
        verification_text(result),
        result.pair,
        result.weights.tensors,
        result.weights.nbytes,
        coverage.percent if coverage else None,
        notices=tuple(notices(result)),
    )


def _failed(task: Task, error: CkptconvError) -> Outcome:
    return Outcome(
        task, "refused" if isinstance(error, SourceError) else "failed", error.exit_code, str(error)
    )


def _watch() -> None:
    """End this process when the other side of its stdin is gone."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.buffer.readline())
    install()
    Thread(target=_watch, daemon=True).start()
    try:
        with limited(**request["limits"]), following_links(request["follow_links"]):
            outcome, rests_on = attempt(Task(**request["task"]), request["record"])
    except Interrupted as error:
        sys.exit(128 + error.signal_number)
    answer = {"outcome": asdict(outcome), "evidence": rests_on}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
