"""Sound `.bin` files of both forms, small, and mutators that know their structure."""

from __future__ import annotations

import pickletools
import struct
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random

from ckptconv.stores.formats import Contents
from ckptconv.stores.tensor import check_span, checksum_spans
from ckptconv.trials.corpus import torch_legacy
from ckptconv.trials.corpus._pickled import (
    MAGIC,
    ORDERED,
    PROTO,
    REBUILD,
    storage,
    tensor,
    text,
    view,
)
from ckptconv.trials.corpus._zipped import Part, zipped
from fuzz.harness import WORDS, scrambled

VALUES = {
    "0": struct.pack("<6f", *range(6)),
    "1": struct.pack("<4h", 1, 2, 3, 4),
    "2": b"\1\0\1",
    "3": b"",
}
SEED_NAMES = ("zip", "zip with descriptors", "zip64")


def state(*, legacy: bool = False) -> bytes:
    """Return a state_dict with a view, a parameter, a tied tensor, small dtypes and an empty tensor."""
    more = b"N" if legacy else b""
    first = storage("0", 6, more=more)
    grad = b"ctorch._utils\n_rebuild_parameter\n"
    items = [
        text("a") + tensor(first, view((3, 2), (1, 3))) + b"q\0",
        text("tied") + b"h\0",
        text("part") + grad + tensor(first, view((2,), (1,), 3)) + b"\x88}\x87R",
        text("half") + tensor(storage("1", 4, kind="HalfStorage", more=more), view((2, 2))),
        text("mask") + tensor(storage("2", 3, kind="BoolStorage", more=more), view((3,)), b"\x89N"),
        text("none") + tensor(storage("3", 0, more=more), view((0, 4))),
    ]
    return PROTO + ORDERED + b"(" + b"".join(items) + b"u}" + text("_metadata") + b"}sb."


def members(pickle: bytes | None = None) -> list[Part]:
    """Return the members of the zip form."""
    data = [Part(f"m/data/{key}", raw) for key, raw in VALUES.items()]
    head = [
        Part("m/data.pkl", state() if pickle is None else pickle),
        Part("m/byteorder", b"little"),
    ]
    return [*head, *data, Part("m/version", b"3\n")]


def container(parts: list[Part], kind: str) -> bytes:
    """Return a container of one of three kinds."""
    if kind == "zip with descriptors":
        flags = {"flags": 8}
        parts = [
            replace(
                part,
                local={**flags, **part.local},
                central={**flags, **part.central},
                padding=b"Z" * 40,
            )
            for part in parts
        ]
    return zipped(parts, end64={} if kind == "zip64" else None)


def wrapped() -> bytes:
    """Return the pickle of what a training script saves: the weights at depth, and an optimizer's state beside them."""
    moment = tensor(storage("0", 6), view((2, 3)))
    group = b"}" + text("lr") + b"G" + bytes(8) + b"s" + text("params") + b"]s"
    states = b"}K\0}" + text("exp_avg") + moment + b"ss"
    optimizer = b"}" + text("state") + states + b"s" + text("param_groups") + b"](" + group + b"es"
    weights = b"}" + text("module") + state()[2:-1] + b"s"
    beside = text("epoch") + b"K\3s" + text("optimizer") + optimizer + b"s" + text("note") + b"Ns"
    return PROTO + b"}" + text("model_state_dict") + weights + b"s" + beside + b"."


SEEDS = {container(members(), kind): (kind, state()) for kind in SEED_NAMES}
TRAINING = {container(members(wrapped()), "zip"): ("zip", wrapped())}
"""What PyTorch does not read as a flat state_dict, so that the two are not compared."""
LEGACY = (
    MAGIC,
    PROTO + b"M\xe9\x03.",
    torch_legacy.system(),
    state(legacy=True),
    torch_legacy.keys(tuple(VALUES)),
    b"".join(
        struct.pack("<q", count) + raw
        for count, raw in zip((6, 4, 3, 0), VALUES.values(), strict=True)
    ),
)
"""The parts of a file of the older form."""

_TOKENS = (
    b"(",
    b")",
    b"}",
    b"]",
    b"N",
    b"\x88",
    b"\x89",
    b"t",
    b"u",
    b"s",
    b"a",
    b"e",
    b"b",
    b"R",
    b"Q",
    b".",
    b"0",
    b"2",
    b"\x85",
    b"\x86",
    b"\x87",
    b"h\0",
    b"h\1",
    b"q\0",
    b"q\1",
    b"K\0",
    b"K\1",
    b"K\xff",
    b"M\xff\xff",
    b"J\xff\xff\xff\xff",
    b"J\xff\xff\xff\x7f",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
    b"\x8a\x09" + b"\xff" * 8 + b"\0",
    b"G" + b"\x7f\xf0" + b"\0" * 6,
    REBUILD,
    ORDERED,
    b"ctorch\nFloatStorage\n",
    b"ctorch\nDoubleStorage\n",
    b"ctorch._utils\n_rebuild_tensor\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch\nQInt8Storage\n",
    b"cos\nsystem\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n",
    text("storage"),
    text("0"),
    text("9"),
    text("cpu"),
    text("meta"),
    text("a"),
    text(""),
    text("\x1b[2J"),
    b"\x93",
    b"\x81",
    b"\x92",
    b"\x94",
    b"\x8c\1a",
    b"U\1a",
    b"\x80\2",
    b"\x95" + b"\0" * 8,
    b"i",
    b"o",
    b"\x82\1",
    b"P0\n",
)


@cache
def _opcodes(pickle: bytes) -> tuple[bytes, ...]:
    starts = [position or 0 for _, _, position in pickletools.genops(pickle)] + [len(pickle)]
    return tuple(pickle[one:following] for one, following in pairwise(starts))


def pickle_mutant(chance: Random, pickle: bytes) -> bytes:
    """Return a pickle with one to three changes of its opcodes: left out, doubled, moved, exchanged or new."""
    tokens = list(_opcodes(pickle))
    for _ in range(chance.choice((1, 1, 2, 3))):
        at, to, kind = (
            chance.randrange(len(tokens)),
            chance.randrange(len(tokens)),
            chance.randrange(7),
        )
        if kind == 0 and len(tokens) > 1:
            del tokens[at]
        elif kind == 1:
            tokens.insert(at, tokens[at])
        elif kind == 2:
            tokens[at], tokens[to] = tokens[to], tokens[at]
        elif kind == 3:
            tokens.insert(at, chance.choice(_TOKENS))
        elif kind == 4:
            tokens[at] = chance.choice(_TOKENS)
        elif kind == 5:
            tokens[at:at] = tokens[to : to + chance.choice((2, 8, 30))]
        else:
            tokens[at] = scrambled(chance, tokens[at])
    return b"".join(tokens)


def zip_mutant(chance: Random, seed: bytes) -> bytes:
    """Return a mutant of a container: of its pickle, of a field, of its members, of its data, or of any byte."""
    kind, pickle = (SEEDS | TRAINING)[seed]
    sound, where = members(pickle), chance.random()
    at = chance.randrange(len(sound))
    if where < 0.5:  # the checksum is mended, so that the pickle is read
        return container(members(pickle_mutant(chance, sound[0].data)), kind)
    if where < 0.7:
        sound[at] = _other_field(chance, sound[at])
    elif where < 0.8:
        sound[at] = replace(sound[at], data=scrambled(chance, sound[at].data))
    elif where < 0.85:
        part = sound.pop(at)
        if chance.random() < 0.5:
            sound.insert(chance.randrange(len(sound)), part)
    else:
        return scrambled(chance, seed)
    return container(sound, kind)


def _other_field(chance: Random, part: Part) -> Part:
    """Return a member with another value in one field, of one header or of both."""
    name = chance.choice(
        ("version", "flags", "method", "time", "crc", "packed", "size", "length", "extra")
    )
    short = name in ("version", "flags", "method", "time", "length", "extra")
    value = chance.choice(WORDS) & (0xFFFF if short else 0xFFFFFFFF)
    which = chance.choice(("local", "central", "both"))
    if which == "central" and chance.random() < 0.5:
        name = chance.choice(("comment", "disk", "internal", "external", "offset", "made"))
        value &= 0xFFFF
    local = {name: value} if which != "central" else {}
    central = {name: value} if which != "local" else {}
    return replace(part, local=local, central=central)


def legacy_mutant(chance: Random, seed: bytes) -> bytes:
    """Return a mutant of the older form: of one of its pickles, of a count, or of any byte."""
    parts, at = list(LEGACY), chance.randrange(len(LEGACY))
    if chance.random() < 0.2:
        return scrambled(chance, seed)
    if at == len(LEGACY) - 1 and chance.random() < 0.5:
        start = chance.choice((0, 32, 48, 59))
        parts[at] = (
            parts[at][:start] + struct.pack("<Q", chance.choice(WORDS)) + parts[at][start + 8 :]
        )
    elif at == len(LEGACY) - 1:
        parts[at] = scrambled(chance, parts[at])
    else:
        at = chance.choice((at, 3, 3))
        parts[at] = pickle_mutant(chance, parts[at])
    return b"".join(parts)


def sound(contents: Contents, path: Path) -> Contents:
    """Check what a reader gives: places within the file, printable names, and the file's own checksums.

    Raises: SourceError: a checksum is not right. AssertionError: the reader let something through.
    """
    size = path.stat().st_size
    for name, stored in contents.tensors.items():
        (extent,) = stored.extents
        assert name.isprintable()
        assert name == stored.spec.name
        assert 0 <= extent.offset <= extent.offset + extent.nbytes <= size
        assert stored.spec.nbytes <= extent.nbytes
    for record in checksum_spans(contents.tensors.values()):
        check_span(record)
    return contents
