"""`doctor`: what works on this machine, and what to install for the rest.

Each framework is imported in a child process of its own, as `verify` runs it: an import may take long, end the
process, or get in another framework's way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import gettempdir
from threading import TIMEOUT_MAX
from typing import Literal, TypeAlias

from ckptconv.base.environment import install_advice, installed, range_of, within
from ckptconv.base.errors import require_number, system_reason
from ckptconv.base.processes import ending
from ckptconv.base.results import Result
from ckptconv.version import __version__

State: TypeAlias = Literal["works", "untested", "missing", "broken"]
"""`untested`: it can be imported, in a version outside the range that ckptconv is tested with."""

TIMEOUT_SECONDS = 120.0
CORE = ("blake3", "click", "h5py", "numpy", "packaging", "tabulate", "tqdm")
PURPOSES = {
    "core": "convert, split, join, inspect, diff, verify --level weights",
    "pytorch": "verify: runs PyTorch models",
    "tf": "verify: runs TensorFlow models",
    "flax": "verify: runs Flax models",
    "hub": "reads checkpoints from the Hugging Face hub: org/name",
    "html": "HTML reports: --html",
    "remote": "reads checkpoints from a web server, by ranges: https://",
    "s3": "reads checkpoints from S3: s3://",
    "gs": "reads checkpoints from Google Cloud Storage: gs://",
    "az": "reads checkpoints from Azure: az://",
    "dask": "runs batch on a Dask cluster: --dask",
}
EXTRAS = {
    "hub": ("huggingface_hub",),
    "html": ("jinja2", "plotly"),
    "remote": ("fsspec", "aiohttp"),
    "s3": ("fsspec", "s3fs"),
    "gs": ("fsspec", "gcsfs"),
    "az": ("fsspec", "adlfs"),
    "dask": ("distributed",),
}
"""What is not a framework: its distributions, which are its modules too."""
SCRIPT = """
import signal, sys
from importlib import import_module
seconds, model_class, *modules = sys.argv[1:]
signal.alarm(int(seconds))  # the kernel's clock: this process ends even where its parent was killed
for module in modules:
    import_module(module)
try:
    model_class and getattr(import_module("transformers"), model_class)
except AttributeError:
    sys.exit(f"transformers has no class {model_class}; 4.57 is the last line that has them all")
"""


@dataclass(frozen=True, slots=True)
class Component:
    """One thing that ckptconv can use: its core, a framework, or another extra."""

    name: str
    state: State
    versions: tuple[tuple[str, str], ...]
    """Distribution and version; an empty version where it is not installed."""
    reason: str
    """Why it does not work, or is untested; empty where it works."""
    seconds: float
    """How long importing it took, in a process of its own [s]; 0 where that was not tried."""

    @property
    def purpose(self) -> str:
        """What works with it."""
        return PURPOSES[self.name]

    @property
    def remedy(self) -> str:
        """What to do where it does not work, in a line or two; empty where it does."""
        if self.state in ("works", "untested"):
            return ""
        return install_advice(self.name if self.name != "core" else "")


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis(Result):
    """What works on this machine."""

    version: str
    python: str
    components: tuple[Component, ...]
    """The core first."""
    cores: int
    memory_bytes: int
    """Of this machine, or of the container that runs this process [bytes]."""
    free_bytes: tuple[tuple[Path, int], ...]
    """Directory -> free disk [bytes]: the working directory, and where the frameworks' answers go."""

    @property
    def works(self) -> bool:
        """True where the core works; all else is optional."""
        return self.components[0].state in ("works", "untested")


@dataclass(frozen=True, slots=True)
class _Question:
    """What one child process is to import."""

    name: str
    distributions: Sequence[str]
    modules: Sequence[str]
    model_class: str = ""
    environment: dict[str, str] | None = None


def doctor(*, timeout: float = TIMEOUT_SECONDS) -> Diagnosis:
    """Import everything that ckptconv can use, each in a process of its own, and say what works.

    Args: timeout: seconds that one import may take.
    Raises: UsageError: no time. What does not work is part of the result.
    """
    require_number("timeout", timeout, 0, TIMEOUT_MAX)
    core = _examine(_Question("core", CORE, CORE), timeout)
    questions = list(_questions()) if core.state in ("works", "untested") else []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        components = tuple(pool.map(lambda question: _examine(question, timeout), questions))
    here = tuple((path, shutil.disk_usage(path).free) for path in (Path.cwd(), Path(gettempdir())))
    python = ".".join(map(str, sys.version_info[:3]))
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return Diagnosis(__version__, python, (core, *components), cores, _memory(), here)


def _questions() -> Iterator[_Question]:
    """Return what to ask about frameworks and extras; imported here, since it needs a core that works."""
    from ckptconv.run.children import environment
    from ckptconv.run.runners import RUNNERS
    from ckptconv.schema.model import MODELS

    for name, model_class in MODELS["encoder-decoder"].classes.items():
        process = RUNNERS[name].process
        yield _Question(
            name, process.distributions, process.modules, model_class, environment(name)
        )
    for name, distributions in EXTRAS.items():
        yield _Question(name, distributions, distributions)


def _examine(question: _Question, timeout: float) -> Component:
    """Say whether one component works, by metadata and then by importing it."""
    versions = tuple((name, installed(name)) for name in question.distributions)
    started = time.monotonic()
    failure = _failure(question, timeout)
    seconds = time.monotonic() - started
    if failure:
        absent = [name for name, version in versions if not version]
        state: State = "missing" if absent else "broken"
        reason = f"not installed: {', '.join(absent)}" if absent else failure
        return Component(question.name, state, versions, reason, seconds)
    extra = "" if question.name == "core" else question.name
    odd = [
        f"{name} {version}: tested with {range_of(name, extra)}"
        for name, version in versions
        if version and not within(version, range_of(name, extra))
    ]
    return Component(
        question.name, "untested" if odd else "works", versions, "; ".join(odd), seconds
    )


def _failure(question: _Question, timeout: float) -> str:
    """Return why a child cannot import what is asked, in one line; empty where it can."""
    # -P keeps the working directory off the path, as for the children of verify.
    command = [
        sys.executable,
        "-P",
        "-c",
        SCRIPT,
        str(ceil(timeout)),
        question.model_class,
        *question.modules,
    ]
    try:
        process = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=question.environment,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout:g} s"
    except OSError as error:
        return f"no process can be started ({system_reason(error)})"
    if process.returncode < 0:
        return f"the process that imported it was {ending(process.returncode)}"
    lines = process.stderr.decode(errors="replace").strip().splitlines()
    return (
        ""
        if process.returncode == 0
        else (lines[-1].strip() if lines else f"exit code {process.returncode}")
    )


def _memory() -> int:
    """Return the memory of the machine, or less where a container has a limit [bytes]."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total
