"""Single flipped bits in outputs: `check` finds every one, whichever file it is in, and names the tensor."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckptconv
from ckptconv import SourceError, WriteOptions
from ckptconv.transfer.manifest import MANIFEST, SUMS, read_manifest

if TYPE_CHECKING:
    from conftest import MakePair

FLIPS = int(os.environ.get("CKPTCONV_FLIPS", "250"))
"""For each way, and as many again in shards; `make soak` flips a thousand."""
WAYS: dict[str, Callable[..., Any]] = {
    "hdf5": lambda source, target, options: ckptconv.pt2tf(source, target, options=options),
    "msgpack": lambda source, target, options: ckptconv.pt2flax(source, target, options=options),
    "safetensors": lambda source, target, options: ckptconv.normalize(source, target, options),
    "parts": lambda source, target, options: ckptconv.split(source, target, options),
}


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file round."""
    with path.open("r+b", buffering=0) as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def found(folder: Path) -> set[str]:
    """Return the names that a check gives; a manifest that cannot be read is one too."""
    try:
        return {finding.name for finding in ckptconv.check(folder).findings}
    except SourceError:
        return {MANIFEST}


@pytest.mark.thorough
@pytest.mark.parametrize("shards", [None, 1500], ids=["whole", "shards"])
@pytest.mark.parametrize("way", WAYS)
def test_every_flip_is_found(
    make_pair: MakePair,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    way: str,
    shards: int | None,
) -> None:
    """Bits all over: a third in tensors, a third in any byte of weights, a third in all else, manifest and sums too."""
    pair = make_pair(enc={"num_hidden_layers": 1}, dec={"num_hidden_layers": 1})
    pair.files = {"generation_config.json": '{"max_length": 9}\n', "vocab.txt": "a\nb\n"}
    out = tmp_path / "out"
    WAYS[way](pair.write(tmp_path / "source"), out, WriteOptions(max_shard_bytes=shards))
    assert found(out) == set()
    digests = read_manifest(out)[0].files
    weights = sorted(name for name, one in digests.items() if one.tensors)
    others = sorted({*digests, MANIFEST, SUMS} - set(weights))
    choose = random.Random(f"{way} {shards}")
    missed, tensors, hit = [], 0, set()
    for number in range(FLIPS):
        name = choose.choice(weights if number % 3 else others)
        bit = choose.randrange(8 * (out / name).stat().st_size)
        if number % 3 == 2:
            run = choose.choice(
                [run for tensor in digests[name].tensors.values() for run in tensor.extents]
            )
            bit = 8 * run.offset + choose.randrange(8 * run.nbytes)
        inside = (
            {
                tensor
                for tensor, one in digests[name].tensors.items()
                if any(run.offset <= bit // 8 < run.offset + run.nbytes for run in one.extents)
            }
            if name in digests
            else set()
        )
        flip(out / name, bit)
        said = found(out)
        if not said >= {name, *inside}:
            missed.append((name, bit, said))
        flip(out / name, bit)
        tensors += len(inside)
        hit.add(name)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{way}, {len(weights)} file(s): {FLIPS} flipped bits in {len(hit)} files, {tensors} of them in"
            f" tensors: {FLIPS - len(missed)} found"
        )
    assert missed == []
    assert hit == {*digests, MANIFEST, SUMS}
    assert tensors >= FLIPS // 3
    assert found(out) == set()
