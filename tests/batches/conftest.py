"""Small checkpoints by the dozen, and what starts a batch of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from batch_runs import MakeModels, Start
from conftest import ROOT, MakePair


@pytest.fixture
def make_models(tmp_path: Path, make_pair: MakePair) -> MakeModels:
    """Return what writes so many different checkpoints into `models/`."""

    def make(count: int) -> Path:
        for number in range(count):
            pair = make_pair("bert", "gpt2" if number % 2 else "bert")
            for array in pair.arrays.values():
                array += np.asarray(number, array.dtype)
            pair.write(tmp_path / "models" / f"m{number:03}")
        return tmp_path

    return make


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Return what starts `ckptconv batch` in the directory of the models."""

    def call(*args: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "ckptconv", "batch", *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    return call
