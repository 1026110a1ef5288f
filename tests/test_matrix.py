"""The edges of the version ranges in pyproject.toml, each in an environment of its own: built, and used.

What a row does not name is what the tests themselves run with. Packages come from the index; a row whose packages or
whose Python cannot be had is skipped, and says so.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import ROOT
from environments import Environment, install, layered

pytestmark = pytest.mark.soak

OLD, NEW = "transformers==4.57.6", "transformers>=5,<6"
PYTORCH: Mapping[str, Sequence[str]] = {
    "transformers 4.57.6, hub 0.34": (OLD, "huggingface_hub>=0.34,<0.35"),
    "transformers 4.57.6, hub 0, newest": (OLD, "huggingface_hub<1"),
    "transformers 5, hub 1": (NEW, "huggingface_hub>=1,<2"),
    "transformers 5, hub 2": (NEW, "huggingface_hub>=2,<3"),
}
"""Row -> what it has in the place of the tests' own packages."""
OLDEST = (
    "numpy==2.2.0",
    "h5py==3.14.0",
    "click==8.4.0",
    "blake3==1.0.0",
    "packaging==24.0",
    "tabulate==0.9.0",
    "tqdm==4.66.0",
)
"""The lower edges of what the core needs."""
FAST = "not frameworks and not browser and not thorough and not faults and not fuzz and not soak"
CORE_TESTS = (
    "tests/verbs/test_convert.py",
    "tests/verbs/test_check.py",
    "tests/stores/formats/test_safetensors.py",
)
HUB_TESTS = ("tests/stores/hub",)
PYTHONS = ("3.12", "3.13", "3.14")
README = (ROOT / "README.md").read_text()
BEYOND_5 = ("verify", "export", "selftest")
"""Commands of README that need transformers 4.57, or take long; what PyTorch verifies is added to them."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, dates: Path) -> tuple[Path, Path]:
    """Return a trace that these tests' own versions recorded, and the model as TF's class has it."""
    folder = tmp_path_factory.mktemp("here")
    own = Environment(Path(sys.executable))
    own.ckptconv("verify", dates, "--save-trace", folder / "trace")
    own.ckptconv("pt2tf", dates, folder / "tf")
    return folder / "trace", folder / "tf"


@pytest.mark.parametrize("row", PYTORCH)
def test_pytorch_and_the_hub(
    row: str, here: tuple[Path, Path], dates: Path, tmp_path: Path
) -> None:
    """PyTorch sides are verified, traces go both ways, and the hub is read and written, with each of the versions."""
    environment = layered(tmp_path / "environment", PYTORCH[row])
    assert environment.ckptconv("normalize", dates, tmp_path / "same")
    verified = environment.ckptconv("verify", dates, tmp_path / "same")
    assert verified.splitlines()[-1].startswith("MATCH")
    recorded, converted = here
    checked = environment.ckptconv("verify", "--trace", recorded, tmp_path / "same")
    assert checked.splitlines()[-1].startswith("MATCH")
    environment.ckptconv("verify", dates, "--save-trace", tmp_path / "trace")
    own = Environment(Path(sys.executable))
    assert "MATCH" in own.ckptconv("verify", "--trace", tmp_path / "trace", converted)
    components = json.loads(environment.ckptconv("doctor", "--json", code=0))["components"]
    states = {component["name"]: component["state"] for component in components}
    assert {states[name] for name in states if "hub" in name.lower()} == {"works"}
    environment.tests(*HUB_TESTS, "-m", "not frameworks")


def test_the_oldest_of_what_the_core_needs(tmp_path: Path) -> None:
    """Conversions, checks and every format work with the lower edge of each range."""
    environment = layered(tmp_path / "environment", OLDEST)
    environment.tests(*CORE_TESTS, "-m", FAST)


@pytest.mark.parametrize("version", PYTHONS)
def test_a_newer_python(version: str, dates: Path, tmp_path: Path) -> None:
    """The core is installed and works; its weights are those that this Python writes."""
    python = _python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    subprocess.run([python, "-m", "venv", tmp_path / "environment"], check=True)
    environment = Environment(tmp_path / "environment" / "bin" / "python")
    install(
        [f"{ROOT}[html,hub]", "pytest", "hypothesis", "ml_dtypes", "msgpack", "safetensors"],
        environment.python,
    )
    environment.ckptconv("pt2tf", dates, tmp_path / "tf")
    own = Environment(Path(sys.executable))
    own.ckptconv("pt2tf", dates, tmp_path / "own")
    written, expected = (tmp_path / name / "tf_model.h5" for name in ("tf", "own"))
    assert written.read_bytes() == expected.read_bytes()
    environment.tests(*CORE_TESTS, "-m", FAST)


def _python(version: str) -> str | None:
    """Return a Python of a version: on the path, or one that pyenv has."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    path = shutil.which(f"python{version}")
    if (
        path
        and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0
    ):
        return path
    return str(kept[-1]) if kept else None


def test_the_commands_of_readme_beside_transformers_5(dates: Path, tmp_path: Path) -> None:
    """All but those that run TF's or Flax's class, or export, in README's order; and PyTorch's sides are verified."""
    layer = layered(tmp_path / "environment", [NEW, "huggingface_hub>=2,<3"])
    shutil.copytree(dates, tmp_path / "models" / "one")
    environment = replace(layer, folder=tmp_path)
    commands = [
        shlex.split(line)
        for line in re.findall(r"^    ckptconv (.*)$", README, re.MULTILINE)
        if not line.startswith(BEYOND_5) and " model " not in line
    ]
    assert len(commands) > 12
    for command in commands:
        environment.ckptconv(*command)
    for side in ("clean", "dates-again", "dates-once-more"):
        assert "MATCH" in environment.ckptconv("verify", "dates", side)


@pytest.mark.parametrize("extras", ["pytorch,hub"])
def test_installing_an_extra_changes_no_version(extras: str, tmp_path: Path) -> None:
    """Beside transformers 5 and huggingface_hub 2, the extras bring ckptconv and replace nothing."""
    environment = layered(tmp_path / "environment", [NEW, "huggingface_hub>=2,<3"])
    report = tmp_path / "report.json"
    environment.run(
        *("-m", "pip", "install", "--dry-run", "--quiet", "--disable-pip-version-check"),
        *("--report", report, f"{ROOT}[{extras}]"),
    )
    names = {item["metadata"]["name"] for item in json.loads(report.read_text())["install"]}
    assert names <= {"ckptconv"}
