"""PyTorch before 1.6: `pytorch_model.bin`, five pickles and then each storage behind its length.

Source: torch/serialization.py (`_legacy_save`, `_legacy_load`) of PyTorch 2.13, which still reads it and
writes it on demand. Read without torch or pickle.
"""

from __future__ import annotations

from pathlib import Path

from ckptconv.base.files import FETCH, START_BYTES, FileReader
from ckptconv.stores.formats import Contents, Format
from ckptconv.stores.parsers.pickle_machine import load
from ckptconv.stores.parsers.stream import Stream, refusal, shown
from ckptconv.stores.parsers.torch_pickle import (
    MAGIC_NUMBER,
    NAMES,
    Storage,
    Storages,
    check_storages,
    places,
    state_dict,
    wrong_form,
)

PROTOCOL_VERSION = 1001
_COUNT_BYTES = 8


def read(path: Path) -> Contents:
    """Read the five pickles, and the length in front of each storage; see `Format.read`."""
    with FileReader(path) as file:
        start = file.read(0, min(file.size, START_BYTES))
        stream = Stream(file, 0, file.size)
        # Only a pickle can begin with this byte; what else the file may be is told by its first bytes.
        if start[:1] != b"\x80" or load(stream, {}) != MAGIC_NUMBER:
            raise wrong_form(path, start, "torch legacy")
        _check_system(stream)
        storages = Storages(legacy=True)
        model = state_dict(load(stream, NAMES, storages), path)
        starts = _starts(file, stream, storages.found)
        return Contents(places(path, file.size, model.tensors, starts), notices=model.notices)


def _check_system(stream: Stream) -> None:
    """Read the second and third pickle. Raises SourceError: another version, or not little-endian."""
    at = stream.offset
    version = load(stream, {})
    if version != PROTOCOL_VERSION:
        raise refusal(stream.path, f"its protocol version is not {PROTOCOL_VERSION}", at=at)
    at = stream.offset
    system = load(stream, {})
    if not isinstance(system, dict) or system.get("protocol_version") != PROTOCOL_VERSION:
        raise refusal(
            stream.path, f"its system information does not say version {PROTOCOL_VERSION}", at=at
        )
    if system.get("little_endian") is not True:
        raise refusal(stream.path, "its data is not little-endian", at=at)


def _starts(file: FileReader, stream: Stream, storages: dict[str, Storage]) -> dict[str, int]:
    """Read the list of keys and what follows it: for each the number of elements (int64) and the data.

    Returns: storage key -> where its data begins [bytes from the file's start].
    Raises: SourceError: the storages of the list, the file and the tensors are not the same.
    """
    at = stream.offset
    keys = load(stream, {})
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or len(set(keys)) != len(keys)
    ):
        raise refusal(file.path, "the fifth pickle is no list of distinct storage keys", at=at)
    check_storages(
        file.path, storages, {key: storages[key].nbytes if key in storages else 0 for key in keys}
    )
    starts, position = {}, stream.offset
    for key in keys:
        count = int.from_bytes(file.read(position, _COUNT_BYTES), "little", signed=True)
        if count != storages[key].numel:
            what = f"storage {shown(key)} has {count} elements, expected {storages[key].numel}"
            raise refusal(file.path, what, at=position, advice=FETCH)
        starts[key] = position + _COUNT_BYTES
        position = starts[key] + storages[key].nbytes
    if position != file.size:
        what = f"its storages end at byte {position}, the file has {file.size} bytes"
        raise refusal(file.path, what, advice=FETCH)
    return starts


FORMAT = Format("torch legacy", ("pytorch",), read, magic=b"\x80\x02")
