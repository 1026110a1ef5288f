"""The same input gives the same bytes, whatever the process and the user are like: files, and what is printed."""

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

ROOT = Path(__file__).parents[2]
DRIVER = """
import contextlib, io, os, re, runpy, sys
umask, folder = sys.argv[1:]
os.umask(int(umask, 8))
printed = io.StringIO()
for line in sys.stdin.read().splitlines():
    sys.argv = ["ckptconv", *line.removeprefix("> ").split()]
    shown = line.startswith("> ")
    if shown:
        os.chdir(folder)
    try:
        with contextlib.redirect_stdout(printed if shown else sys.stdout):
            runpy.run_module("ckptconv", run_name="__main__")
    except SystemExit as end:
        if end.code not in ((0, 1) if shown else (0, None)):
            sys.exit(f"{line}: {end.code}")
text = re.sub(r'in [0-9.]+ s\\b|"seconds": [0-9.]+', "in N s", printed.getvalue())
sys.stdout.buffer.write(text.encode())
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
> inspect source --tensors
> inspect source --json
> diff source out/flax-sharded
> diff source out/flax-sharded --json
> verify source out/tf --level weights
> check out/tf --json
> families
""".strip()
"""What begins with > prints, from the directory of the output, so that its paths have one length."""
UMASKS = {"umask 077": "077", "umask 000": "000"}
ENVIRONMENTS = {
    "hash seed 0": {"PYTHONHASHSEED": "0"},
    "hash seed 4711": {"PYTHONHASHSEED": "4711"},
    "time zone": {"TZ": "Pacific/Kiritimati"},
    "locale C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "locale tr_TR": {"LC_ALL": "tr_TR.UTF-8"},
    "another user": {"USER": "somebody", "HOME": "/nonexistent", "HOSTNAME": "elsewhere"},
    "one thread": {"CKPTCONV_WORKERS": "1"},
    "many threads": {"CKPTCONV_WORKERS": "9"},
    "umask 077": {},
    "umask 000": {},
    "another directory": {},
}
TOGETHER = {
    "bare": {
        **ENVIRONMENTS["hash seed 0"],
        **ENVIRONMENTS["locale C"],
        **ENVIRONMENTS["one thread"],
    },
    "foreign": {
        **ENVIRONMENTS["hash seed 4711"],
        **ENVIRONMENTS["time zone"],
        **ENVIRONMENTS["locale tr_TR"],
        **ENVIRONMENTS["another user"],
        **ENVIRONMENTS["many threads"],
    },
}
"""All of them in two runs; when one of these fails, the single ones say which environment it is."""
PYTHONS = ("3.11", "3.12", "3.13")


def all_verbs(
    source: Path | str,
    out: Path | str,
    python: str = sys.executable,
    umask: str = "022",
    cwd: Path | None = None,
    **env: str,
) -> dict[str, str]:
    """Run the verbs in one process; return what those that write wrote, and what the others printed."""
    lines = COMMANDS.replace("SOURCE", str(source)).replace("OUT", str(out))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    output = (cwd or Path()) / out
    if not (output.parent / "source").is_symlink():
        (output.parent / "source").symlink_to(source)
    run = subprocess.run(
        [python, "-P", "-c", DRIVER, umask, output.parent],
        input=lines.encode(),
        stdout=subprocess.PIPE,
        env=environment,
        cwd=cwd,
        check=True,
    )
    return {**(tree(output) or {}), "what was printed": run.stdout.decode()}


@pytest.fixture(scope="module")
def reference(dates: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what every verb writes and prints here."""
    whole = all_verbs(dates, tmp_path_factory.mktemp("reference") / "out")
    assert whole["what was printed"].count("\n") > 1000
    return whole


@pytest.mark.faults
@pytest.mark.parametrize("name", TOGETHER)
def test_whatever_the_environment(
    name: str, dates: Path, reference: dict[str, str], tmp_path: Path
) -> None:
    """Hash seed, time zone, locale, user, umask and working directory leave no trace in any file or on the screen."""
    if name == "foreign":
        (tmp_path / "source").symlink_to(dates)
        written = all_verbs("source", "out", cwd=tmp_path, umask="077", **TOGETHER[name])
    else:
        written = all_verbs(dates, tmp_path / "out", umask="000", **TOGETHER[name])
    assert written == reference


@pytest.mark.soak
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_each_environment_alone(
    name: str, dates: Path, reference: dict[str, str], tmp_path: Path, counted: Counted
) -> None:
    """What leaves a trace is named."""
    if name == "another directory":
        (tmp_path / "source").symlink_to(dates)
        made = all_verbs("source", "out", cwd=tmp_path)
    else:
        made = all_verbs(
            dates, tmp_path / "out", umask=UMASKS.get(name, "022"), **ENVIRONMENTS[name]
        )
    assert made == reference
    files = sum(map(bool, made.values())) - 1
    counted(
        f"determinism: {name}: {files} files of {len(COMMANDS.splitlines())} commands are the same"
    )


@pytest.mark.faults
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
    result = []
    for place in dict.fromkeys(places):
        python = place / f"python{version}"
        if (
            python.is_file()
            and subprocess.run([python, "-c", check], capture_output=True, check=False).returncode
            == 0
        ):
            result.append(str(python))
    return result
