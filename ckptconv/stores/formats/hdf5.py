"""TF's HDF5 weights: one group a layer, or flat data sets in a shard.

Source: tf-keras 2.21.0, saving/legacy/hdf5_format.py, and transformers 4.57.6, modeling_tf_utils.py
(`load_tf_weights_from_h5`, `load_tf_shard`). h5py lays the file out with room for every data set; the
bytes then flow through the same positioned writes as in every other format.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ckptconv.base.errors import SourceError
from ckptconv.schema.namings.tf import flat, place, unflat
from ckptconv.schema.vocabulary import NamingName
from ckptconv.stores.formats import Contents, Format, Places
from ckptconv.stores.parsers import keras_layers
from ckptconv.stores.parsers.files import FileReader
from ckptconv.stores.parsers.first_bytes import START_BYTES, wrong_file
from ckptconv.stores.parsers.keras_layers import Listed
from ckptconv.stores.parsers.names import MAX_RANK, is_size, require_name
from ckptconv.stores.tensor import Extent, Stored, TensorSpec

if TYPE_CHECKING:
    import h5py

DTYPES = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
}
"""bfloat16 and bool have no HDF5 type that TF reads back."""
SUPERBLOCK_BYTES = 48
"""What stands first in every file, at least."""
SIGNATURE = b"\x89HDF\r\n\x1a\n"

KERAS_VERSION = "2.21.0"
"""Without this attribute Keras takes the file for one of Keras 1."""
MODEL = "tf_encoder_decoder_model"
"""The level that TF puts before every variable of the composite class, and ignores when it loads."""
MAX_ATTRIBUTE_BYTES = 64512
"""Keras splits lists of names above this size: HDF5 limits an object header to 64 KiB."""


def create(path: Path, specs: Sequence[TensorSpec], _naming: NamingName, shard: bool) -> Places:
    """Lay the file out, data sets allocated but not written; see `Format.create`."""
    import h5py

    from ckptconv.stores.parsers import hdf5_process

    hdf5_process.start()  # it will read this file back, and takes a while to start
    try:
        with h5py.File(path, "x") as file:
            return _lay_out(file, specs, shard)
    except (OSError, RuntimeError) as error:
        raise _system_error(error) from None


def _lay_out(file: h5py.File, specs: Sequence[TensorSpec], shard: bool) -> Places:
    """Make groups, lists of names and data sets, and return where the data goes."""
    if shard:
        paths = {spec.name: [flat(spec.name)] for spec in specs}
        _set_names(file, "layer_names", [path for path, *_ in paths.values()])
    else:
        paths = _set_layers(file, [spec.name for spec in specs])
    datasets = {spec.name: _allocate(file, paths[spec.name][0], spec) for spec in specs}
    for name, places in paths.items():
        for path in places[1:]:  # one data set, where the class saves a copy in each group
            file[path] = datasets[name]
    file.flush()
    return {
        name: (Extent(dataset.id.get_offset() or 0, dataset.nbytes),)
        for name, dataset in datasets.items()
    }


def _system_error(error: BaseException) -> OSError:
    """Return what the system said: HDF5 wraps it in texts, and what fails next in closing hides it."""
    chain: BaseException | None = error
    while chain is not None:
        if match := re.search(r"errno = (\d+)", str(chain)):
            return OSError(int(match[1]), os.strerror(int(match[1])))
        chain = chain.__context__
    return OSError(errno.EIO, os.strerror(errno.EIO))


def _set_layers(file: h5py.File, names: Sequence[str]) -> dict[str, list[str]]:
    """Write the groups and lists of names that Keras reads a model by; return the paths of each tensor."""
    layers: dict[str, list[str]] = {}
    paths: dict[str, list[str]] = {}
    for name in names:
        groups, level = place(name, names)
        listed = f"{level or MODEL}/{name}" if "/" in name else name
        paths[name] = [f"{group}/{listed}" for group in groups]
        for group in groups:
            layers.setdefault(group, []).append(listed)
    _set_names(file, "layer_names", list(layers))
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = KERAS_VERSION.encode()
    for layer in sorted(layers):
        _set_names(file.create_group(layer), "weight_names", layers[layer])
    _set_names(file.create_group("top_level_model_weights"), "weight_names", [])
    return paths


def _set_names(group: h5py.Group, key: str, names: Sequence[str]) -> None:
    """Write a list of names as an attribute, cut into equal parts where it is too long for one."""
    import numpy as np

    encoded = np.asarray([name.encode() for name in names])
    count = 1
    while any(part.nbytes > MAX_ATTRIBUTE_BYTES for part in np.array_split(encoded, count)):
        count += 1
    for index, chunk in enumerate(np.array_split(encoded, count)):
        group.attrs[f"{key}{index}" if count > 1 else key] = chunk


def _allocate(file: h5py.File, name: str, spec: TensorSpec) -> h5py.Dataset:
    """Make a data set whose bytes have their place in the file, and are not filled."""
    import h5py
    import numpy as np

    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    above, _, leaf = name.rpartition("/")
    group = file.require_group(above) if above else file
    # Not `create_dataset`, which forgets the property list of a scalar.
    space = h5py.h5s.create_simple(spec.shape) if spec.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    kind = h5py.h5t.py_create(np.dtype(DTYPES[spec.dtype]))
    return h5py.Dataset(h5py.h5d.create(group.id, leaf.encode(), kind, space, plist))


def read(path: Path) -> Contents:
    """Read names and places of every data set that the lists of names lead to; see `Format.read`.

    The HDF5 library reads in a process of its own, and nothing that it says is taken on trust.
    """
    from ckptconv.stores.parsers import hdf5_process

    with FileReader(path) as file:
        start = file.read(0, min(START_BYTES, file.size))
        if not start.startswith(SIGNATURE):
            raise wrong_file(path, "HDF5", start, "hdf5") or SourceError(
                f"{path}: not an HDF5 file: it does not begin as one (it may have a user block)"
            )
        answer = hdf5_process.ask(path)
        if "refused" in answer:
            raise SourceError(
                f"{path}: {str(answer['refused']).encode('ascii', 'backslashreplace').decode()}"
            )
        try:
            inode = tuple(answer["file"])
            listed = [_listed(path, file.size, *place) for place in answer["tensors"]]
        except (KeyError, TypeError, AttributeError):
            raise SourceError(f"{path}: {hdf5_process.NONSENSE}") from None
        if inode != file.inode:
            raise SourceError(f"{path}: was replaced while it was read")
        _check_apart(path, [tensor.stored for tensor in listed])
        tensors, notices = keras_layers.by_name(listed, file)
        return Contents(tensors, notices=notices)


def _listed(
    path: Path,
    size: int,
    layer: str,
    weight: str,
    dtype: str,
    shape: list[int],
    offset: int,
    nbytes: int,
) -> Listed:
    """Turn one line of the answer into a place. Raises SourceError where it does not lie plainly in the file."""
    require_name(f"{layer}/{weight}" if layer else weight, str(path))
    # In a layer, the first level is the model's own name, which differs from save to save.
    name = weight.split("/", 1)[-1] if layer else unflat(weight)
    require_name(name, str(path))
    where = f"{path}: {ascii(name)[:200]}"
    if len(shape) > MAX_RANK or not all(map(is_size, (*shape, offset, nbytes))):
        raise SourceError(f"{where}: invalid shape or offset")
    spec = TensorSpec(name, dtype, tuple(shape))
    if nbytes != spec.nbytes:
        raise SourceError(
            f"{where}: {dtype} {shape} takes {spec.nbytes} bytes, the file gives {nbytes}"
        )
    if offset + nbytes > size:
        raise SourceError(
            f"{where}: cut short: its data ends at byte {offset + nbytes}, the file has {size}"
        )
    return Listed(layer, weight, Stored.in_file(spec, path, (Extent(offset, nbytes),)))


def _check_apart(path: Path, tensors: Sequence[Stored]) -> None:
    """Refuse data sets that share bytes, but for one tensor that lies in several groups."""
    places = {(stored.chunks[0].offset, stored.spec) for stored in tensors if stored.spec.nbytes}
    ordered = sorted(places, key=itemgetter(0))
    end = SUPERBLOCK_BYTES
    for offset, spec in ordered:
        if offset < end:
            raise SourceError(
                f"{path}: {ascii(spec.name)[:200]} shares bytes with something else in the file"
            )
        end = offset + spec.nbytes


FORMAT = Format("hdf5", ("tf",), read, create, widened={"bfloat16": "float32"})
