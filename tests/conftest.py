"""What every test may use: the trained checkpoint, synthetic ones, and the command line.

Synthetic checkpoints are made from the tables without a framework. Every axis has a prime length of its
own, so that a wrong axis cannot hide; attention weights are square, which is where a transpose can.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import disk_usage, rmtree
from tempfile import mkdtemp
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

import ckptconv
from ckptconv.cli.main import main as entry
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import TensorSpec

BUSY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
"""A machine with other work is slow, and no test is wrong for it."""
settings.register_profile("same", derandomize=True, **BUSY)
settings.register_profile("random", **BUSY)
settings.load_profile("same")  # `make soak` draws anew each time

ROOT = Path(__file__).parents[1]
MEMORY = Path("/dev/shm")
"""Where `tmp_path` lies when there is room: all output is synced, and the fast suite waited for a disk 3,500 times."""
ROOM = 4 << 30
"""Bytes; all tests of `make test` together need less than a quarter."""
COMPILED = "JAX_COMPILATION_CACHE_DIR"
"""A program of JAX that one child compiled is ready for the next: they make the same tiny models again and again."""
COMPILE_ALL = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
FRAMEWORKS = {"torch", "tensorflow", "jax", "transformers"}
LONG = (
    "test_pairs.py",
    "artefacts/test_lowered.py",
    "verbs/test_special_cases.py",
    "faultkit/test_outputs.py",
    "verbs/test_outputs.py",
    "test_wholes.py",
    "run/test_forward.py",
    "artefacts/test_one_piece.py",
    "stores/test_leading_keys.py",
    "verbs/test_join_published.py",
    "test_trained_wider.py",
    "verbs/test_verify_kinds.py",
)
"""Files whose framework tests take twenty seconds or more, longest first: each runs in one process."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
BERT = {
    "vocab_size": 23,
    "hidden_size": 7,
    "num_hidden_layers": 2,
    "intermediate_size": 13,
    "max_position_embeddings": 17,
    "type_vocab_size": 3,
    "pad_token_id": 1,
}
SIDES: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **BERT},
    "roberta": {"model_type": "roberta", **BERT},
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": 31,
        "n_embd": 7,
        "n_layer": 1,
        "n_inner": 11,
        "n_positions": 19,
    },
}
DECODER = {"is_decoder": True, "add_cross_attention": True}


@dataclass(frozen=True, slots=True)
class Run:
    """How one run of the command line ended. `out` and `err` have no times in them."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Pair:
    """A checkpoint in memory: change what you like, then write it."""

    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    """PyTorch name -> values; uint16 stands for the bits of bfloat16."""
    files: dict[str, str] = field(default_factory=dict)
    """File name -> text of what else lies in the directory."""

    @property
    def rows(self) -> tuple[SchemaTensor, ...]:
        """The tables' answer to the config."""
        return read_model(Config(self.config)).tensors

    def write(self, folder: Path) -> Path:
        """Write the directory and return it."""
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(
            json.dumps(self.config, indent=2, sort_keys=True) + "\n"
        )
        for name, text in self.files.items():
            (folder / name).write_text(text)
        specs = [
            TensorSpec(name, dtype_of(array), array.shape) for name, array in self.arrays.items()
        ]
        places = safetensors.create(folder / "model.safetensors", specs, "pytorch", False)
        with (folder / "model.safetensors").open("r+b") as file:
            for name, array in self.arrays.items():
                file.seek(places[name][0].offset)
                file.write(array.tobytes())
        return folder


def dtype_of(array: NDArray[Any]) -> str:
    """Return the canonical dtype of a synthetic array."""
    return "bfloat16" if array.dtype == np.uint16 else str(array.dtype)


def _pair(
    encoder: str = "bert",
    decoder: str = "bert",
    *,
    enc: dict[str, Any] | None = None,
    dec: dict[str, Any] | None = None,
    dtype: str = "float32",
) -> Pair:
    """Make a pair of two families; `enc` and `dec` change their configs."""
    small = {
        "intermediate_size": 11,
        "max_position_embeddings": 19,
        "type_vocab_size": 2,
        "vocab_size": 29,
    }
    config: dict[str, Any] = {
        "model_type": "encoder-decoder",
        "is_encoder_decoder": True,
        "dtype": dtype,
        "transformers_version": "4.57.6",
        "encoder": {**SIDES[encoder], **(enc or {})},
        "decoder": {
            **SIDES[decoder],
            **(small if decoder != "gpt2" else {}),
            **DECODER,
            **(dec or {}),
        },
    }
    rng = np.random.default_rng(5)
    arrays = {
        row.spellings["pytorch"].names[0]: rng.standard_normal(row.shape("pytorch")).astype(dtype)
        for row in read_model(Config(config)).tensors
        if row.module.presence != "dropped"
        and not (row.tied_to and row.module.tied)
        and "pytorch" in row.spellings
    }
    return Pair(config, arrays)


MakePair: TypeAlias = Callable[..., Pair]
Cli: TypeAlias = Callable[..., Run]
Counted: TypeAlias = Callable[[object], None]


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Counted:
    """Return what says how much a test tried; the line stands at the end of pytest's output, with xdist too."""
    return lambda line: request.node.user_properties.append(("counted", str(line)))


def pytest_configure(config: pytest.Config) -> None:
    """Take the signals back that whoever started the tests ignores, as a shell does in the background."""
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    if COMPILED not in os.environ:  # the workers and every child inherit it
        folder = mkdtemp(prefix="jax-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
        config.add_cleanup(partial(rmtree, folder, ignore_errors=True))
        os.environ |= {COMPILED: folder, **COMPILE_ALL}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest before the others, so that no process works long alone at the end."""
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


def pytest_collection_finish() -> None:
    """Leave what is collected out of the search for cycles, which took 6 % of the fast suite: it stays to the end."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Refuse a test that imports a framework without the mark that says so: marks are by cost."""
    before = sys.modules.keys() & FRAMEWORKS
    yield
    imported = (sys.modules.keys() & FRAMEWORKS) - before
    assert not imported or item.get_closest_marker("frameworks"), (
        f"imports {', '.join(sorted(imported))} without the mark `frameworks`"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests counted."""
    reports = [
        report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])
    ]
    lines = [
        text for report in reports for name, text in report.user_properties if name == "counted"
    ]
    if lines:
        terminalreporter.section("counted")
        terminalreporter.write("".join(f"{line}\n" for line in sorted(lines)))


@pytest.fixture(scope="session")
def make_pair() -> MakePair:
    """Return what makes a pair: `make_pair("roberta", "gpt2", dec={"n_embd": 5}, dtype="float16")`."""
    return _pair


@pytest.fixture
def pair() -> Pair:
    """Return a bert -> bert pair of width 7."""
    return _pair()


@pytest.fixture(scope="session")
def dates() -> Path:
    """Return the trained checkpoint, as a path below the working directory of `run`."""
    return ROOT / "fixtures" / "dates"


@pytest.fixture(scope="session")
def converted_tf(dates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the trained checkpoint as TF's class loads it; not to be changed."""
    target = tmp_path_factory.mktemp("converted") / "tf"
    ckptconv.pt2tf(dates, target)
    return target


@pytest.fixture(scope="session")
def converted_flax(dates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the trained checkpoint as Flax's class loads it; not to be changed."""
    target = tmp_path_factory.mktemp("converted") / "flax"
    ckptconv.pt2flax(dates, target)
    return target


def _timeless(text: str) -> str:
    return re.sub(r"\bin \d+\.\d s\b", "in N s", text)


@pytest.fixture(scope="session")
def run() -> Cli:
    """Return what runs the command line in a process of its own; never with a traceback."""

    def call(*args: object, env: dict[str, str] | None = None) -> Run:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        command = [
            sys.executable,
            "-m",
            "ckptconv",
            *(arg if isinstance(arg, bytes) else str(arg) for arg in args),
        ]
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in process.stderr, process.stderr
        return Run(process.returncode, _timeless(process.stdout), _timeless(process.stderr))

    return call


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """Return what runs the command line in this process: five times as fast, the same entry point."""

    def call(*args: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["ckptconv", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            entry()
        out, err = capsys.readouterr()
        return Run(int(end.value.code or 0), _timeless(out), _timeless(err))

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)
