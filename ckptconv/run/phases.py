"""What the frameworks are at: told by each child in a file, read by the parent, given to whoever listens.

A child writes `phase.json` into its folder when a probe or a search begins, and at most five times a second which layer
computes. Nothing else depends on the file: one that is missing or cut is no news.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

FILE = "phase.json"
LAYER_SECONDS = 0.2
"""A layer is told no more often than this."""
FORWARD = {"float32": 1.0, "float64": 4.0}
"""What a probe takes, about: in float64 with gradients."""
SEARCH = 4.0
"""What a search takes, about: a dozen steps."""
MIN_SHARE = 0.1
"""Before so much is done, nobody knows how long the rest takes."""
NAMES = {"pytorch": "PyTorch", "tf": "TensorFlow", "flax": "Flax", "jax": "JAX", "litert": "LiteRT"}


@dataclass(frozen=True, slots=True)
class Phase:
    """What one child is at."""

    runner: str
    precision: str = ""
    step: str = ""
    """Such as `probe padded` or `search beam`; empty while the framework is imported and the model loaded."""
    layer: str = ""
    """Such as `3 of 12`; empty where the framework does not say."""
    done: float = 0.0
    """Share of its work [0 to 1]."""

    def __str__(self) -> str:
        name = NAMES.get(self.runner, self.runner)
        head = f"{name} {self.precision}".rstrip()
        parts = [self.step or "loading", f"layer {self.layer}" if self.layer else ""]
        return f"{head}: {', '.join(filter(None, parts))}"


@dataclass(frozen=True, slots=True)
class Phases:
    """What all children are at."""

    running: tuple[Phase, ...]
    ended: int
    """Children that have answered."""
    total: int
    """Children in all."""
    seconds: float
    """Since the first began."""

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes, if it goes on as it went; None where too little is done to tell."""
        done = (self.ended + sum(phase.done for phase in self.running)) / self.total
        return self.seconds * (1 - done) / done if done >= MIN_SHARE else None

    def __str__(self) -> str:
        text = "; ".join(map(str, self.running)) or "reading the answers"
        left = self.left
        if left is None or not self.running:
            return text
        minutes, seconds = divmod(round(left), 60)
        return f"{text}; about {minutes:02}:{seconds:02} left"


PhaseListener: TypeAlias = Callable[[Phases], None]
_LISTENER: ContextVar[PhaseListener | None] = ContextVar("listens to phases", default=None)


@contextmanager
def listening(listener: PhaseListener) -> Iterator[None]:
    """Tell a listener, within the block, what the frameworks are at."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def tell_phases(
    running: Sequence[tuple[str, Path]], ended: int, total: int, seconds: float
) -> None:
    """Tell the listener, if there is one. Args: running: runner and folder of each child."""
    listener = _LISTENER.get()
    if listener is not None:
        phases = tuple(_read(runner, folder) for runner, folder in running)
        listener(Phases(phases, ended, total, seconds))


def _read(runner: str, folder: Path) -> Phase:
    with suppress(OSError, ValueError, TypeError):
        values = json.loads((folder / FILE).read_text())
        return Phase(runner, **values)
    return Phase(runner)


class Teller:
    """The child's side: says what it is at."""

    def __init__(self, folder: Path | None = None) -> None:
        """Take the folder of the child; without one it says nothing."""
        self._folder, self._values = folder, dict[str, Any]()
        self._total, self._done, self._weight, self._told = 1.0, 0.0, 0.0, 0.0

    def expect(self, probes: int, searches: int, precisions: Sequence[str]) -> None:
        """Take how much there is to do."""
        total = sum(
            probes * FORWARD.get(precision, 1.0) + searches * SEARCH for precision in precisions
        )
        self._total = max(total, 1.0)

    def begin(self, precision: str, step: str, weight: float) -> None:
        """Say that a step begins; the one before it has ended."""
        self._done, self._weight = self._done + self._weight, weight
        self._values = {"precision": precision, "step": step, "layer": ""}
        self._tell()

    def layer(self, number: int, count: int) -> None:
        """Say which layer computes."""
        if time.monotonic() - self._told >= LAYER_SECONDS and self._values:
            self._values["layer"] = f"{number} of {count}"
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        if self._folder is None:
            return
        values = self._values | {"done": round(min(self._done / self._total, 1.0), 4)}
        with suppress(OSError):  # no news is no reason to fail
            draft = self._folder / f"{FILE}.new"
            draft.write_text(json.dumps(values))
            draft.replace(self._folder / FILE)


class _Child:
    teller = Teller()


def teller() -> Teller:
    """Return who says what this process is at."""
    return _Child.teller


def tell_into(folder: Path) -> None:
    """Let this process, a child, say what it is at in its folder."""
    _Child.teller = Teller(folder)
