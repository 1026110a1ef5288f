"""Machines that are not this one: where a library is not installed, or is another than it should be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
HIDE = """
import importlib.metadata, os, sys
hidden = set(os.environ["CKPTCONV_TEST_HIDDEN"].split())
real = importlib.metadata.version
def version(name):
    if name in hidden:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.version = version
sys.modules.update({name.replace("-", "_"): None for name in hidden})
"""


def machine(
    folder: Path,
    *,
    without: str = "",
    modules: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment of a process on such a machine; `folder` is where it is made.

    Args: without: distributions that are not installed. modules: name -> source of modules that stand in for the
    real ones. versions: distribution -> version that its metadata names.
    """
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(HIDE)
    for name, source in (modules or {}).items():
        (folder / f"{name}.py").write_text(source)
    for name, version in (versions or {}).items():
        (folder / f"{name}-{version}.dist-info").mkdir()
        (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(
            f"Name: {name}\nVersion: {version}\n"
        )
    return {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder))),
        "CKPTCONV_TEST_HIDDEN": without,
    }
