"""One conversion of a batch, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from os.path import abspath
from typing import Literal, TypeAlias

from ckptconv.base.presence import lies_at
from ckptconv.base.strict_json import Json

Verdict: TypeAlias = Literal["match", "mismatch", "not proven", "refused", "failed"]
"""refused: by the source. failed: the destination, the environment, or a fault of ckptconv."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be converted and verified; for `verify`, verified alone."""

    command: str
    source: str
    target: str
    level: str = "outputs"
    options: Mapping[str, Json] = field(default_factory=dict)
    """Of the conversion and of the verification, as the plan spells them."""
    overwrite: bool = False
    """Replace an output of ckptconv that this conversion did not write."""

    @property
    def key(self) -> str:
        """Name of its record: the same for the same conversion, wherever the plan moved it [16 hex digits]."""
        values = asdict(self) | {"target": abspath(self.target), "overwrite": False}
        if lies_at(self.source):
            values["source"] = abspath(self.source)
        return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.command} {self.source} {self.target}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one conversion ended."""

    task: Task
    verdict: Verdict
    exit_code: int
    """That of the command which would have done the same alone."""
    message: str
    """The verdict in one line, the cause of a mismatch, or what the refusal said."""
    report: str = ""
    """What `verify` prints."""
    pair: str = ""
    tensors: int = 0
    nbytes: int = 0
    """Compared."""
    coverage: float | None = None
    """Share of the weights that the outputs depend on [percent]; None where no model ran."""
    written: bool = False
    """Whether this run wrote the target."""
    resumed: bool = False
    """Whether an earlier run found the verdict, on the same bytes and with the same versions."""
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    @property
    def matches(self) -> bool:
        """True where the target is proven."""
        return self.verdict == "match"

    def to_json(self) -> dict[str, Json]:
        """Return the outcome as one process hands it to another."""
        return {**asdict(self), "notices": list(self.notices)}


def outcome_of(values: Mapping[str, Json]) -> Outcome:
    """Return the outcome that `to_json` wrote. Raises KeyError, TypeError."""
    task, notices = values["task"], values["notices"]
    if not isinstance(task, dict) or not isinstance(notices, list):
        raise TypeError("an outcome has a task and notices")
    rest = {key: value for key, value in values.items() if key not in ("task", "notices")}
    return Outcome(task=Task(**task), notices=tuple(map(str, notices)), **rest)  # type: ignore[arg-type]
