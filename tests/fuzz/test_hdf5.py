"""Mutants of HDF5 files: the C library may die on them, in its own process; we refuse, and what it refuses too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import limited
from ckptconv.stores.formats import hdf5
from ckptconv.stores.tensor import TensorSpec
from fuzz.harness import count, fuzz, mutant, scrambled
from fuzz.within import within

if TYPE_CHECKING:
    from conftest import Counted

OPEN = """
import sys, h5py
for path in sys.argv[1:]:
    try:
        h5py.File(path, "r").close()
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        print(path, flush=True)
"""
ADDRESSES = (0, 8, 48, 96, 136, 680, 800, 1 << 12, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def seeds(folder: Path) -> list[bytes]:
    """Return small sound files: a whole model and a shard, and one in the library's latest layout."""
    specs = [TensorSpec(name, "float32", (2, 3)) for name in ("encoder/a:0", "decoder/b:0")]
    for shard in (False, True):
        hdf5.create(folder / f"seed{shard:d}", specs, "tf", shard)
    with h5py.File(folder / "seed2", "w", libver="latest") as file:
        file.attrs["layer_names"] = np.array([b"x", b"y"])
        file["x"], file["y"] = np.ones(3, np.float32), np.ones(3, np.int64)
    return [(folder / f"seed{number}").read_bytes() for number in range(3)]


def mixed(chance: Random, raw: bytes) -> bytes:
    """Return bytes changed anywhere, or an address that leads to another place."""
    if chance.random() < 0.6:
        return scrambled(chance, raw)
    changed = bytearray(raw)
    for _ in range(chance.choice((1, 2))):
        places = [
            at
            for at in range(0, len(raw) - 8, 8)
            if 0 < int.from_bytes(raw[at : at + 8], "little") < len(raw)
        ]
        at = chance.choice(places)
        changed[at : at + 8] = chance.choice(
            (*ADDRESSES, len(raw), chance.choice(places))
        ).to_bytes(8, "little")
    return bytes(changed)


@pytest.mark.fuzz
def test_mutants(tmp_path: Path, counted: Counted) -> None:
    """Each is read within its file, or refused, though the library crash; all by one process and its forks."""
    path = tmp_path / "tf_model.h5"
    with limited(hdf5_seconds=2):
        result = fuzz(
            "hdf5",
            seeds(tmp_path),
            mixed,
            within(hdf5.read),
            path,
            mutants=count(2_000),
            children=True,
        )
    assert result.refused < result.mutants
    counted(result)


@pytest.mark.fuzz
def test_what_h5py_refuses(tmp_path: Path, counted: Counted) -> None:
    """Every mutant that h5py cannot open, or at which it dies, is refused."""
    result, paths = seeds(tmp_path), []
    for number in range(count(400)):
        paths.append(tmp_path / f"{number}.h5")
        paths[-1].write_bytes(mutant("hdf5", result, mixed, number))
    left, theirs = [str(path) for path in paths], set()
    while left:
        process = subprocess.run(
            [sys.executable, "-c", OPEN, *left],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        theirs |= set(process.stdout.split())
        if not process.returncode:
            break
        left = left[max((left.index(path) for path in process.stdout.split()), default=-1) + 2 :]
    ours = set()
    for path in paths:
        try:
            hdf5.read(path)
        except SourceError:
            ours.add(str(path))
    assert theirs
    assert theirs - ours == set()
    counted(
        f"{len(paths):,} mutants of hdf5, both readers: both refuse {len(theirs)}, ckptconv alone {len(ours - theirs)}"
    )
