"""`transfer`: what lies in the files afterwards, shards, the reading back, and how much memory it took."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ckptconv.base import files
from ckptconv.base.errors import DestinationError, PlanError, SourceError
from ckptconv.binding.bind import bind
from ckptconv.binding.plan import Plan, make_plan
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.checkpoint import read_weights
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.layouts import huggingface
from ckptconv.transfer import pieces, segments
from ckptconv.transfer.loop import split_shards, write_weights
from ckptconv.transfer.publish.stage import begin_write_back

if TYPE_CHECKING:
    from conftest import MakePair, Pair

Arrays = dict[str, NDArray[Any]]
WAYS = [
    ("tf", "hdf5"),
    ("tf", "safetensors"),
    ("flax", "msgpack"),
    ("flax", "safetensors"),
    ("pytorch", "safetensors"),
]
EMBEDDING = "encoder.embeddings.word_embeddings.weight"


def plan_of(pair: Pair, folder: Path, naming: NamingName, **options: Any) -> Plan:
    """Write the pair and plan its conversion."""
    index = read_weights(pair.write(folder)).tensors
    return make_plan(bind(pair.rows, index, "pytorch"), naming, what="here", **options)


def from_hdf5(path: Path) -> Arrays:
    """Return the data sets below each layer, by the names that Keras lists."""
    with h5py.File(path) as file:
        return {
            name.decode().split("/", 1)[1]: file[layer][name][()]
            for layer in file.attrs["layer_names"]
            for name in file[layer].attrs["weight_names"]
        }


def from_msgpack(path: Path) -> Arrays:
    """Return the leaves, read by msgpack's own library."""

    def array(_code: int, data: bytes) -> NDArray[Any]:
        shape, dtype, content = msgpack.unpackb(data)
        return np.frombuffer(content, dtype).reshape(shape)

    def flat(tree: dict[str, Any], above: str = "") -> Arrays:
        return {
            name: leaf
            for key, value in tree.items()
            for name, leaf in (
                flat(value, f"{above}{key}/") if isinstance(value, dict) else {above + key: value}
            ).items()
        }

    return flat(msgpack.unpackb(path.read_bytes(), ext_hook=array))


LIBRARIES = {"hdf5": from_hdf5, "msgpack": from_msgpack, "safetensors": load_file}


@pytest.mark.parametrize(("naming", "form"), WAYS)
def test_other_libraries_find_the_same_values(
    pair: Pair, tmp_path: Path, naming: NamingName, form: str
) -> None:
    """Each format's own library reads every tensor: kernels are turned round, nothing else is changed."""
    plan = plan_of(pair, tmp_path / "source", naming)
    (tmp_path / "out").mkdir()
    written = write_weights(plan, FORMATS[form], naming, tmp_path / "out")
    assert written.files == (tmp_path / "out" / huggingface.weights_name(FORMATS[form]),)
    arrays = LIBRARIES[form](written.files[0])
    joined = "." if (naming, form) == ("flax", "safetensors") else "/"
    names = {move.target.name.replace("/", joined): move.tensor.key for move in plan.moves}
    assert sorted(arrays) == sorted(names)
    for name, array in arrays.items():
        expected = pair.arrays[names[name]]
        expected = expected.T if "kernel" in name else expected
        assert (array.dtype, array.shape, array.tobytes()) == (
            expected.dtype,
            expected.shape,
            expected.tobytes(),
        )


def test_shards_are_filled_in_order(pair: Pair, tmp_path: Path) -> None:
    """A shard takes what fits; a tensor that is larger than the limit has one for itself; none is empty."""
    plan = plan_of(pair, tmp_path / "source", "pytorch")
    sizes = [[move.target.nbytes for move in shard] for shard in split_shards(plan.moves, 644)]
    flat = [move.target.nbytes for move in plan.moves]
    assert sizes[:3] == [[23 * 28], [17 * 28, 3 * 28, 28, 28], [196, 28, 196, 28, 196]]
    assert [size for shard in sizes for size in shard] == flat
    assert all(shard and (sum(shard) <= 644 or len(shard) == 1) for shard in sizes)
    assert [len(shard) for shard in split_shards(plan.moves, 1)] == [1] * len(flat)
    assert [
        len(shard) for limit in (None, sum(flat)) for shard in split_shards(plan.moves, limit)
    ] == [len(flat)] * 2


@pytest.mark.parametrize(("naming", "form"), WAYS)
def test_shards_and_index_agree(pair: Pair, tmp_path: Path, naming: NamingName, form: str) -> None:
    """The index names each tensor's shard and the size of all data; read together they are the whole."""
    plan = plan_of(pair, tmp_path / "source", naming)
    (tmp_path / "out").mkdir()
    written = write_weights(plan, FORMATS[form], naming, tmp_path / "out", 1500)
    count = len(written.files)
    assert [file.name for file in written.files] == huggingface.shard_names(FORMATS[form], count)
    index = json.loads((tmp_path / "out" / huggingface.index_name(FORMATS[form])).read_text())
    assert (index["metadata"], written.nbytes) == ({"total_size": plan.nbytes}, plan.nbytes)
    held = {name: file.name for file in written.files for name in FORMATS[form].read(file).tensors}
    assert len(set(index["weight_map"].values())) == count > 5
    assert index["weight_map"] == {name: held[name] for name in index["weight_map"]}
    tensors = read_weights(tmp_path / "out").tensors
    assert {name: stored.spec for name, stored in tensors.items()} == {
        move.target.name: move.target for move in plan.moves
    }


@pytest.mark.parametrize(("naming", "form"), WAYS)
def test_a_byte_that_changes_on_the_way(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, naming: NamingName, form: str
) -> None:
    """A disk that returns another byte than it was given is found out by reading back."""
    plan = plan_of(pair, tmp_path / "source", naming)
    (tmp_path / "whole").mkdir()
    (whole,) = write_weights(plan, FORMATS[form], naming, tmp_path / "whole").files
    tensors = FORMATS[form].read(whole).tensors
    place = tensors[sorted(tensors)[17]].extents[0].offset

    def faulty(fd: int, offset: int, data: memoryview) -> None:
        if offset <= place < offset + len(data):
            data[place - offset] ^= 1
        real(fd, offset, data)

    real = segments.write_at
    monkeypatch.setattr(segments, "write_at", faulty)
    (tmp_path / "out").mkdir()
    with pytest.raises(DestinationError) as refusal:
        write_weights(plan, FORMATS[form], naming, tmp_path / "out")
    broken = sorted(tensors)[17]
    assert str(refusal.value) == (
        f"{huggingface.weights_name(FORMATS[form])}: read-back check failed:"
        f" data on disk differs from what was written: {broken};"
        " nothing was published.\n"
        "The disk or the memory of this machine may be faulty."
    )


def test_long_runs_are_written_in_parts_that_the_disk_gets_at_once(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short parts, each handed to the disk, make the same file; a descriptor that is none does no harm."""
    plan = plan_of(pair, tmp_path / "source", "tf")
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    (whole,) = write_weights(plan, FORMATS["safetensors"], "tf", tmp_path / "whole").files
    monkeypatch.setattr(files, "WRITE_BYTES", 97)
    monkeypatch.setattr(segments, "EARLY_BYTES", 1)
    (parts,) = write_weights(plan, FORMATS["safetensors"], "tf", tmp_path / "parts").files
    assert parts.read_bytes() == whole.read_bytes()
    begin_write_back(-1, 0, 1)


def test_progress_counts_every_byte_twice(pair: Pair, tmp_path: Path) -> None:
    """Written and read back: the calls add up to twice the data."""
    plan = plan_of(pair, tmp_path / "source", "tf")
    (tmp_path / "out").mkdir()
    steps: list[int] = []
    write_weights(plan, FORMATS["hdf5"], "tf", tmp_path / "out", 2000, steps.append)
    assert (sum(steps), min(steps) > 0) == (2 * plan.nbytes, True)


def test_what_a_move_refuses_ends_the_transfer(pair: Pair, tmp_path: Path) -> None:
    """A value that a cast cannot hold, and a source that shrank since it was opened, are errors of the source."""
    pair.arrays[EMBEDDING][0, 0] = 1e6
    (tmp_path / "out").mkdir()
    plan = plan_of(pair, tmp_path / "source", "flax", dtype="float16")
    with pytest.raises(PlanError, match="1 of 161 become infinite"):
        write_weights(plan, FORMATS["msgpack"], "flax", tmp_path / "out")
    plan = plan_of(pair, tmp_path / "again", "flax")
    with (tmp_path / "again" / "model.safetensors").open("r+b") as file:
        file.truncate(9000)
    with pytest.raises(SourceError, match="cut short at byte"):
        write_weights(plan, FORMATS["safetensors"], "flax", tmp_path / "out")


@pytest.mark.parametrize(
    ("enc", "wholes"), [({"vocab_size": 100_003}, 0), ({"intermediate_size": 100_003}, 1)]
)
def test_memory(
    make_pair: MakePair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    enc: dict[str, int],
    wholes: int,
) -> None:
    """A tensor that is copied takes a few pieces, not its size; of those that are turned, one is held at a time.

    The turned ones have rows of 400 kB, which are pieces of their own.
    """
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1 << 16)
    monkeypatch.setattr(pieces, "ALONE_BYTES", 1 << 18)
    plan = plan_of(make_pair(enc=enc), tmp_path / "source", "flax")
    largest = max(move.target.nbytes for move in plan.moves)
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    try:
        write_weights(plan, FORMATS["msgpack"], "flax", tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest == 7 * 100_003 * 4
    assert wholes * largest < peak < wholes * largest + (3 << 19)
