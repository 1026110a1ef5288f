"""Mutants of safetensors files: bytes, and headers that stay JSON; what the reference refuses, we refuse."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import TensorSpec
from fuzz.harness import count, fuzz, mutant, scrambled
from fuzz.within import rewrite, within

if TYPE_CHECKING:
    from conftest import Counted

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    3,
    4,
    8,
    24,
    1 << 31,
    1 << 53,
    1 << 63,
    1 << 64,
    10**70,
    1.5,
    -0.0,
    1e300,
    "",
    "F32",
    "BF16",
    "F8_E5M2",
    "U64",
    "\u202e",
    "\x1b",
    [],
    [0],
    [0, 4],
    [4, 0],
    [1] * 40,
    {},
    {"dtype": "F32"},
    "__metadata__",
)
"""What a header may hold in the wrong place."""


def seeds(folder: Path) -> list[bytes]:
    """Return small sound files: of PyTorch and of Flax, scalars and empty tensors among them; and codes."""
    specs = [
        TensorSpec(name, dtype, shape)
        for name, dtype, shape in (
            ("a/weight", "float32", (2, 3)),
            ("a/bias", "bfloat16", (3,)),
            ("b", "int64", ()),
            ("c", "bool", (0, 4)),
        )
    ]
    found = []
    quantised = [
        TensorSpec(name, dtype, shape)
        for name, dtype, shape in (
            ("a.qweight", "int32", (2, 3)),
            ("a.weight.absmax", "uint8", (2,)),
            ("a.scales", "float16", (1,)),
        )
    ]
    for number, (naming, tensors) in enumerate(
        (("pytorch", specs), ("flax", specs), ("pytorch", quantised))
    ):
        path = folder / f"seed-{number}"
        safetensors.create(path, tensors, naming, False)
        found.append(path.read_bytes())
    return found


def headed(raw: bytes, header: str) -> bytes:
    """Return the file with another header, and the length that fits it."""
    old = int.from_bytes(raw[:8], "little")
    text = header.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + raw[8 + old :]


def in_the_header(chance: Random, raw: bytes) -> bytes:
    """Return a file whose header was changed as JSON: values, keys, entries that go, come or stand twice."""
    old = int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8 : 8 + old])
    for _ in range(chance.choice((1, 1, 2))):
        name = chance.choice(list(entries) or ["x"])
        entry = entries.get(name)
        change = chance.randrange(6)
        if change == 0 and isinstance(entry, dict) and entry:
            entry[chance.choice(list(entry))] = chance.choice(VALUES)
        elif (
            change == 1 and isinstance(entry, dict) and isinstance(entry.get("data_offsets"), list)
        ):
            entry["data_offsets"] = [
                max(0, one + chance.choice((-8, -4, -1, 0, 1, 4, 8))) if type(one) is int else one
                for one in entry["data_offsets"]
            ]
        elif change == 2:
            entries[chance.choice(("a/weight", "new", "a.b", "a/b", "", "\x00", "e" * 600))] = entry
        elif change == 3:
            entries.pop(name, None)
        elif change == 4:
            entries[name] = chance.choice(VALUES)
        elif isinstance(entry, dict):
            entry[chance.choice(("extra", "shape", "dtype"))] = chance.choice(VALUES)
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.1:
        text = text[:-1] + "," + text[1:]  # every key twice
    return headed(raw, text + " " * chance.choice((0, 0, 1, 7)))


def text_of_the_header(chance: Random, raw: bytes) -> bytes:
    """Return a file whose header was changed as text, with the length that fits it."""
    old = int.from_bytes(raw[:8], "little")
    text = scrambled(chance, raw[8 : 8 + old])
    return len(text).to_bytes(8, "little") + text + raw[8 + old :]


def mixed(chance: Random, raw: bytes) -> bytes:
    """Return a mutant of one of the three kinds."""
    return chance.choice((scrambled, in_the_header, in_the_header, text_of_the_header))(chance, raw)


@pytest.mark.fuzz
def test_mutants(tmp_path: Path, counted: Counted) -> None:
    """None leads anywhere but to its tensors or a refusal."""
    result = fuzz(
        "safetensors",
        seeds(tmp_path),
        mixed,
        within(safetensors.read),
        tmp_path / "model.safetensors",
    )
    assert result.refused < result.mutants
    counted(result)


@pytest.mark.fuzz
def test_what_the_reference_refuses(tmp_path: Path, counted: Counted) -> None:
    """Every mutant that `safe_open` refuses is refused, and what we read has the reference's names and shapes."""
    from safetensors import SafetensorError, safe_open

    found, path, refused, alone = seeds(tmp_path), tmp_path / "model.safetensors", 0, 0
    path.touch()
    total = count(10_000)
    for number in range(total):
        raw = mutant("safetensors", found, mixed, number)
        rewrite(path, raw)
        try:
            with safe_open(path, "numpy") as file:
                theirs = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            theirs = None
        try:
            ours = {name: one.spec.shape for name, one in safetensors.read(path).tensors.items()}
        except SourceError:
            refused += theirs is None
            alone += theirs is not None
            continue
        assert theirs is not None, f"mutant {number}: the reference refuses it\n{raw!r}"
        assert sorted(ours.values()) == sorted(theirs.values())
    assert refused > total // 3
    counted(
        f"{total:,} mutants of safetensors, both readers: both refuse {refused:,}, ckptconv alone {alone:,}"
    )
