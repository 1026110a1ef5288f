"""PyTorch since 1.6: `pytorch_model.bin`, a zip container with a pickle and one member per storage.

Source: torch/serialization.py (`_save`, `_load`) of PyTorch 2.13. Read without torch, pickle or zipfile.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ckptconv.formats import Contents, Format
from ckptconv.formats._files import FileReader
from ckptconv.formats._pickle import load
from ckptconv.formats._stream import FETCH, Stream, refusal, shown
from ckptconv.formats._torch import NAMES, ZIP, Storages, state_dict, wrong_form
from ckptconv.formats._views import check_storages, places
from ckptconv.formats._zip import SIGNATURE, Member, members

_DATA = "data/"
_ORDERS = (b"little",)


def read(path: Path) -> Contents:
    """Read the container's directory and the pickle; see `Format.read`."""
    with FileReader(path) as file:
        if file.size < len(SIGNATURE) or file.read(0, len(SIGNATURE)) != SIGNATURE:
            raise wrong_form(path, ZIP, file.read(0, min(file.size, 512)))
        found = members(file)
        _check_byte_order(file, found)
        storages = Storages(legacy=False)
        value = _unpickled(file, found, storages)
        records = {name.removeprefix(_DATA): one for name, one in found.items() if name.startswith(_DATA)}
        check_storages(path, storages.found, {key: one.nbytes for key, one in records.items()})
        starts = {key: one.offset for key, one in records.items()}
        return Contents(places(path, file.size, state_dict(value, path), starts))


def _check_byte_order(file: FileReader, found: Mapping[str, Member]) -> None:
    """Raise SourceError unless the data is little-endian, as it is where nothing is said (before 2.1)."""
    member = found.get("byteorder")
    if member is None:
        return
    order = file.read(member.offset, min(member.nbytes, 16))
    if member.nbytes != len(order) or order not in _ORDERS:
        raise refusal(file.path, f"its byte order is {shown(order)}, expected 'little'", at=member.offset)


def _unpickled(file: FileReader, found: Mapping[str, Member], storages: Storages) -> object:
    """Return the value of data.pkl. Raises SourceError: absent, refused, or followed by other bytes."""
    member = found.get("data.pkl")
    if member is None:
        raise refusal(file.path, "the zip container has no member 'data.pkl'", advice=FETCH)
    end = member.offset + member.nbytes
    stream = Stream(file, member.offset, end)
    value = load(stream, NAMES, storages)
    if stream.offset != end:
        raise refusal(file.path, f"{end - stream.offset} bytes behind the pickle", at=stream.offset)
    return value


FORMAT = Format("torch", "pytorch_model.bin", ("pytorch",), read, magic=b"PK\x03\x04")
