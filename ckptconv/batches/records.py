"""What a batch has proven so far: a file for each conversion that matched, written whole or not at all.

A record says which task matched, on which bytes (digests of both directories) and with which versions. A later run
takes the verdict from it only where all of that is the same again; whatever did not match is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ckptconv.base.errors import CkptconvError, DestinationError, system_reason
from ckptconv.base.files import limits, read_source
from ckptconv.base.strict_json import Json, dump_json, parse_json
from ckptconv.batches.task import Outcome, Task, outcome_of
from ckptconv.transfer.publish.stage import write_file

LAYOUT = 1
KEYS = {"record", "outcome", "evidence"}


class Records:
    """The records of one batch, in a folder."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is not there. Raises DestinationError."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DestinationError(
                f"{folder}: cannot keep the batch's records ({system_reason(error)}); choose --records DIR."
            ) from None

    def read(self, task: Task) -> dict[str, Json] | None:
        """Return the record of a task; None where there is none that can be read and is of this task."""
        path = self._path(task)
        if not path.is_file():
            return None
        try:
            values = parse_json(read_source(path, limits().json_bytes), str(path))
            outcome = values["outcome"]
            assert isinstance(outcome, dict)
            fits = (
                values.keys() == KEYS
                and values["record"] == LAYOUT
                and outcome_of(outcome).task.key == task.key
                and outcome_of(outcome).matches
            )
        except (CkptconvError, KeyError, TypeError, AssertionError):
            return None
        return dict(values) if fits else None

    def write(self, outcome: Outcome, rests_on: Mapping[str, Json]) -> None:
        """Keep what matched. Raises DestinationError: it cannot be written."""
        values: dict[str, Json] = {
            "record": LAYOUT,
            "outcome": outcome.to_json(),
            "evidence": dict(rests_on),
        }
        write_file(self._path(outcome.task), dump_json(values).decode())

    def _path(self, task: Task) -> Path:
        return self.folder / f"{task.key}.json"
