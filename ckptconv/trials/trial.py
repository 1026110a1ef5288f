"""One malformed checkpoint after another, each tried in this process: what `malformed.py` starts as a child.

Reads from stdin which cases to try (JSON), writes a JSON line before and after each. A case that does not
come back is ended by the alarm clock, and this process with it; the parent goes on without it.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ckptconv.base.discovery import Registry
from ckptconv.base.errors import SourceError
from ckptconv.schema.family import FAMILIES
from ckptconv.schema.model import MODELS
from ckptconv.trials.case import MalformedCase
from ckptconv.trials.memory import Peak, give_back
from ckptconv.trials.watch import Watch
from ckptconv.verbs.convert import flax2pt, pt2flax, pt2tf, tf2pt

CPU_SECONDS = 3.0
"""What refusing one case may take, this process and its children together. The slowest took 1.0 s when this was
written, and 1.2 s on a busy machine; a slower one is no broken promise."""
WALL_SECONDS = 30
"""When a case counts as one that never ends; on a busy machine a second may last."""
PEAK_BYTES = 200 << 20
"""Resident memory of this process at its highest, without what earlier cases left."""
ROOM_BYTES = 1 << 30
"""Address space beyond what is in use before the first case."""
LATE = ("difflib", "subprocess", "selectors", "textwrap")
"""What Python or ckptconv imports when it is first needed, so that no case is blamed for it."""


CASES: Registry[str, Iterable[MalformedCase]] = Registry("trials.corpus", "CASES", key=None)
"""Format -> its cases, by the name of the file that makes them."""


def corpus() -> dict[str, tuple[MalformedCase, ...]]:
    """Return format -> its cases."""
    return {form: tuple(cases) for form, cases in CASES.items()}


def try_case(case: MalformedCase, folder: Path) -> str:
    """Build a case in an empty folder and convert it; return what is wrong, empty if it is refused as it should be."""
    source, around = folder / "source", folder / "around"
    source.mkdir()
    around.mkdir()
    case.build(source)
    convert = _verb(source)
    give_back()
    began, error = _cpu(), None
    signal.alarm(WALL_SECONDS)
    with Peak() as peak, Watch(source, around, children=True) as watch:
        try:
            convert(source, around / "target")
        except Exception as caught:  # every kind is looked at
            error = caught
        highest = peak.nbytes
    signal.alarm(0)
    happened = [f"happened: {event}" for event in watch.events]
    left = [f"left behind: {entry.name}" for entry in around.iterdir()]
    return "; ".join([*happened, *_wrong(case, error), *left, *_dear(_cpu() - began, highest)])


def _wrong(case: MalformedCase, error: Exception | None) -> Iterator[str]:
    """Say what is wrong with how a conversion ended."""
    text = str(error)
    if error is None:
        yield "it was converted"
    elif not isinstance(error, SourceError):
        yield f"{type(error).__name__} instead of a refusal: {text[:300]}"
    elif not re.search(case.says, text):
        yield f"refused for another reason than {case.says!r}: {text[:300]}"


def _dear(seconds: float, highest: int) -> Iterator[str]:
    """Say which limit a refusal passed."""
    if seconds > CPU_SECONDS:
        yield f"{seconds:.1f} s of CPU time"
    if highest > PEAK_BYTES:
        yield f"{highest >> 20} MiB of memory"


def _verb(source: Path) -> Callable[[Path, Path], object]:
    """Return the conversion that would read the weights of a directory."""
    names = [entry.name for entry in source.iterdir()]
    if any(name.startswith("tf_model") for name in names):
        return tf2pt
    if any(name.startswith("flax_model") for name in names):
        return flax2pt
    return pt2tf


def warm_up(folder: Path) -> None:
    """Convert a sound checkpoint to and fro, and meet each format's first refusal: all that is imported late."""
    from ckptconv.trials.corpus._model import write
    from ckptconv.trials.corpus._zipped import parts, zipped

    for name in LATE:
        __import__(name)
    for registry in (FAMILIES, MODELS):
        list(registry)  # a sound checkpoint asks for its own family and kind alone
    (folder / "pt").mkdir()
    write(folder / "pt", zipped(parts()))
    pt2tf(folder / "pt", folder / "tf")
    tf2pt(folder / "tf", folder / "again")
    pt2flax(folder / "pt", folder / "flax")
    flax2pt(folder / "flax", folder / "once-more")
    for form, cases in corpus().items():
        (folder / form).mkdir()
        with suppress(SourceError):
            cases[0].build(folder / form)
            _verb(folder / form)(folder / form, folder / "target")


def _cpu() -> float:
    """Return the CPU time of this process and the children it waited for [s]."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _limit_memory() -> None:
    """Have an allocation far beyond all bounds fail, instead of the machine."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(
            resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + ROOM_BYTES, most)
        )


def main() -> None:
    """Try the cases that stdin names, in the folder that the command line names."""
    folder = Path(sys.argv[1])
    request = json.loads(sys.stdin.read())
    cases = {case.name: case for group in corpus().values() for case in group}
    (folder / "warm").mkdir()
    warm_up(folder / "warm")
    gc.freeze()  # what stays for good need not be looked through before every case
    _limit_memory()
    for number, name in enumerate(request):
        print(json.dumps({"begin": name}), flush=True)  # noqa: T201  # the channel to the parent
        place = folder / str(number)
        place.mkdir()
        wrong = try_case(cases[name], place)
        print(json.dumps({"end": name, "wrong": wrong}), flush=True)  # noqa: T201
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
