"""What is installed here, by its metadata alone, and how to install more; nothing is imported to ask."""

from __future__ import annotations

import json
import re
import shlex
from importlib import metadata
from pathlib import Path
from platform import python_version
from urllib.parse import unquote, urlsplit

from ckptconv.version import __version__

DISTRIBUTIONS = (
    "numpy",
    "h5py",
    "torch",
    "transformers",
    "tensorflow",
    "tf-keras",
    "jax",
    "flax",
    "safetensors",
    "huggingface_hub",
    "jinja2",
    "plotly",
)
"""Whose versions belong into a report."""
ALSO_AS = {"tensorflow": ("tensorflow-cpu", "tf-nightly")}
"""Other distributions that bring the same module."""
ROOT = Path(__file__).parents[2]
OLD_CLASSES = ("tf", "flax")
"""Extras whose classes transformers 5 no longer has."""


def versions() -> dict[str, str]:
    """Return name -> version of ckptconv, Python, and what is installed of `DISTRIBUTIONS`."""
    own = {"ckptconv": __version__, "Python": python_version()}
    return own | {name: version for name in DISTRIBUTIONS if (version := installed(name))}


def installed(distribution: str) -> str:
    """Return the version of a distribution, or nothing where it is not installed."""
    for name in (distribution, *ALSO_AS.get(distribution, ())):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def range_of(distribution: str, extra: str = "") -> str:
    """Return the versions of a distribution that ckptconv was made for, as an extra asks for them.

    Args:
        distribution: its name, in any spelling: `huggingface_hub` is `huggingface-hub`.
        extra: of ckptconv; empty for what the core needs.
    """
    from packaging.requirements import Requirement  # here, since few commands ask
    from packaging.utils import canonicalize_name

    try:
        lines = metadata.requires("ckptconv") or []
    except metadata.PackageNotFoundError:
        return ""
    for requirement in map(Requirement, lines):
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if applies and canonicalize_name(requirement.name) == canonicalize_name(distribution):
            return str(requirement.specifier)
    return ""


def within(version: str, versions: str) -> bool:
    """Return whether a version lies in a range; one that is no version of Python packaging lies in none."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(versions).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def install_command(extra: str) -> str:
    """Return the command that installs ckptconv with an extra, from where this copy came from.

    A name alone would ask a package index, where this copy may not be from, and where the name may be another's.
    """
    return f"pip install {_requirement(f'[{extra}]' if extra else '')}"


def _requirement(extra: str) -> str:
    try:
        text = metadata.distribution("ckptconv").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return _directory(ROOT, extra, editable=False)
    origin = json.loads(text) if text else {}
    url = str(origin.get("url", ""))
    if "dir_info" in origin:
        path = Path(unquote(urlsplit(url).path))
        return _directory(path, extra, editable=bool(origin["dir_info"].get("editable")))
    if vcs := origin.get("vcs_info"):
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return shlex.quote(f"ckptconv{extra} @ {url}" if url else f"ckptconv{extra}")


def _directory(path: Path, extra: str, *, editable: bool) -> str:
    return f"{'-e ' if editable else ''}{shlex.quote(f'{path}{extra}')}"


def install_advice(extra: str) -> str:
    """Return what to do where an extra does not work here, in one line or two."""
    version = installed("transformers")
    newest = re.match(r"\d+", version)
    if extra in OLD_CLASSES and newest and int(newest[0]) >= 5:
        return (
            f"transformers {version} has no TF or Flax classes; installing [{extra}] here would downgrade it. "
            "Use another environment,\n"
            "or record here and check there: `verify SOURCE --save-trace FILE`, `verify --trace FILE TARGET`."
        )
    return f"Install it with: {install_command(extra)}"
