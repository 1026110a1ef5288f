"""Faults while writing: every call that changes the disk fails or kills in turn, and the output is whole or absent.

For each scenario the calls are counted in an undisturbed run. Then each is a point: the run is repeated, and
that call fails (no space, I/O error) or brings a signal, once or from then on. After each point:

- the target is absent, or what it was (`--overwrite`), or whole and new, byte for byte;
- success is said where it is new, and "nothing was written" only where it is not;
- what is left beside it goes away with the next run, which succeeds;
- a directory that cannot be removed (the old output, or a half new one) is named by the run that leaves it.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from ckptconv.trials.injection import FAULTS, Call, Ended, Fault, Injected, Injector, injector_here
from ckptconv.trials.pair import write_pair

SCENARIOS: Mapping[str, tuple[str, ...]] = {
    "pt2tf": ("pt2tf",),
    "pt2flax": ("pt2flax",),
    "split": ("split",),
    "overwrite": ("pt2flax", "--overwrite"),
    "no exchange": ("pt2flax", "--overwrite"),
}
"""Name -> command. `overwrite` finds the output of another command in the target's place; `no exchange` as well, on a
system that cannot exchange two directories in one step."""
STEPWISE = ("no exchange",)
USUAL = tuple(name for name in SCENARIOS if name not in STEPWISE)
"""What a system that can exchange directories meets."""
NEXT = "normalize"
"""The run after a fault, whose own output is known too: the quickest verb, since any must clear the way."""
ENDS = {"SIGKILL": (-9, 4), "SIGTERM": (143, 4), "SIGINT": (130, 4), "EIO": (4,), "ENOSPC": (4,)}
"""How a run may end that did not succeed; with 4 where a signal struck the process that reads HDF5."""
CLEANING = ("unlink", "unlinkat", "rmdir")

Tree = Mapping[str, str]
"""Path below a directory -> sha256 of a file, "" for a directory."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that did not hold."""

    scenario: str
    fault: Fault
    what: str

    def __str__(self) -> str:
        return f"{self.scenario}: {self.fault}: {self.what}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What came of a sweep."""

    injector: Injector
    calls: Mapping[str, int]
    """Scenario -> calls that change the disk."""
    points: Mapping[str, int]
    """Scenario -> faults that were injected."""
    published: int
    """Points after which the new output was there."""
    violations: tuple[Violation, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """True where every point left what it should; never for no point at all."""
        return any(self.points.values()) and not self.violations


@dataclass(frozen=True, slots=True)
class _Scenario:
    name: str
    before: Tree | None
    """What is in the target's place before; None: nothing."""
    new: Tree
    calls: tuple[Call, ...]


def tree(folder: Path) -> Tree | None:
    """Return what a directory holds; None where there is none."""
    if not folder.is_dir():
        return None
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def sweep(
    scratch: Path,
    points: int,
    *,
    scenarios: Sequence[str] = USUAL,
    jobs: int = 2,
    injector: Injector | None = None,
) -> Sweep:
    """Inject faults at up to `points` points, spread over the scenarios, in `jobs` processes at a time.

    Args: scratch: a directory that is empty or missing; what is made in it is removed. injector: None takes
    strace where this system has it.
    Raises: FrameworkError: the injector was asked for, and this system has none.
    """
    started = time.monotonic()
    injector = injector or injector_here()
    source = write_pair(scratch / "source")
    share = [points // jobs + (number < points % jobs) for number in range(jobs)]
    try:
        with ThreadPoolExecutor(jobs) as pool:
            benches = [
                _Bench(injector, source, scratch / str(number), scenarios) for number in range(jobs)
            ]
            done = list(pool.map(_Bench.sweep, benches, range(jobs), [jobs] * jobs, share))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Sweep(
        injector,
        benches[0].counts,
        {name: sum(bench.points[name] for bench in done) for name in scenarios},
        sum(bench.published for bench in done),
        tuple(violation for bench in done for violation in bench.violations),
        time.monotonic() - started,
    )


@dataclass(slots=True)
class _Part:
    """What one process did of a sweep."""

    points: dict[str, int]
    published: int
    violations: list[Violation]


class _Bench:
    """One warm process with a directory of its own."""

    def __init__(
        self, injector: Injector, source: Path, folder: Path, scenarios: Sequence[str]
    ) -> None:
        self._injector: Injector = injector
        self._source = source
        self._names = scenarios
        self._parent = folder / "parent"
        self._old = folder / "old"
        self._parent.mkdir(parents=True)
        self._target = self._parent / "out"
        self.counts: dict[str, int] = {}

    def sweep(self, number: int, of: int, points: int) -> _Part:
        """Do every `of`-th point, beginning with `number`, up to `points` of them."""
        part = _Part(dict.fromkeys(self._names, 0), 0, [])
        with Injected(self._injector, self._parent.parent) as self._runs:
            scenarios, after = self._scenarios()
            self.counts = {one.name: len(one.calls) for one in scenarios}
            turns = [turn for index, turn in enumerate(_turns(scenarios)) if index % of == number]
            for scenario, fault in turns[:points]:
                wrong, published = self._point(scenario, fault, after)
                part.points[scenario.name] += 1
                part.published += published
                part.violations += [Violation(scenario.name, fault, what) for what in wrong]
        return part

    def _scenarios(self) -> tuple[list[_Scenario], Tree]:
        """Count the calls of each scenario, and learn what each command writes."""
        self._run(NEXT, "--overwrite")
        after = tree(self._target) or {}
        self._run("split", "--overwrite")
        self._target.rename(self._old)
        scenarios = []
        for name in self._names:
            command = SCENARIOS[name]
            self._runs.exchanges = name not in STEPWISE
            self._prepare("--overwrite" in command)
            calls = self._runs.calls([*command, str(self._source), str(self._target), "--quiet"])
            before = tree(self._old) if "--overwrite" in command else None
            scenarios.append(_Scenario(name, before, tree(self._target) or {}, tuple(calls)))
        return scenarios, after

    def _prepare(self, old: bool) -> None:
        shutil.rmtree(self._parent)
        self._parent.mkdir()
        if old:
            shutil.copytree(self._old, self._target)

    def _run(self, *command: str, fault: Fault | None = None) -> Ended:
        quiet = [] if fault and _stays(fault) else ["--quiet"]
        return self._runs.run([*command, str(self._source), str(self._target), *quiet], fault)

    def _point(self, scenario: _Scenario, fault: Fault, after: Tree) -> tuple[list[str], bool]:
        """Inject one fault; return what is wrong then, and whether the new output was there."""
        self._prepare(scenario.before is not None)
        self._runs.exchanges = scenario.name not in STEPWISE
        ended = self._run(*SCENARIOS[scenario.name], fault=fault)
        outcome = tree(self._target)
        if outcome is None and scenario.name in STEPWISE:
            return self._between(scenario, ended, after), False
        wrong = list(_judge(scenario, fault, ended, outcome))
        if _stays(fault):
            wrong += _unnamed(self._target, ended)
        if (
            outcome == scenario.before
            and _must_clear(fault)
            and len(list(self._parent.iterdir())) != bool(outcome)
        ):
            wrong.append(f"left behind: {sorted(path.name for path in self._parent.iterdir())}")
        again = self._run(NEXT, *(["--overwrite"] if outcome is not None else []))
        left = sorted(path.name for path in self._parent.iterdir())
        if (again.code, left, tree(self._target)) != (0, ["out"], after):
            wrong.append(f"the next run ended with {again.code} and {left}: {again.said.strip()}")
        return wrong, outcome == scenario.new

    def _between(self, scenario: _Scenario, ended: Ended, after: Tree) -> list[str]:
        """Return what is wrong where a run ended between the two steps.

        Old and new lie beside the target, whole; `check` says where; the next run clears the way.
        """
        wrong = []
        beside = [tree(path) for path in self._parent.iterdir() if path.is_dir()]
        whole = [
            scenario.before,
            *([scenario.new] if ended.code < 0 else []),
        ]  # an error clears its own stage
        if ended.code == 0 or not all(each in beside for each in whole):
            wrong.append(
                f"ended with {ended.code}, and the old output does not lie beside the target"
            )
        said = self._runs.run(["check", str(self._target)]).said
        names = [path.name for path in self._parent.iterdir() if tree(path) == scenario.before]
        if not all(name in said for name in names):
            wrong.append(f"the next run does not say where the old one lies: {said.strip()}")
        again = self._run(NEXT, "--overwrite")
        left = sorted(path.name for path in self._parent.iterdir())
        if (again.code, left, tree(self._target)) != (0, ["out"], after):
            wrong.append(f"the next run ended with {again.code} and {left}: {again.said.strip()}")
        return wrong


def _turns(scenarios: Sequence[_Scenario]) -> Iterator[tuple[_Scenario, Fault]]:
    """Return every point, in such an order that the first ones touch every call once, the next ones once more."""
    kinds = [
        (kind, onwards)
        for onwards in (False, True)
        for kind in FAULTS
        if (kind, onwards) != ("SIGKILL", True)
    ]
    calls = _mixed(scenarios)
    for turn in range(len(kinds)):
        for index, (scenario, call) in enumerate(calls):
            kind, onwards = kinds[(index + turn) % len(kinds)]
            yield scenario, Fault(call, kind, onwards)


def _mixed(scenarios: Sequence[_Scenario]) -> list[tuple[_Scenario, Call]]:
    """Return every call, in such an order that a few of each name come first, and none in the order of the run."""
    groups: dict[tuple[str, str], list[tuple[_Scenario, Call]]] = {}
    for scenario in scenarios:
        for call in scenario.calls:
            groups.setdefault((scenario.name, call.name), []).append((scenario, call))
    shuffled = [random.Random(0).sample(group, len(group)) for group in groups.values()]
    return [fault for row in zip_longest(*shuffled) for fault in row if fault is not None]


def _must_clear(fault: Fault) -> bool:
    """Say whether the run itself must leave nothing: it lived on, and could look and remove."""
    blind = fault.call.name == "openat" and fault.onwards
    locked = (
        fault.call.name == "flock"
    )  # an empty lock file, which may be another run's: the next takes it
    failing = not fault.kind.startswith("SIG") and (fault.call.name in CLEANING or blind or locked)
    return fault.kind != "SIGKILL" and not failing


def _stays(fault: Fault) -> bool:
    """Say whether the run lives on and something that it removes stays."""
    return fault.call.name in CLEANING and not fault.kind.startswith("SIG")


def _unnamed(target: Path, ended: Ended) -> Iterator[str]:
    """Return the directories beside the target that a run left there without a word."""
    for path in sorted(target.parent.iterdir()):
        if path != target and path.is_dir() and path.name not in ended.said:
            yield f"left behind without a word: {path.name}"


def _judge(scenario: _Scenario, fault: Fault, ended: Ended, outcome: Tree | None) -> Iterator[str]:
    """Hold what is there, and what the run said, against the promises."""
    if outcome not in (scenario.before, scenario.new):
        yield f"the target is neither what it was nor new: {sorted(outcome or {})}"
    reading = (
        (3,) if fault.call.name == "openat" and not fault.kind.startswith("SIG") else ()
    )  # the source's, too
    if ended.code not in (0, *ENDS[fault.kind], *reading):
        yield f"ended with {ended.code}: {ended.said.strip()}"
    if ended.code == 0 and outcome != scenario.new:
        yield f"success, but the target is {'not new' if outcome else 'absent'}"
    nothing = "nothing was" in ended.said
    if nothing and outcome == scenario.new:
        yield f"published, but it said: {ended.said.strip()}"
    if "Traceback" in ended.said or "Exception ignored" in ended.said:
        yield f"a traceback: {ended.said.strip()[-600:]}"
