"""The zip container that torch.save writes, read strictly: members that are stored, back to back.

Source: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4; caffe2/serialize/inline_container.cc of PyTorch.
Zip readers disagree about duplicates, gaps, prefixes and headers that contradict each other, so each of
these is refused: what is read here is what every reader sees. Every byte of the container belongs to
exactly one header, member or record, except for the padding that a local header declares.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ckptconv.base.files import FETCH, FileReader, limits, more
from ckptconv.stores.parsers.stream import Malformed, refusal, shown

SIGNATURE = b"PK\x03\x04"
"""First bytes of the file."""

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4x6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_DESCRIPTORS = (struct.Struct("<4s3L"), struct.Struct("<4sL2Q"))
"""After the data, where a flag says so: once with sizes of 4, once with sizes of 8 bytes."""

_HAS_DESCRIPTOR = 0x0008
_FLAGS = _HAS_DESCRIPTOR | 0x0800  # the other: names are UTF-8
_IS_DIRECTORY = 0x10  # an external attribute; torch.load then hands out memory that it never filled
_IN_ZIP64 = 0xFFFF_FFFF
_NEWEST = 63  # version 6.3: what other readers refuse beyond

MAX_NAME_BYTES = 512

_ALLOWED = re.compile(
    r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/[0-9]{1,20}"
)
_TORCHSCRIPT = ("code/", "constants.pkl", "constants/")


@dataclass(frozen=True, slots=True)
class Member:
    """Where the data of one member lies."""

    offset: int
    """From the start of the file [bytes]."""
    nbytes: int
    crc: int | None
    """CRC-32 of the data; None where the writer did not compute it (PyTorch then writes 0)."""


@dataclass(frozen=True, slots=True)
class _Directory:
    """The central directory: how many entries, and where."""

    count: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the central directory."""

    raw: bytes
    """The name as it stands there, and must stand in the local header."""
    root: str
    name: str
    """Without the root directory."""
    flags: int
    crc: int
    nbytes: int
    header: int
    """Offset of the local header [bytes from the file's start]."""


def members(file: FileReader) -> dict[str, Member]:
    """Return member name, without the root directory -> where its data lies.

    Memory is proportional to the number of members; no data is read.

    Raises: SourceError: not a container as torch.save writes it, or anything ambiguous in it.
    """
    directory = _directory(file)
    by_name: dict[str, Member] = {}
    roots: set[str] = set()
    position = 0
    for entry in _entries(file, directory):
        roots.add(entry.root)
        if entry.name in by_name:
            raise refusal(file.path, f"duplicate zip member {shown(entry.name)}")
        if len(roots) > 1:
            raise refusal(
                file.path, f"zip member {shown(entry.raw)} is outside the one root directory"
            )
        if entry.header != position:
            what = f"zip member {shown(entry.name)} should begin where the one before it ends: {position}"
            raise refusal(file.path, what, at=entry.header)
        start = _data_offset(file, entry)
        by_name[entry.name] = Member(
            start, entry.nbytes, entry.crc if entry.crc or not entry.nbytes else None
        )
        position = _end_of_member(file, entry, start)
    if position != directory.offset:
        raise refusal(file.path, f"bytes {position} to {directory.offset} belong to no zip member")
    return by_name


def _directory(file: FileReader) -> _Directory:
    """Find the central directory from the records at the very end of the file."""
    at = file.size - _END.size
    raw = file.read(at, _END.size) if at >= 0 else b""
    if raw[:4] != b"PK\x05\x06" or raw[-2:] != b"\0\0":
        raise refusal(file.path, "no zip end record in the last 22 bytes", advice=FETCH)
    _, disk, disk2, count, total, nbytes, offset, _ = _END.unpack(raw)
    end, short = at, (count, nbytes, offset)
    if at >= _LOCATOR.size + _END64.size and file.read(at - _LOCATOR.size, 4) == b"PK\x06\x07":
        end = at - _LOCATOR.size - _END64.size
        directory = _directory64(file, end)
        full = (directory.count, directory.nbytes, directory.offset)
        widest = (0xFFFF, _IN_ZIP64, _IN_ZIP64)
        agree = all(
            low in (value, most) for low, value, most in zip(short, full, widest, strict=True)
        )
    else:
        directory = _Directory(count, offset, nbytes)
        agree = True
    if disk or disk2 or total != count or not agree or directory.offset + directory.nbytes != end:
        raise refusal(
            file.path, "the zip end records contradict each other or the file", at=end, advice=FETCH
        )
    for name, number, most in (
        ("tensors", directory.count, limits().tensors),
        ("header_bytes", directory.nbytes, limits().header_bytes),
    ):
        if number > most:
            what = f"a zip directory of {directory.count} members in {directory.nbytes} bytes"
            raise refusal(file.path, what, at=directory.offset, advice=more(name))
    return directory


def _directory64(file: FileReader, end: int) -> _Directory:
    """Read the zip64 end record at `end` and the locator behind it."""
    locator = _LOCATOR.unpack(file.read(end + _END64.size, _LOCATOR.size))
    fields = _END64.unpack(file.read(end, _END64.size))
    signature, length, _, _, disk, disk2, count, total, nbytes, offset = fields
    plain = (signature, length, disk, disk2) == (b"PK\x06\x06", _END64.size - 12, 0, 0)
    if locator[1:] != (0, end, 1) or not plain or count != total:
        raise refusal(
            file.path, "the zip64 end records contradict each other", at=end, advice=FETCH
        )
    return _Directory(count, offset, nbytes)


def _entries(file: FileReader, directory: _Directory) -> Iterator[_Entry]:
    """Yield the entries of the central directory in the order in which they stand."""
    raw = file.read(directory.offset, directory.nbytes)
    position = 0
    for _ in range(directory.count):
        try:
            entry, following = _entry(raw, position)
        except Malformed as error:
            raise refusal(file.path, str(error), at=directory.offset + position) from None
        yield entry
        position = following
    if position != len(raw):
        raise refusal(
            file.path, "bytes behind the last zip directory entry", at=directory.offset + position
        )


def _entry(raw: bytes, position: int) -> tuple[_Entry, int]:
    """Return one entry of the central directory, and where the next begins. Raises Malformed."""
    names = position + _CENTRAL.size
    if names > len(raw) or raw[position : position + 4] != b"PK\x01\x02":
        raise Malformed("not a zip directory entry")
    fields = _CENTRAL.unpack_from(raw, position)
    (
        _,
        version,
        flags,
        method,
        _,
        _,
        crc,
        packed,
        nbytes,
        length,
        extra,
        comment,
        disk,
        _,
        attributes,
        header,
    ) = fields
    name, following = raw[names : names + length], names + length + extra
    if (
        following > len(raw)
        or flags & ~_FLAGS
        or comment
        or disk
        or not 0 < length <= MAX_NAME_BYTES
    ):
        raise Malformed(
            f"zip member {shown(name)} has flags {flags:#x}, a comment, or a name of odd length"
        )
    root, rest = _name(name)
    if attributes & _IS_DIRECTORY:
        raise Malformed(f"zip member {shown(name)} is marked as a directory")
    if version > _NEWEST:
        raise Malformed(f"zip member {shown(name)} needs version {version} of the zip format")
    if method != 0:
        raise Malformed(
            f"zip member {shown(name)} is compressed (method {method}); torch.save only stores"
        )
    sizes = _widened((nbytes, packed, header), raw[names + length : following], name)
    if sizes[0] != sizes[1]:
        raise Malformed(
            f"zip member {shown(name)} is {sizes[0]} bytes long, but stored in {sizes[1]}"
        )
    return _Entry(name, root, rest, flags, crc, sizes[0], sizes[2]), following


def _widened(sizes: tuple[int, int, int], extra: bytes, name: bytes) -> tuple[int, ...]:
    """Return the sizes, those that 32 bits cannot hold from the zip64 field. Raises Malformed."""
    full = sizes.count(_IN_ZIP64)
    if len(extra) != (4 + 8 * full if full else 0) or (
        full and extra[:4] != struct.pack("<2H", 1, 8 * full)
    ):
        raise Malformed(
            f"zip member {shown(name)} has an extra field other than the zip64 one that it needs"
        )
    values = iter(struct.unpack(f"<{full}Q", extra[4:]))
    return tuple(next(values) if size == _IN_ZIP64 else size for size in sizes)


def _name(raw: bytes) -> tuple[str, str]:
    """Return root directory and the name within it. Raises Malformed: no member of a state_dict's file."""
    try:
        root, _, name = raw.decode().partition("/")
    except UnicodeDecodeError:
        raise Malformed(f"zip member {shown(raw)} has a name that is not UTF-8") from None
    if name.startswith(_TORCHSCRIPT):
        raise Malformed(
            f"a TorchScript archive (zip member {shown(raw)}): a program, not weights alone"
        )
    if not root or not _ALLOWED.fullmatch(name):
        raise Malformed(f"zip member {shown(raw)} is not one that torch.save writes")
    return root, name


def _data_offset(file: FileReader, entry: _Entry) -> int:
    """Return where the data begins, once the local header says what the directory says."""
    raw = file.read(entry.header, _LOCAL.size + len(entry.raw))
    signature, version, flags, method, _, _, crc, packed, nbytes, length, extra = (
        _LOCAL.unpack_from(raw)
    )
    sizes = [(entry.crc, entry.nbytes, entry.nbytes)]
    if flags & _HAS_DESCRIPTOR:  # then the descriptor behind the data carries them, and is compared
        sizes.append((0, 0, 0))
    same = (signature, flags, method, length) == (SIGNATURE, entry.flags, 0, len(entry.raw))
    if (
        not same
        or version > _NEWEST
        or raw[_LOCAL.size :] != entry.raw
        or (crc, packed, nbytes) not in sizes
    ):
        what = f"local header and directory of zip member {shown(entry.name)} disagree"
        raise refusal(file.path, what, at=entry.header)
    return entry.header + len(raw) + int(extra)


def _end_of_member(file: FileReader, entry: _Entry, start: int) -> int:
    """Return where the next member begins, once a descriptor says what the directory says."""
    end = start + entry.nbytes
    if not entry.flags & _HAS_DESCRIPTOR:
        return end
    if end <= file.size - _DESCRIPTORS[1].size:  # an end record of 22 bytes and more always follows
        raw = file.read(end, _DESCRIPTORS[1].size)
        for layout in _DESCRIPTORS:
            if layout.unpack_from(raw) == (b"PK\x07\x08", entry.crc, entry.nbytes, entry.nbytes):
                return end + layout.size
    what = f"no data descriptor behind the {entry.nbytes} bytes of zip member {shown(entry.name)}"
    raise refusal(file.path, what, at=end)
