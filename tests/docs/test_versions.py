"""The versions that pip may install are versions that were run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRIED = re.compile(
    r"\b(blake3|click|h5py|numpy|packaging|tabulate|tqdm|jinja2|plotly) (\d+(?:\.\d+)*)"
)


def bounds() -> dict[str, str]:
    """Return the oldest version that the package declares, of what the core and the reports import."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["html"]]
    return dict(re.findall(r"(\w+)>=([\d.]+)", " ".join(declared)))


def test_the_oldest_versions_were_tried() -> None:
    """The page names the oldest version of each, so that a bound is moved only with a run."""
    said = dict(TRIED.findall((ROOT / "docs" / "getting-started.md").read_text()))
    assert said.keys() == bounds().keys()
    assert all((said[name] + ".").startswith(f"{bound}.") for name, bound in bounds().items())


def test_numpy_saves_arrays_as_the_protocol_asks() -> None:
    """Before 2.2, numpy took `allow_pickle` of `savez` for one array more, and `verify` ended in a KeyError."""
    assert tuple(map(int, bounds()["numpy"].split("."))) >= (2, 2)
