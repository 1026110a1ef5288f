"""What the writing verbs share: their options, their result, and the checks before the first byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Any

from ckptconv.errors import DestinationError
from ckptconv.moves import Plan
from ckptconv.plan import DtypeChoice
from ckptconv.table import DialectName


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a verb writes."""

    dtype: DtypeChoice = "keep"
    """Cast every float tensor to this; `keep` changes no value."""
    max_shard_bytes: int | None = None
    """Cut the weights into files of at most this much data; None writes one file."""
    overwrite: bool = False
    dry_run: bool = False
    """Make the plan and check it against the source's headers, but write nothing."""
    progress: Callable[[int, int], None] = lambda done, total: None
    """Called with bytes done and bytes to do; every byte counts twice, written and read back."""

    def values(self) -> dict[str, Any]:
        """Return every option by name, for a verb that adds its own."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def counter(self, plan_bytes: int) -> Callable[[int], None]:
        """Return a callback that adds up bytes for `progress`, whichever thread calls it."""
        done, lock = 0, Lock()

        def add(nbytes: int) -> None:
            nonlocal done
            with lock:
                done += nbytes
                self.progress(done, 2 * plan_bytes)

        return add


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion wrote, or with `dry_run` would write."""

    sources: tuple[Path, ...]
    """One; or encoder and decoder, for `join`."""
    target: Path
    pair: str
    dialect: DialectName
    """The target's."""
    format: str
    plan: Plan
    notices: tuple[str, ...]
    """What the user should know: one sentence each."""
    files: tuple[str, ...] = ()
    """Names of the weight files; empty after a dry run."""


def require_apart(source: Path, target: Path) -> None:
    """Refuse a destination that is, holds or lies in the source. Raises DestinationError."""
    one, other = (Path(os.path.realpath(path)) for path in (source, target))
    if one == other or one in other.parents or other in one.parents:
        raise DestinationError(f"{target}: lies in the source or holds it; give a directory beside it.")


def written_dtype(plan: Plan) -> str | None:
    """Return the dtype that the config should name, where the plan changes it; None where it does not."""
    changed = {move.target.dtype for move in plan.moves if move.source and move.source.spec.dtype != move.target.dtype}
    return changed.pop() if len(changed) == 1 else None
