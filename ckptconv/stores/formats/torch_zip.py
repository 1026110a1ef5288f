"""PyTorch since 1.6: `pytorch_model.bin`, a zip container with a pickle and one member per storage.

Source: torch/serialization.py (`_save`, `_load`) of PyTorch 2.13. Read without torch, pickle or zipfile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ckptconv.base.files import FETCH, START_BYTES, FileReader, limits, more
from ckptconv.stores.formats import Contents, Format
from ckptconv.stores.parsers.pickle_machine import load
from ckptconv.stores.parsers.stream import Stream, refusal, shown
from ckptconv.stores.parsers.torch_pickle import (
    NAMES,
    Storages,
    check_storages,
    places,
    state_dict,
    wrong_form,
)
from ckptconv.stores.parsers.zip_archive import SIGNATURE, Member, members
from ckptconv.stores.tensor import ChecksumSpan, Extent, check_span

_DATA = "data/"
_VERSIONS = re.compile(rb"([1-9]|10)\n?")
"""Of the container; what caffe2/serialize/versions.h of PyTorch 2.13 reads."""
_ORDERS = re.compile(rb"little")


def read(path: Path) -> Contents:
    """Read the container's directory and the pickle; see `Format.read`."""
    with FileReader(path) as file:
        if file.size < len(SIGNATURE) or file.read(0, len(SIGNATURE)) != SIGNATURE:
            raise wrong_form(path, file.read(0, min(file.size, START_BYTES)), "torch")
        entries = members(file)
        _check_small(file, entries)
        _check_layout(file, entries)
        storages = Storages(legacy=False)
        model = state_dict(_unpickled(file, entries, storages), path)
        data = {
            name.removeprefix(_DATA): member
            for name, member in entries.items()
            if name.startswith(_DATA)
        }
        check_storages(path, storages.found, {key: member.nbytes for key, member in data.items()})
        starts = {key: member.offset for key, member in data.items()}
        spans = _spans(path, data)
        stored = places(path, file.size, model.tensors, starts, spans)
        return Contents(stored, notices=model.notices)


def _check_small(file: FileReader, members: Mapping[str, Member]) -> None:
    """Compare all members but the tensors' data with their checksums. Raises SourceError."""
    for name, member in members.items():
        if name.startswith(_DATA):
            continue
        if member.nbytes > limits().pickle_bytes:
            what = f"zip member {shown(name)} of {member.nbytes} bytes, more than {limits().pickle_bytes}"
            raise refusal(file.path, what, at=member.offset, advice=more("pickle_bytes"))
        if member.crc is not None:
            check_span(
                ChecksumSpan(file.path, name, Extent(member.offset, member.nbytes), member.crc)
            )


def _spans(path: Path, data: Mapping[str, Member]) -> dict[str, ChecksumSpan]:
    """Return storage key -> what its checksum covers; where there is none, as old files have it, nothing."""
    return {
        key: ChecksumSpan(path, _DATA + key, Extent(member.offset, member.nbytes), member.crc)
        for key, member in data.items()
        if member.crc is not None
    }


def _check_layout(file: FileReader, members: Mapping[str, Member]) -> None:
    """Raise SourceError: an unknown version, or not little-endian, as it is where nothing is said (before 2.1)."""
    for name, what, expected, allowed in (
        ("version", "format version", "1 to 10", _VERSIONS),
        ("byteorder", "byte order", "'little'", _ORDERS),
    ):
        member = members.get(name)
        if member is None and name == "version":
            raise refusal(file.path, "the zip container has no member 'version'", advice=FETCH)
        if member is None:
            continue
        text = file.read(member.offset, min(member.nbytes, 16))
        if member.nbytes != len(text) or not allowed.fullmatch(text):
            raise refusal(
                file.path, f"its {what} is {shown(text)}, expected {expected}", at=member.offset
            )


def _unpickled(file: FileReader, members: Mapping[str, Member], storages: Storages) -> object:
    """Return the value of data.pkl. Raises SourceError: absent, refused, or followed by other bytes."""
    member = members.get("data.pkl")
    if member is None:
        raise refusal(file.path, "the zip container has no member 'data.pkl'", advice=FETCH)
    end = member.offset + member.nbytes
    stream = Stream(file, member.offset, end)
    value = load(stream, NAMES, storages)
    if stream.offset != end:
        raise refusal(file.path, f"{end - stream.offset} bytes behind the pickle", at=stream.offset)
    return value


FORMAT = Format("torch", ("pytorch",), read, magic=b"PK\x03\x04")
