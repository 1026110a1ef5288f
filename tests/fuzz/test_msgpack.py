"""Mutants of Flax msgpack files: bytes, and single items of the structure; what flax refuses, we refuse."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader
from ckptconv.stores.formats import msgpack
from ckptconv.stores.parsers import msgpack_tree
from ckptconv.stores.tensor import TensorSpec
from ckptconv.trials.corpus._packed import Tree, array, packed
from fuzz.harness import count, fuzz, mutant, scrambled
from fuzz.within import rewrite, within

if TYPE_CHECKING:
    from conftest import Counted

ITEMS = (
    b"\xc0",
    b"\xc1",
    b"\xc2",
    b"\xc3",
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\xff",
    b"\xcc\x80",
    b"\xcd\xff\xff",
    b"\xce\xff\xff\xff\xff",
    b"\xcf\x80" + bytes(7),
    b"\xcf" + b"\xff" * 8,
    b"\xd0\x80",
    b"\xcb" + bytes(8),
    b"\xa0",
    b"\xa1a",
    b"\xa1/",
    b"\xa1\xff",
    b"\xd9\xff",
    b"\xda\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc4\x00",
    b"\xc6\xff\xff\xff\xff",
    b"\x80",
    b"\x81",
    b"\x8f",
    b"\xde\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x90",
    b"\x91",
    b"\x93",
    b"\xdd\xff\xff\xff\xff",
    b"\xd4\x01\x93",
    b"\xc7\x05\x01",
    b"\xc9\xff\xff\xff\xff\x01\x93",
    b"\xa7float16",
    b"\xa7float64",
    b"\xa4bool",
    b"\xa1O",
    b"\xa2S4",
)
"""Heads and whole values, for the place of others."""


@cache
def starts(raw: bytes, path: Path) -> tuple[int, ...]:
    """Return where the items of a sound file begin: after each piece that the parser takes."""
    result = [0]

    class Noting(msgpack_tree.Parser):
        def take(self, nbytes: int) -> bytes:
            data = super().take(nbytes)
            result.append(self.at)
            return data

    path.write_bytes(raw)
    with FileReader(path) as file:
        Noting(file).value(0)
    return tuple(at for at in dict.fromkeys(result) if at < len(raw))


def seeds(folder: Path) -> list[bytes]:
    """Return small sound files: maps in maps, and an array in chunks."""
    specs = [
        TensorSpec(name, dtype, shape)
        for name, dtype, shape in (
            ("a/b/kernel", "float32", (2, 3)),
            ("a/b/bias", "bfloat16", (3,)),
            ("a/scale", "int64", ()),
            ("c", "bool", (4,)),
        )
    ]
    made = []
    for name, most in (("plain", 1 << 30), ("chunked", 8)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(msgpack, "MAX_CHUNK_BYTES", most)
            msgpack.create(folder / name, specs, "flax", False)
        made.append((folder / name).read_bytes())
        starts(made[-1], folder / "seed")
    return made


def training(folder: Path) -> bytes:
    """Return a TrainState: the parameters below `params`, a step and an optimizer's moments beside them."""
    weights = {"a": {"kernel": array((2, 3)), "bias": array((3,))}}
    moments: Tree = {"0": {"mu": {"a": {"kernel": array((2, 3))}}}}
    raw = packed({"step": array((1,)), "params": dict(weights), "opt_state": moments})
    starts(raw, folder / "seed")
    return raw


def mixed(folder: Path, chance: Random, raw: bytes) -> bytes:
    """Return bytes changed anywhere, or an item put before, or into the place of, another."""
    if chance.random() < 0.4:
        return scrambled(chance, raw)
    places = starts(raw, folder / "seed")
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.choice(places)
        end = chance.choice((at, at + 1, *places))
        raw = raw[:at] + chance.choice(ITEMS) + raw[max(at, end) if end - at < 40 else at + 1 :]
    return raw


@pytest.mark.fuzz
def test_mutants(tmp_path: Path, counted: Counted) -> None:
    """None leads anywhere but to its arrays or a refusal."""
    path = tmp_path / "flax_model.msgpack"
    result = fuzz(
        "msgpack",
        [*seeds(tmp_path), training(tmp_path)],
        lambda chance, raw: mixed(tmp_path, chance, raw),
        within(msgpack.read),
        path,
    )
    assert result.refused < result.mutants
    counted(result)


@pytest.mark.fuzz
@pytest.mark.frameworks
def test_what_flax_refuses(tmp_path: Path, counted: Counted) -> None:
    """Every mutant that `msgpack_restore` refuses is refused, and what we read has flax's names and shapes."""
    from flax.serialization import msgpack_restore
    from flax.traverse_util import flatten_dict

    result, path, refused, alone = seeds(tmp_path), tmp_path / "flax_model.msgpack", 0, 0
    path.touch()
    total = count(10_000)
    for number in range(total):
        raw = mutant("msgpack", result, lambda chance, raw: mixed(tmp_path, chance, raw), number)
        rewrite(path, raw)
        try:
            theirs = {
                "/".join(name): one.shape
                for name, one in flatten_dict(msgpack_restore(raw)).items()
            }
        except Exception:  # whatever msgpack, numpy and flax raise
            theirs = None
        try:
            ours = {name: one.spec.shape for name, one in msgpack.read(path).tensors.items()}
        except SourceError:
            refused += theirs is None
            alone += theirs is not None
            continue
        assert theirs == ours, f"mutant {number}\n{raw!r}"
    assert refused > total // 3
    counted(
        f"{total:,} mutants of msgpack, both readers: both refuse {refused:,}, ckptconv alone {alone:,}"
    )
