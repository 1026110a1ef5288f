"""The same input gives the same bytes, whatever the process and the user are like: every verb's whole output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.trials.faults import tree

if TYPE_CHECKING:
    from conftest import Counted

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
DRIVER = """
import os, runpy, sys
os.umask(int(sys.argv[1], 8))
for line in sys.stdin.read().splitlines():
    sys.argv = ["ckptconv", *line.split()]
    try:
        runpy.run_module("ckptconv", run_name="__main__")
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line}: {end.code}")
"""
COMMANDS = """
split SOURCE OUT/parts --quiet
split SOURCE OUT/parts-sharded --max-shard-size 200kB --dtype float16 --quiet
join OUT/parts/encoder OUT/parts/decoder OUT/joined --quiet
pt2tf SOURCE OUT/tf --quiet
pt2tf SOURCE OUT/tf-safetensors --format safetensors --max-shard-size 300kB --quiet
pt2flax SOURCE OUT/flax --quiet
pt2flax SOURCE OUT/flax-sharded --max-shard-size 300kB --dtype bfloat16 --quiet
tf2pt OUT/tf OUT/tf2pt --quiet
flax2pt OUT/flax OUT/flax2pt --quiet
normalize SOURCE OUT/normal --quiet
""".strip()
UMASKS = {"umask 077": "077", "umask 000": "000"}
ENVIRONMENTS = {
    "hash seed 0": {"PYTHONHASHSEED": "0"},
    "hash seed 4711": {"PYTHONHASHSEED": "4711"},
    "time zone": {"TZ": "Pacific/Kiritimati"},
    "locale C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "locale tr_TR": {"LC_ALL": "tr_TR.UTF-8"},
    "another user": {"USER": "somebody", "HOME": "/nonexistent", "HOSTNAME": "elsewhere"},
    "umask 077": {},
    "umask 000": {},
    "another directory": {},
}
PYTHONS = ("3.11", "3.12", "3.13")


def all_verbs(
    source: Path | str,
    out: Path | str,
    python: str = sys.executable,
    umask: str = "022",
    cwd: Path | None = None,
    **env: str,
) -> dict[str, str]:
    """Run every verb that writes, in one process; return what all of them wrote."""
    lines = COMMANDS.replace("SOURCE", str(source)).replace("OUT", str(out))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    subprocess.run(
        [python, "-P", "-c", DRIVER, umask],
        input=lines,
        text=True,
        env=environment,
        cwd=cwd,
        check=True,
    )
    return dict(tree((cwd or Path()) / out) or {})


@pytest.fixture(scope="module")
def reference(dates: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what every verb writes here."""
    return all_verbs(dates, tmp_path_factory.mktemp("reference") / "out")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_whatever_the_environment(
    name: str, dates: Path, reference: dict[str, str], tmp_path: Path, counted: Counted
) -> None:
    """Hash seed, time zone, locale, user, umask and working directory leave no trace in any file."""
    if name == "another directory":
        (tmp_path / "source").symlink_to(dates)
        made = all_verbs("source", "out", cwd=tmp_path)
    else:
        made = all_verbs(
            dates, tmp_path / "out", umask=UMASKS.get(name, "022"), **ENVIRONMENTS[name]
        )
    assert made == reference
    files = sum(map(bool, made.values()))
    counted(
        f"determinism: {name}: {files} files of {len(COMMANDS.splitlines())} commands are the same"
    )


@pytest.mark.parametrize("version", PYTHONS)
def test_whatever_the_python(
    version: str, dates: Path, reference: dict[str, str], tmp_path: Path
) -> None:
    """Every Python that is here and has what ckptconv needs writes the same files."""
    python = next(iter(_pythons(version)), None)
    if python is None:
        pytest.skip(f"no Python {version} here that has click, h5py, numpy, tabulate and tqdm")
    assert all_verbs(dates, tmp_path / "out", python) == reference


def _pythons(version: str) -> list[str]:
    """Return the interpreters of a version on the path, in this environment and in pyenv that can import it all."""
    places = [Path(sys.executable).parent, *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    places += sorted(
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}*/bin")
    )
    check = f"import click, h5py, numpy, tabulate, tqdm, sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    found = []
    for place in dict.fromkeys(places):
        python = place / f"python{version}"
        if (
            python.is_file()
            and subprocess.run([python, "-c", check], capture_output=True, check=False).returncode
            == 0
        ):
            found.append(str(python))
    return found
