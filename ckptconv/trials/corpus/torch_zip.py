"""Malformed zip containers around a whole pickle: what zip readers disagree about, and what is no state_dict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ckptconv.trials.corpus._model import case
from ckptconv.trials.corpus._zipped import Part, parts, zipped

_KEY = "m/data/3"
_BIG = 0xFFFF_FFFF


def _spoilt(name: str = _KEY, **fields: Any) -> bytes:
    """Return the whole model with other fields for one member."""
    return zipped([replace(part, **fields) if part.name == name else part for part in parts()])


def _without(*names: str) -> bytes:
    return zipped([part for part in parts() if part.name not in names])


def _added(name: str, data: bytes = b"", **fields: Any) -> bytes:
    return zipped([*parts(), Part(name, data, **fields)])


def _flipped(name: str, at: int = 0) -> bytes:
    """Return the whole model with one bit of a member's data changed behind its checksum's back."""
    raw = bytearray(zipped(parts()))
    raw[raw.index(name.encode()) + len(name) + at] ^= 1
    return bytes(raw)


def _cut(nbytes: int) -> bytes:
    return zipped(parts())[:-nbytes]


def _described(behind: bytes) -> bytes:
    return _spoilt(local={"flags": 8}, central={"flags": 8}, behind=behind)


def _wide(**records: Any) -> bytes:
    return zipped(parts(), **{"end64": {}, **records})


def _in_front(nbytes: int) -> bytes:
    """Return the whole model behind bytes that its offsets do not count."""
    return b"PK\3\4".ljust(nbytes, b"\0") + zipped(parts())


def _twice(order: int) -> bytes:
    """Return the whole model with a second data.pkl, in front or behind."""
    second = Part("m/data.pkl", b"\x80\x02}.")
    return zipped([second, *parts()][::1] if order < 0 else [*parts(), second])


def _reordered() -> bytes:
    """Return the whole model with two entries of its directory exchanged."""
    raw = zipped(parts())
    first, second = raw.index(b"PK\1\2"), raw.index(b"PK\1\2", raw.index(b"PK\1\2") + 1)
    third = raw.index(b"PK\1\2", second + 1)
    return raw[:first] + raw[second:third] + raw[first:second] + raw[third:]


# name, what a reader that does not look would do, what the refusal says, the weights
_TABLE: tuple[tuple[str, str, str, Callable[[], bytes]], ...] = (
    # Two readers see two files.
    (
        "member-twice",
        "readers take the first or the last",
        r"duplicate zip member 'data/3'",
        lambda: _added(_KEY, b"\0" * 8),
    ),
    (
        "pickle-twice-behind",
        "readers take the first or the last",
        "duplicate zip member 'data.pkl'",
        lambda: _twice(1),
    ),
    (
        "pickle-twice-in-front",
        "readers take the first or the last",
        "duplicate zip member 'data.pkl'",
        lambda: _twice(-1),
    ),
    (
        "second-root",
        "readers choose a root",
        "outside the one root",
        lambda: _added("n/data/999", b"1234"),
    ),
    (
        "root-of-other-case",
        "one root on some file systems",
        "outside the one root",
        lambda: _added("M/data/999"),
    ),
    (
        "member-of-other-case",
        "one file on some file systems",
        "'m/DATA.PKL' is not one",
        lambda: _added("m/DATA.PKL"),
    ),
    (
        "local-name-differs",
        "the name depends on the reader",
        "'data/3' disagree",
        lambda: _spoilt(local={"name": b"m/data/4"}),
    ),
    (
        "central-name-differs",
        "the name depends on the reader",
        "'data/999' disagree",
        lambda: _spoilt(central={"name": b"m/data/999", "length": 10}),
    ),
    (
        "local-name-is-longer",
        "the data begins elsewhere",
        "'data/3' disagree",
        lambda: _spoilt(local={"length": 12}),
    ),
    ("local-crc-differs", "two checksums", "'data/3' disagree", lambda: _spoilt(local={"crc": 7})),
    ("local-size-differs", "two lengths", "'data/3' disagree", lambda: _spoilt(local={"size": 4})),
    (
        "local-packed-size-differs",
        "two lengths",
        "'data/3' disagree",
        lambda: _spoilt(local={"packed": 4}),
    ),
    (
        "local-method-differs",
        "packed or not",
        "'data/3' disagree",
        lambda: _spoilt(local={"method": 8}),
    ),
    (
        "local-flags-differ",
        "encrypted or not",
        "'data/3' disagree",
        lambda: _spoilt(local={"flags": 1}),
    ),
    (
        "local-signature-wrong",
        "no header where one should be",
        "'data/3' disagree",
        lambda: _spoilt(local={"signature": b"PK\3\5"}),
    ),
    (
        "offset-of-another-member",
        "one header for two entries",
        "should begin where",
        lambda: _spoilt(central={"offset": 0}),
    ),
    (
        "offset-into-data",
        "a header within data",
        "should begin where",
        lambda: _spoilt(central={"offset": 40}),
    ),
    (
        "offset-beyond-the-file",
        "reads past the end",
        "should begin where",
        lambda: _spoilt(central={"offset": 1 << 30}),
    ),
    (
        "size-covers-the-next",
        "members overlap",
        "disagree|should begin where",
        lambda: _spoilt(central={"size": 99, "packed": 99}, local={"size": 99, "packed": 99}),
    ),
    (
        "size-is-shorter",
        "bytes that nobody sees",
        "should begin where",
        lambda: _spoilt(central={"size": 1, "packed": 1}, local={"size": 1, "packed": 1}),
    ),
    ("order-of-entries", "offsets that go back", "should begin where", lambda: _reordered()),
    (
        "bytes-between-members",
        "bytes that nobody sees",
        "should begin where",
        lambda: _spoilt(behind=b"gap!"),
    ),
    (
        "bytes-before-the-directory",
        "bytes that nobody sees",
        "belong to no zip member",
        lambda: zipped(parts(), gap=b"gap!"),
    ),
    (
        "bytes-in-front-counted",
        "another file in front",
        "should begin where",
        lambda: zipped(parts(), before=b"PK\3\4" + b"\0" * 60),
    ),
    ("bytes-in-front-not-counted", "another file in front", "contradict", lambda: _in_front(64)),
    (
        "bytes-behind",
        "another file behind",
        "no zip end record",
        lambda: zipped(parts(), behind=b"\0"),
    ),
    (
        "comment",
        "another end record in the comment",
        "no zip end record",
        lambda: zipped(parts(), end={"comment": 4}, behind=b"note"),
    ),
    (
        "comment-with-end-record",
        "the readers' directories differ",
        "contradict",
        lambda: zipped(parts(), end={"comment": 22}, behind=zipped([])),
    ),
    (
        "two-containers",
        "the readers' directories differ",
        "contradict",
        lambda: zipped(parts()) + zipped(parts()),
    ),
    (
        "directory-longer",
        "the directory's end is unclear",
        "contradict",
        lambda: zipped(parts(), end={"size": 1 << 20}),
    ),
    (
        "directory-elsewhere",
        "the directory's place is unclear",
        "contradict",
        lambda: zipped(parts(), end={"offset": 0}),
    ),
    (
        "entries-fewer-than-there",
        "hidden members",
        "bytes behind the last",
        lambda: zipped(parts(), end={"count": 3, "total": 3}),
    ),
    (
        "entries-more-than-there",
        "reads past the directory",
        "not a zip directory entry",
        lambda: zipped(parts(), end={"count": 999, "total": 999}),
    ),
    (
        "entries-none",
        "hidden members",
        "bytes behind the last",
        lambda: zipped(parts(), end={"count": 0, "total": 0}),
    ),
    (
        "entries-counted-twice",
        "two counts",
        "contradict",
        lambda: zipped(parts(), end={"total": 3}),
    ),
    ("second-disk", "data in another file", "contradict", lambda: zipped(parts(), end={"disk": 1})),
    (
        "first-disk",
        "data in another file",
        "contradict",
        lambda: zipped(parts(), end={"first_disk": 1}),
    ),
    (
        "entry-on-second-disk",
        "data in another file",
        "a comment",
        lambda: _spoilt(central={"disk": 1}),
    ),
    (
        "entry-signature",
        "no entry where one should be",
        "not a zip directory entry",
        lambda: _spoilt(central={"signature": b"PK\1\3"}),
    ),
    (
        "entry-comment",
        "bytes that nobody sees",
        "a comment",
        lambda: _spoilt(central={"comment": 4}, tail=b"note"),
    ),
    (
        "entry-extra-field",
        "a second name or size",
        "an extra field other",
        lambda: _spoilt(tail=b"\x75\x70\x0d\0\1" + b"\0" * 4 + b"m/data/9"),
    ),
    (
        "entry-name-empty",
        "no name",
        "of odd length",
        lambda: _spoilt(central={"name": b"", "length": 0}),
    ),
    (
        "entry-name-beyond",
        "reads past the directory",
        "has flags|not a zip directory",
        lambda: _spoilt("m/version", central={"length": 0xFFFF}),
    ),
    # Names that are none of torch.save's.
    (
        "name-goes-up",
        "a file outside",
        "is not one that torch",
        lambda: _added("m/../../etc/passwd"),
    ),
    ("name-absolute", "a file outside", "is not one that torch", lambda: _added("/etc/passwd")),
    ("name-of-windows", "a file outside", "is not one that torch", lambda: _added("m/data\\..\\x")),
    ("name-with-nul", "the name depends on the reader", r"x00", lambda: _added("m/data.pkl\0.txt")),
    ("name-with-escape", "writes to the terminal", r"x1b", lambda: _added("m/\x1b[2Jdata")),
    (
        "name-with-right-to-left",
        "shows as another name",
        r"is not one that torch",
        lambda: _added("m/\u202e0/atad"),
    ),
    (
        "name-not-utf8",
        "the name depends on the reader",
        "not UTF-8",
        lambda: _spoilt(local={"name": b"m/data/\xff"}, central={"name": b"m/data/\xff"}),
    ),
    ("name-without-root", "no root", "is not one that torch", lambda: _added("data.pkl")),
    ("name-of-a-directory", "no data", "is not one that torch", lambda: _added("m/data/")),
    ("name-too-long", "memory", "of odd length", lambda: _added("m/data/" + "0" * 600)),
    (
        "key-too-long",
        "an integer of any size",
        "is not one that torch",
        lambda: _added("m/data/" + "1" * 21),
    ),
    ("key-not-a-number", "a file outside", "is not one that torch", lambda: _added("m/data/..")),
    (
        "key-of-other-digits",
        "one number, two spellings",
        "is not one that torch",
        lambda: _added("m/data/\u0663"),
    ),
    (
        "marked-as-directory",
        "memory that was never filled",
        "marked as a directory",
        lambda: _spoilt(central={"external": 0x10}),
    ),
    # Programs, and what is no state_dict.
    (
        "torchscript-code",
        "a program",
        "TorchScript",
        lambda: _added("m/code/__torch__.py", b"pass"),
    ),
    (
        "torchscript-constants",
        "a second pickle",
        "TorchScript",
        lambda: _added("m/constants.pkl", b"\x80\x02)."),
    ),
    (
        "torchscript-constants-data",
        "a program's data",
        "TorchScript",
        lambda: _added("m/constants/0", b"1234"),
    ),
    (
        "other-pickle",
        "a second pickle",
        "is not one that torch",
        lambda: _added("m/evil.pkl", b"\x80\x02)."),
    ),
    ("python-file", "a program", "is not one that torch", lambda: _added("m/model.py", b"pass")),
    ("pickle-absent", "no state_dict", "no member 'data.pkl'", lambda: _without("m/data.pkl")),
    ("empty-container", "no state_dict", "begins with 'PK", lambda: zipped([])),
    (
        "no-state-dict-zip",
        "another kind of zip file",
        "is not one that torch",
        lambda: zipped([Part("word/document.xml", b"<a/>")]),
    ),
    # Bombs, and other ways to pack.
    (
        "deflated",
        "a bomb",
        "compressed .method 8",
        lambda: _spoilt(local={"method": 8}, central={"method": 8}),
    ),
    (
        "bzip2",
        "a bomb",
        "compressed .method 12",
        lambda: _spoilt(local={"method": 12}, central={"method": 12}),
    ),
    (
        "lzma",
        "a bomb",
        "compressed .method 14",
        lambda: _spoilt(local={"method": 14}, central={"method": 14}),
    ),
    (
        "bomb",
        "42 kB that become 5 GB",
        "compressed .method 8",
        lambda: _spoilt(
            local={"method": 8, "size": _BIG - 1}, central={"method": 8, "size": _BIG - 1}
        ),
    ),
    (
        "packed-is-smaller",
        "a bomb",
        "long, but stored in",
        lambda: _spoilt(local={"size": 1 << 30}, central={"size": 1 << 30}),
    ),
    (
        "central-version",
        "what a later format may mean",
        "needs version 64",
        lambda: _spoilt(central={"version": 64}),
    ),
    (
        "local-version",
        "what a later format may mean",
        "'data/3' disagree",
        lambda: _spoilt(local={"version": 64}),
    ),
    (
        "encrypted",
        "values that are no values",
        "flags 0x1",
        lambda: _spoilt(local={"flags": 1}, central={"flags": 1}),
    ),
    (
        "strong-encryption",
        "values that are no values",
        "flags 0x40",
        lambda: _spoilt(local={"flags": 64}, central={"flags": 64}),
    ),
    (
        "patched",
        "values that are no values",
        "flags 0x20",
        lambda: _spoilt(local={"flags": 32}, central={"flags": 32}),
    ),
    (
        "headers-masked",
        "headers that are no headers",
        "flags 0x2000",
        lambda: _spoilt(local={"flags": 8192}, central={"flags": 8192}),
    ),
    # Descriptors and zip64.
    ("descriptor-absent", "where does the data end", "no data descriptor", lambda: _described(b"")),
    (
        "descriptor-of-other-crc",
        "two checksums",
        "no data descriptor",
        lambda: _described(b"PK\7\x08abcd\x08\0\0\0\x08\0\0\0"),
    ),
    (
        "descriptor-without-signature",
        "where does it end",
        "no data descriptor",
        lambda: _described(b"\0" * 12),
    ),
    ("zip64-other-offset", "two directories", "contradict", lambda: _wide(end64={"offset": 0})),
    (
        "zip64-other-count",
        "two counts",
        "contradict",
        lambda: _wide(end64={"count": 1, "total": 1}),
    ),
    (
        "zip64-huge-count",
        "memory",
        "directory of 4611686018427387904 members",
        lambda: _wide(
            end64={"count": 1 << 62, "total": 1 << 62}, end={"count": 0xFFFF, "total": 0xFFFF}
        ),
    ),
    (
        "zip64-huge-size",
        "memory",
        "contradict",
        lambda: _wide(end64={"size": 1 << 62}, end={"size": _BIG}),
    ),
    (
        "zip64-other-disk",
        "data in another file",
        "zip64 end records contradict",
        lambda: _wide(end64={"disk": 1}),
    ),
    (
        "zip64-longer-record",
        "bytes that nobody sees",
        "zip64 end records contradict",
        lambda: _wide(end64={"length": 60}),
    ),
    (
        "zip64-locator-elsewhere",
        "two end records",
        "zip64 end records contradict",
        lambda: _wide(locator={"offset": 0}),
    ),
    (
        "zip64-locator-two-disks",
        "data in another file",
        "zip64 end records contradict",
        lambda: _wide(locator={"disks": 2}),
    ),
    (
        "zip64-field-absent",
        "a length of 4 GiB",
        "an extra field other",
        lambda: _spoilt(central={"size": _BIG}),
    ),
    (
        "zip64-field-not-needed",
        "two lengths",
        "an extra field other",
        lambda: _spoilt(tail=b"\1\0\x08\0" + b"\x07" + b"\0" * 7),
    ),
    (
        "zip64-field-too-short",
        "reads past the entry",
        "an extra field other",
        lambda: _spoilt(
            central={"size": _BIG, "packed": _BIG}, tail=b"\1\0\x08\0" + b"\x08" + b"\0" * 7
        ),
    ),
    (
        "zip64-field-huge",
        "memory",
        "disagree|should begin",
        lambda: _spoilt(
            central={"size": _BIG, "packed": _BIG}, tail=b"\1\0\x10\0" + (b"\xff" * 7 + b"\0") * 2
        ),
    ),
    # Data.
    ("storage-absent", "memory that was never filled", "'3' has no data", lambda: _without(_KEY)),
    (
        "storage-unused",
        "bytes that nobody sees",
        "'999' is in the file but no tensor",
        lambda: _added("m/data/999", b"hidden"),
    ),
    (
        "storage-too-short",
        "reads past the end",
        "takes .* bytes, the file has 1$|takes .* the file has 1\\.",
        lambda: _spoilt(data=b"\0"),
    ),
    (
        "storage-too-long",
        "bytes that nobody sees",
        "takes .* the file has 99",
        lambda: _spoilt(data=b"\0" * 99),
    ),
    (
        "storage-empty",
        "memory that was never filled",
        "takes .* the file has 0",
        lambda: _spoilt(data=b""),
    ),
    (
        "big-endian",
        "values with their bytes turned",
        "byte order is 'big'",
        lambda: _spoilt("m/byteorder", data=b"big"),
    ),
    (
        "byte-order-unknown",
        "values with their bytes turned",
        "byte order is 'middle'",
        lambda: _spoilt("m/byteorder", data=b"middle"),
    ),
    (
        "version-absent",
        "another kind of zip file",
        "no member 'version'",
        lambda: _without("m/version"),
    ),
    (
        "version-unknown",
        "an unknown order of parts",
        "version is '11'",
        lambda: _spoilt("m/version", data=b"11"),
    ),
    (
        "version-zero",
        "an unknown order of parts",
        "format version is '0'",
        lambda: _spoilt("m/version", data=b"0"),
    ),
    (
        "version-no-number",
        "an unknown order of parts",
        "version is 'x'",
        lambda: _spoilt("m/version", data=b"x"),
    ),
    (
        "byte-order-long",
        "memory",
        "byte order is",
        lambda: _spoilt("m/byteorder", data=b"little" * 999),
    ),
    # Checksums.
    ("flip-in-a-tensor", "a wrong value", r"'data/3' has the CRC-32", lambda: _flipped(_KEY)),
    (
        "flip-in-the-last-tensor",
        "a wrong value",
        r"'data/56' has the CRC-32",
        lambda: _flipped("m/data/56", 7),
    ),
    (
        "flip-in-the-pickle",
        "another name or shape",
        r"'data.pkl' has the CRC-32",
        lambda: _flipped("m/data.pkl", 40),
    ),
    (
        "flip-in-the-version",
        "another version",
        r"'version' has the CRC-32",
        lambda: _flipped("m/version"),
    ),
    (
        "crc-of-a-tensor-lies",
        "a checksum that means nothing",
        r"'data/3' has the CRC-32",
        lambda: _spoilt(local={"crc": 7}, central={"crc": 7}),
    ),
    (
        "crc-of-the-pickle-lies",
        "a checksum that means nothing",
        r"'data.pkl' has the CRC-32",
        lambda: _spoilt("m/data.pkl", local={"crc": 7}, central={"crc": 7}),
    ),
    # Other files under the name, and parts of one.
    ("cut-in-the-end-record", "a download that stopped", "no zip end record", lambda: _cut(1)),
    ("cut-in-the-directory", "a download that stopped", "no zip end record", lambda: _cut(60)),
    (
        "cut-in-the-data",
        "a download that stopped",
        "no zip end record",
        lambda: zipped(parts())[:5000],
    ),
    (
        "cut-to-its-signature",
        "a download that stopped",
        "no zip end record",
        lambda: zipped(parts())[:4],
    ),
    ("empty-file", "a download that never began", "found an empty file", lambda: b""),
    (
        "git-lfs-pointer",
        "no weights at all",
        "git lfs pull",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    ),
    (
        "web-page",
        "no weights at all",
        "found a page of HTML",
        lambda: b"<!DOCTYPE html><html></html>",
    ),
    ("hdf5", "no weights of PyTorch", "HDF", lambda: b"\x89HDF\r\n\x1a\n".ljust(2048, b"\0")),
    (
        "tar",
        "the first releases' form, which runs code",
        "a tar file",
        lambda: b"sys_info".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"),
    ),
)


CASES = tuple(case(f"zip-{name}", threat, says, weights) for name, threat, says, weights in _TABLE)
