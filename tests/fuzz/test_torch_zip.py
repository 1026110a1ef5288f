"""Mutants of PyTorch's zip form: of its pickle opcode by opcode, of its headers field by field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.stores.formats import Contents, torch_zip
from fuzz.differential import compare
from fuzz.harness import count, fuzz
from fuzz.torch_files import SEEDS, TRAINING, sound, zip_mutant

if TYPE_CHECKING:
    from conftest import Counted


def read(path: Path) -> Contents:
    """Read a file and what its checksums cover."""
    return sound(torch_zip.read(path), path)


@pytest.mark.fuzz
def test_mutants(tmp_path: Path, counted: Counted) -> None:
    """Each mutant is refused, or read as places within the file whose checksums hold; of a training file, too."""
    seeds = (*SEEDS, *TRAINING)
    counted(fuzz("torch zip", seeds, zip_mutant, read, tmp_path / "pytorch_model.bin"))


@pytest.mark.fuzz
@pytest.mark.frameworks
def test_against_torch(tmp_path: Path, counted: Counted) -> None:
    """What torch refuses is refused; what is read has torch's values, and zipfile sees the same members."""
    path = tmp_path / "pytorch_model.bin"
    counted(compare("torch zip", tuple(SEEDS), zip_mutant, read, path, count(4_000), zipped=True))
