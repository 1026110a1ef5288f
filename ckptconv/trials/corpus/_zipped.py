"""Zip containers as torch.save writes them, with any field of any record set to something else.

Source: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from ckptconv.trials.corpus._pickled import data, entries, state_dict

_LOCAL = (
    "signature",
    "version",
    "flags",
    "method",
    "time",
    "date",
    "crc",
    "packed",
    "size",
    "length",
    "extra",
)
_CENTRAL = (
    "signature",
    "made",
    "version",
    "flags",
    "method",
    "time",
    "date",
    "crc",
    "packed",
    "size",
    "length",
    "extra",
    "comment",
    "disk",
    "internal",
    "external",
    "offset",
)
_END = ("signature", "disk", "first_disk", "count", "total", "size", "offset", "comment")
_END64 = (
    "signature",
    "length",
    "made",
    "version",
    "disk",
    "first_disk",
    "count",
    "total",
    "size",
    "offset",
)
_LOCATOR = ("signature", "disk", "offset", "disks")

Fields = Mapping[str, int | bytes]


@dataclass(frozen=True, slots=True)
class Part:
    """One member. `local` and `central` set fields of its two headers; `name` there is its name."""

    name: str
    data: bytes
    local: Fields = field(default_factory=dict)
    central: Fields = field(default_factory=dict)
    padding: bytes = b""
    """Extra field of the local header."""
    tail: bytes = b""
    """Extra field and comment of the directory's entry."""
    behind: bytes | None = None
    """What follows the data; by default the descriptor that the flags announce."""


def parts(pickle: bytes | None = None) -> list[Part]:
    """Return the members of the whole model; `pickle`: another data.pkl."""
    head = [
        Part("m/data.pkl", state_dict(entries()) if pickle is None else pickle),
        Part("m/byteorder", b"little"),
    ]
    return [
        *head,
        *(Part(f"m/data/{key}", raw) for key, raw in data().items()),
        Part("m/version", b"3\n"),
    ]


def zipped(
    members: Sequence[Part],
    *,
    before: bytes = b"",
    gap: bytes = b"",
    behind: bytes = b"",
    end: Fields | None = None,
    end64: Fields | None = None,
    locator: Fields | None = None,
) -> bytes:
    """Return a container. `end64` and `locator` not None: with the records of zip64."""
    body, directory = bytearray(before), bytearray()
    for part in members:
        offset = len(body)
        body += _member(part)
        directory += _entry(part, offset)
    body += gap
    count, size, at = len(members), len(directory), len(body)
    records = b""
    if end64 is not None or locator is not None:
        values = (b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, at)
        records += _packed("<4sQ2H2L4Q", _END64, values, end64 or {})
        records += _packed("<4sLQL", _LOCATOR, (b"PK\6\7", 0, at + size, 1), locator or {})
    records += _packed("<4s4H2LH", _END, (b"PK\5\6", 0, 0, count, count, size, at, 0), end or {})
    return bytes(body + directory) + records + behind


def _member(part: Part) -> bytes:
    """Return local header, data and descriptor."""
    name, flags = part.name.encode(), part.local.get("flags", part.central.get("flags", 0))
    sums = (crc32(part.data), len(part.data), len(part.data))
    described = bool(int(flags) & 8)
    described_sums = (0, 0, 0) if described else sums
    values = (b"PK\3\4", 20, flags, 0, 0, 0, *described_sums, len(name), len(part.padding))
    header = _packed("<4s5H3L2H", _LOCAL, values, part.local)
    descriptor = struct.pack("<4s3L", b"PK\7\10", *sums) if described else b""
    behind = descriptor if part.behind is None else part.behind
    return header + _name(part.local, name) + part.padding + part.data + behind


def _entry(part: Part, offset: int) -> bytes:
    name, size = part.name.encode(), len(part.data)
    values = (
        b"PK\1\2",
        20,
        20,
        0,
        0,
        0,
        0,
        crc32(part.data),
        size,
        size,
        len(name),
        len(part.tail),
        0,
        0,
        0,
        0,
        offset,
    )
    return (
        _packed("<4s6H3L5H2L", _CENTRAL, values, part.central)
        + _name(part.central, name)
        + part.tail
    )


def _name(changed: Fields, name: bytes) -> bytes:
    raw_name = changed.get("name", name)
    assert isinstance(raw_name, bytes)
    return raw_name


def _packed(
    layout: str, names: Sequence[str], values: Sequence[int | bytes], changed: Fields
) -> bytes:
    return struct.pack(
        layout, *(changed.get(name, value) for name, value in zip(names, values, strict=True))
    )
