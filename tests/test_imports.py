"""What a command imports: as little as it needs, and never a framework before outputs are computed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from syntax import syntax

ROOT = Path(__file__).parents[1]
SCRIPT = """
import sys
before = set(sys.modules)
from ckptconv.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
sys.stderr.write("\\n@" + " ".join(set(sys.modules) - before))
"""
UNWANTED = {"pickle", "multiprocessing", "ssl", "asyncio"}
"""Of Python's own: what could run code, and what takes long to start. numpy imports pickle for itself."""

HTML = {"click", "numpy", "jinja2", "markupsafe", "plotly", "_plotly_utils", "narwhals"}
"""What a page needs, and what that needs in turn."""


def modules(*args: object) -> set[str]:
    """Return the names of all modules that a command imports."""
    command = [sys.executable, "-c", SCRIPT, *map(str, args)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=True
    )
    return set(process.stderr.rpartition("@")[2].split())


def third_party(names: set[str]) -> set[str]:
    """Return the top-level names that are neither Python's own nor ours (Cython's belong to h5py)."""
    tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    # tabulate takes wcwidth where it is installed.
    return {top for top in tops if "cython" not in top} - {"ckptconv", "wcwidth"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("args", "allowed"),
    [
        (("--help",), {"click"}),
        (("--version",), {"click"}),
        (("inspect", "{dates}"), {"click", "tabulate"}),
        (("inspect", "{dates}", "--json"), {"click"}),
        (("split", "{dates}", "{out}"), {"blake3", "click", "numpy"}),
        (("split", "{dates}", "{out}", "--dry-run"), {"click", "numpy", "tabulate"}),
        (("pt2tf", "{dates}", "{out}"), {"blake3", "click", "numpy", "h5py"}),
        (("pt2flax", "{dates}", "{out}"), {"blake3", "click", "numpy"}),
        (("verify", "{dates}", "{flax}", "--level", "weights"), {"click", "numpy"}),
        (("verify", "{dates}", "{tf}", "--level", "weights"), {"click", "numpy"}),
        (("diff", "{tf}", "{flax}"), {"click", "numpy"}),
        (("check", "{tf}"), {"click"}),
        (("inspect", "{tf}", "--json"), {"click"}),
    ],
)
def test_third_party_modules(
    args: tuple[str, ...],
    allowed: set[str],
    dates: Path,
    converted_tf: Path,
    converted_flax: Path,
    tmp_path: Path,
) -> None:
    """Each command imports exactly the libraries of its list: no framework, and no pickle but numpy's."""
    paths = {"dates": dates, "out": tmp_path / "out", "tf": converted_tf, "flax": converted_flax}
    result = modules(*(arg.format(**paths) for arg in args))
    assert third_party(result) == allowed
    assert result & UNWANTED == ({"pickle"} if "numpy" in allowed else set())


@pytest.mark.thorough
def test_help_imports_the_command_line_alone() -> None:
    """What reads a checkpoint, and what that needs, is imported by the command that does."""
    imported = modules("--help")
    own = {name.split(".")[1] for name in imported if name.startswith("ckptconv.")}
    assert own <= {"artefacts", "base", "cli"}
    assert not imported & {"ckptconv.base.files", "concurrent.futures", "hashlib", "json", "shutil"}


@pytest.mark.thorough
def test_headers_of_safetensors_take_no_other_reader(dates: Path) -> None:
    """`inspect` imports the reader of the format that is there, and nothing that writes or starts processes."""
    imported = modules("inspect", dates, "--json")
    parsers = {name for name in imported if name.startswith("ckptconv.stores.parsers.")}
    # `stream` words refusals; the others are of Flax's format, since `pt2flax` is asked what it would write
    assert {name.rpartition(".")[2] for name in parsers} <= {
        "stream",
        "msgpack_tree",
        "flax_training",
    }
    assert not {name for name in imported if name.startswith("ckptconv.transfer")}
    assert not imported & {
        "ckptconv.compare.configs",
        "ckptconv.stores.foreign",
        "concurrent.futures",
        "difflib",
        "hashlib",
        "importlib.metadata",
        "logging",
        "secrets",
        "shutil",
        "subprocess",
    }


@pytest.mark.thorough
def test_weights_alone_take_nothing_that_runs_models(dates: Path, converted_tf: Path) -> None:
    """`verify --level weights` of equal checkpoints imports nothing that runs, converts or names differences."""
    imported = modules("verify", dates, converted_tf, "--level", "weights")
    running = {
        name for name in imported if name.startswith(("ckptconv.run.", "ckptconv.artefacts.f"))
    }
    assert running == {"ckptconv.run.tolerance"}
    assert not imported & {
        "ckptconv.compare.analysis",
        "ckptconv.verbs.convert",
        "ckptconv.verbs.record",
        "importlib.metadata",
        "numpy.random",
        "statistics",
    }


@pytest.mark.thorough
def test_pages_need_no_framework(dates: Path, tmp_path: Path) -> None:
    """`--html` imports what draws, and nothing that runs a model; plotly takes Pillow where it is installed."""
    imported = third_party(modules("inspect", dates, "--json", "--html", tmp_path / "page.html"))
    assert imported - {"PIL"} == HTML


def strangers(script: Path) -> Iterator[str]:
    """Name what a script imports from the package and the package does not have."""
    for node in syntax(script).imports:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("ckptconv."):
            continue
        place = ROOT / str(node.module).replace(".", "/")
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        names = syntax(module).top_level if module.is_file() else set()
        for alias in node.names:
            is_module = (place / f"{alias.name}.py").is_file() or (place / alias.name).is_dir()
            if alias.name not in names and not is_module:
                yield f"{script.relative_to(ROOT)}:{node.lineno}: {node.module} has no {alias.name}"


def test_what_scripts_and_tests_import_is_there() -> None:
    """Scripts that no fast test runs, such as those of the demo and the benchmarks, name what the package has."""
    scripts = [
        script
        for folder in ("fixtures", "benchmarks", "docs", "tests")
        for script in sorted((ROOT / folder).rglob("*.py"))
    ]
    assert scripts
    assert [absent for script in scripts for absent in strangers(script)] == []
