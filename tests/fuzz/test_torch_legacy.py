"""Mutants of PyTorch's form before 1.6: of each of its pickles opcode by opcode, of its counts and data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.stores.formats import Contents, torch_legacy
from fuzz.differential import compare
from fuzz.harness import count, fuzz
from fuzz.torch_files import LEGACY, legacy_mutant, sound

if TYPE_CHECKING:
    from conftest import Counted

SEEDS = (b"".join(LEGACY),)


def read(path: Path) -> Contents:
    """Read a file."""
    return sound(torch_legacy.read(path), path)


@pytest.mark.fuzz
def test_mutants(tmp_path: Path, counted: Counted) -> None:
    """Each mutant is refused, or read as places within the file."""
    counted(fuzz("torch legacy", SEEDS, legacy_mutant, read, tmp_path / "pytorch_model.bin"))


@pytest.mark.fuzz
@pytest.mark.frameworks
def test_against_torch(tmp_path: Path, counted: Counted) -> None:
    """What torch refuses is refused; what is read has torch's values."""
    counted(
        compare(
            "torch legacy", SEEDS, legacy_mutant, read, tmp_path / "pytorch_model.bin", count(4_000)
        )
    )
