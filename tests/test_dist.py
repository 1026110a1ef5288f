"""Wheel and source distribution: what `make dist` builds, or what is built here, works without the repository."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ckptconv import __version__
from ckptconv.verbs.demo import MODELS

ROOT = Path(__file__).parents[1]
BUILD = """
import os, sys
from hatchling.build import build_sdist, build_wheel
os.chdir(sys.argv[1])
print({"wheel": build_wheel, "sdist": build_sdist}[sys.argv[2]](sys.argv[3]))
"""


def build(source: Path, kind: str, target: Path, **environment: str) -> Path:
    """Build a distribution of a source tree; return its file."""
    run = subprocess.run(
        [sys.executable, "-c", BUILD, str(source), kind, str(target)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return target / run.stdout.splitlines()[-1]


def metadata(wheel: Path) -> email.message.Message:
    """Return the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of a source distribution of this repository, as an index has it."""
    folder = tmp_path_factory.mktemp("dist")
    address = "https://git.example.org/you/ckptconv.git"
    sdist = build(ROOT, "sdist", folder, CKPTCONV_REPOSITORY=address)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sdist", filter="data")
    (source,) = (folder / "sdist").iterdir()
    return build(source, "wheel", folder, CKPTCONV_REPOSITORY="")


@pytest.mark.thorough
def test_metadata(wheel: Path) -> None:
    """Name, version, addresses, keywords and a README whose links all lead to the repository."""
    result = metadata(wheel)
    assert (result["Name"], result["Version"]) == ("ckptconv", __version__)
    address = "https://git.example.org/you/ckptconv"
    assert f"Repository, {address}" in result.get_all("Project-URL")
    assert result["Keywords"]
    assert result["Author"]
    readme = result.get_payload()
    assert isinstance(readme, str)
    links = [part.partition(")")[0] for part in readme.split("](")[1:]]
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    assert f"]({address}/raw/main/docs/assets/report.png)" in readme


@pytest.mark.thorough
def test_a_build_without_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has no addresses, and a README without links into the void."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path))  # no repository, and so no origin
    result = metadata(build(ROOT, "wheel", tmp_path, CKPTCONV_REPOSITORY=""))
    assert result.get_all("Project-URL") is None
    assert "](docs/" not in str(result.get_payload())
    assert "![" not in str(result.get_payload())


@pytest.mark.thorough
def test_content(wheel: Path, dates: Path) -> None:
    """The package, its types, templates and the models of `demo`; neither tests nor other fixtures."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert (
            archive.read("ckptconv/demo/dates/config.json") == (dates / "config.json").read_bytes()
        )
    assert {"ckptconv/py.typed", "ckptconv/__init__.pyi"} <= names
    for model in MODELS:
        folder = ROOT / "fixtures" / model
        files = (path for path in folder.rglob("*") if path.is_file())
        assert {f"ckptconv/demo/{path.relative_to(folder.parent)}" for path in files} <= names
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "ckptconv").rglob("*.py")}
    assert sources <= names
    assert {name.split("/")[0] for name in names} == {
        "ckptconv",
        f"ckptconv-{__version__}.dist-info",
    }


@pytest.mark.thorough
def test_the_examples_work_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Unpacked anywhere, the package writes the demo model, converts it and compares the weights."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    for line in (
        "demo dates",
        "pt2tf dates dates-tf",
        "verify dates dates-tf --level weights",
        "inspect dates --html page.html" if _has_plotly() else "inspect dates",
    ):
        command = [sys.executable, "-m", "ckptconv", *line.split()]
        run = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (line, run.returncode, run.stderr) == (line, 0, "")


def _has_plotly() -> bool:
    try:
        import plotly
    except ImportError:
        return False
    return bool(plotly)
