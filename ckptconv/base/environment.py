"""What is installed here, by its metadata alone: nothing is imported to ask for its version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from platform import python_version

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


def ranges() -> dict[str, str]:
    """Return distribution -> the versions that ckptconv was made for, such as `<5,>=4.57.6`.

    Empty where ckptconv runs from its sources, without metadata of its own.
    """
    try:
        lines = metadata.requires("ckptconv") or []
    except metadata.PackageNotFoundError:
        return {}
    return dict(_requirement(line) for line in lines)


def _requirement(line: str) -> tuple[str, str]:
    """Return name and range of one line such as `torch>=2.6; extra == 'pytorch'`."""
    requirement = line.partition(";")[0].strip()
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    return name, requirement.removeprefix(name).strip()


def within(version: str, bounds: str) -> bool:
    """Return whether a version lies in a range of `>=` and `<` bounds, which are all that pyproject.toml uses."""
    return all(_holds(_numbers(version), *bound) for bound in _bounds(bounds))


def _bounds(bounds: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for bound in filter(None, (part.strip() for part in bounds.split(","))):
        sign = ">=" if bound.startswith(">=") else "<"
        yield sign, _numbers(bound.removeprefix(sign))


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release's numbers, without zeros at the end: 2.21.0+cpu gives 2, 21."""
    release = re.match(r"[\d.]*", version.strip())
    digits = release[0].strip(".").split(".") if release else []
    numbers = [int(number) for number in digits if number]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _holds(version: tuple[int, ...], sign: str, bound: tuple[int, ...]) -> bool:
    return version >= bound if sign == ">=" else version < bound
