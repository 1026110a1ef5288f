"""Convert a sparse checkpoint of 6 GB with tensors of 2 GiB, two of which change their axes: under 600 MiB.

    python benchmarks/large.py [FOLDER]     needs 7 GB of disk; `make soak` runs it

The tensors are holes but for a few values, whose places after the conversion are checked.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from make_pair import PAIR

from ckptconv.base.strict_json import Json, dump_json
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.checkpoint import read_weights
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.tensor import Stored, TensorSpec

BOUND_MIB = 600
LAYER: dict[str, Json] = {"hidden_size": 1024, "num_hidden_layers": 1, "num_attention_heads": 16}
PLANTED = 1000
"""Values in each tensor, at random places."""


def side(name: str, **sizes: int) -> dict[str, Json]:
    """Return the config of a BERT of one layer."""
    base = PAIR[name]
    assert isinstance(base, dict)
    return {**base, **LAYER, **sizes}


def config() -> dict[str, Json]:
    """Return a pair with three tensors of 2 GiB: both of the encoder's feed-forward, and the decoder's vocabulary."""
    return {
        **PAIR,
        "encoder": side("encoder", intermediate_size=1 << 19),
        "decoder": side("decoder", vocab_size=1 << 19),
    }


def planted(spec: TensorSpec) -> tuple[tuple[Any, ...], Any]:
    """Return the places of a tensor that are not zero, as indices of each axis, and their values."""
    random = np.random.default_rng(spec.numel)
    places = np.unique(random.integers(0, spec.numel, PLANTED))
    return np.unravel_index(places, spec.shape), (places % 1009 + 1).astype(np.float32)


def write(folder: Path) -> dict[str, TensorSpec]:
    """Write the checkpoint; return key -> PyTorch's spec."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(dump_json(config()))
    rows = [
        row
        for row in read_model(Config(config())).tensors
        if row.module.presence != "dropped" and not row.module.tied
    ]
    specs = {row.key: TensorSpec(row.key, "float32", row.shape("pytorch")) for row in rows}
    create = FORMATS["safetensors"].create
    assert create is not None
    path = folder / "model.safetensors"
    places = create(path, list(specs.values()), "pytorch", False)
    with path.open("r+b") as file:
        for spec in specs.values():
            where, values = planted(spec)
            for place, value in zip(np.ravel_multi_index(where, spec.shape), values, strict=True):
                file.seek(places[spec.name][0].offset + 4 * int(place))
                file.write(value.tobytes())
    return specs


def check(specs: Mapping[str, TensorSpec], found: Mapping[str, Stored]) -> int:
    """Look at every planted value in the converted file; return how many there are. Raises AssertionError."""
    seen = 0
    for row in read_model(Config(config())).tensors:
        if row.key not in specs:
            continue
        spec, stored = specs[row.key], found[row.spellings["tf"].names[0]]
        where, values = planted(spec)
        turned = spec.shape != stored.spec.shape or "kernel" in stored.spec.name
        places = np.ravel_multi_index(where[::-1] if turned else where, stored.spec.shape)
        with stored.path.open("rb") as file:
            for place, value in zip(places, values, strict=True):
                file.seek(stored.extents[0].offset + 4 * int(place))
                assert file.read(4) == value.tobytes(), f"{row.key}: {place}"
        seen += len(values)
    return seen


def main(folder: Path) -> None:
    """Write, convert, measure, check, clear up."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        specs = write(folder / "source")
        nbytes = sum(spec.nbytes for spec in specs.values())
        started = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "ckptconv",
            "pt2tf",
            str(folder / "source"),
            str(folder / "tf"),
            "--quiet",
        ]
        subprocess.run(command, check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        seen = check(specs, read_weights(folder / "tf").tensors)
        largest = max(spec.nbytes for spec in specs.values()) / 2**30
        print(
            f"pt2tf of {nbytes / 1e9:.1f} GB, largest tensor {largest:.0f} GiB: {seconds:.0f} s,"
            f" {peak:.0f} MiB at most; {seen} planted values are in their places"
        )
        if peak > BOUND_MIB:
            sys.exit(f"more than {BOUND_MIB} MiB")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "work" / "large")
