"""Where the tensors of a SavedModel and of a LiteRT file lie, read without TensorFlow."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import bundle, varint
from ckptconv.base.errors import SourceError
from ckptconv.stores.parsers.tensor_bundle import MAGIC, variables
from ckptconv.stores.parsers.tflite_buffers import constant_buffers
from ckptconv.stores.tensor import Extent

NAMES = st.text("abcdefgh_./0123456789", min_size=1, max_size=30)
SHAPES = st.lists(st.integers(0, 5), max_size=3)


@given(tensors=st.dictionaries(NAMES, SHAPES, max_size=6))
def test_every_variable_is_read_back(
    tensors: dict[str, list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Name, with dots and slashes, shape and place; what is no variable is left alone."""
    places = variables(*bundle(tmp_path_factory.mktemp("bundle"), tensors))
    assert {name: list(place.spec.shape) for name, place in places.items()} == tensors
    ends = [place.extents[0] for name in tensors for place in [places[name]]]
    assert [extent.offset for extent in ends] == [
        sum(before.nbytes for before in ends[:number]) for number in range(len(ends))
    ]


def cut(raw: bytes) -> bytes:
    """Return a table without its end."""
    return raw[:-1]


def compressed(raw: bytes) -> bytes:
    """Return a table whose first block says that it is compressed."""
    place = raw.index(struct.pack("<II", 0, 1)) + 8
    return raw[:place] + b"\1" + raw[place + 1 :]


def beyond(raw: bytes) -> bytes:
    """Return a table whose index lies beyond the end."""
    return raw[:-48] + (varint(0) * 2 + varint(1 << 20) + varint(9)).ljust(40, b"\0") + MAGIC


@pytest.mark.parametrize("damage", [cut, compressed, beyond])
def test_a_damaged_index_is_refused(damage: Any, tmp_path: Path) -> None:
    """With the file's name, never a traceback."""
    index, data = bundle(tmp_path, {"a.weight": [2, 3], "b.weight": [4]})
    index.write_bytes(damage(index.read_bytes()))
    with pytest.raises(SourceError, match=r"variables\.index"):
        variables(index, data)


def test_a_data_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    """A place beyond its end would be read as another tensor, or not at all."""
    index, data = bundle(tmp_path, {"a.weight": [2, 3]})
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(SourceError, match=r"a\.weight"):
        variables(index, data)


def test_a_bundle_of_several_files_is_refused(tmp_path: Path) -> None:
    """TensorFlow writes one for a SavedModel."""
    with pytest.raises(SourceError, match="several data files"):
        variables(*bundle(tmp_path, {"a.weight": [2]}, shards=2))


def test_constants_of_a_litert_file_are_where_the_flatbuffer_says() -> None:
    """A model of two buffers: one that is empty, one of six bytes."""
    vtable = struct.pack("<HHHHHHH", 14, 8, 0, 0, 0, 0, 4)  # field 4, the buffers, at 4
    root = 8 + len(vtable) + 2
    content = struct.pack("<I", root) + b"TFL3" + vtable + b"\0\0"
    content += struct.pack("<iI", root - 8, 4)  # the model: its vtable, and where the vector is
    vector = len(content)
    empty, filled = vector + 12 + 8, vector + 12 + 8 + 4 + 8
    content += struct.pack("<III", 2, empty - vector - 4, filled - vector - 8)
    content += struct.pack("<HHHH", 4, 4, 0, 0) + struct.pack("<i", 8)
    content += struct.pack("<HHHH", 6, 8, 4, 0) + struct.pack("<iII", 8, 4, 6)
    data = len(content)
    content += b"weight"
    assert list(constant_buffers(content)) == [Extent(data, 6)]


@pytest.mark.parametrize("content", [b"", b"TFL3" * 4, b"\x63\0\0\0TFL3"])
def test_what_is_no_litert_file_is_refused(content: bytes) -> None:
    """Cut short, or something else."""
    with pytest.raises(ValueError, match=r"LiteRT|beyond"):
        list(constant_buffers(content))
