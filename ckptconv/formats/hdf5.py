"""TF's HDF5 weights: one group a layer, or flat data sets in a shard.

Source: tf-keras 2.21.0, saving/legacy/hdf5_format.py, and transformers 4.57.6, modeling_tf_utils.py
(`load_tf_weights_from_h5`, `load_tf_shard`). h5py lays the file out with room for every data set; the
bytes then flow through the same positioned writes as in every other format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptconv.errors import SourceError
from ckptconv.formats import Contents, Format, Places
from ckptconv.table import DialectName
from ckptconv.tensor import Extent, Stored, TensorSpec

if TYPE_CHECKING:
    import h5py

DTYPES = {
    "float64": "<f8", "float32": "<f4", "float16": "<f2",
    "int64": "<i8", "int32": "<i4", "int16": "<i2", "int8": "|i1", "uint8": "|u1",
}  # fmt: skip
"""bfloat16 and bool have no HDF5 type that TF reads back."""
NAMES = {code: dtype for dtype, code in DTYPES.items()}

KERAS_VERSION = "2.21.0"
"""Without this attribute Keras takes the file for one of Keras 1."""
MODEL = "tf_encoder_decoder_model"
"""The level that TF puts before every variable of the composite class, and ignores when it loads."""
MAX_ATTRIBUTE_BYTES = 64512
"""Keras splits lists of names above this size: HDF5 limits an object header to 64 KiB."""


def create(path: Path, specs: Sequence[TensorSpec], _dialect: DialectName, shard: bool) -> Places:
    """Lay the file out, data sets allocated but not written; see `Format.create`."""
    import h5py

    with h5py.File(path, "x") as file:
        if shard:
            names = {spec.name: spec.name for spec in specs}
            _set_names(file, "layer_names", list(names))
        else:
            names = {spec.name: f"{_layer(spec.name)}/{MODEL}/{spec.name}" for spec in specs}
            _set_layers(file, specs)
        datasets = {spec.name: _allocate(file, names[spec.name], spec) for spec in specs}
        file.flush()
        return {name: (Extent(dataset.id.get_offset() or 0, dataset.nbytes),) for name, dataset in datasets.items()}


def _layer(name: str) -> str:
    return name.split("/", 1)[0]


def _set_layers(file: h5py.File, specs: Sequence[TensorSpec]) -> None:
    """Write the groups and lists of names that Keras reads a model by."""
    layers = list(dict.fromkeys(_layer(spec.name) for spec in specs))
    _set_names(file, "layer_names", layers)
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = KERAS_VERSION.encode()
    for layer in sorted(layers):
        names = [f"{MODEL}/{spec.name}" for spec in specs if _layer(spec.name) == layer]
        _set_names(file.create_group(layer), "weight_names", names)
    _set_names(file.create_group("top_level_model_weights"), "weight_names", [])


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
    """Read names and places of every data set that the lists of names lead to; see `Format.read`."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = list(_datasets(path, file))
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"{path}: not a readable HDF5 file of weights ({reason[:200]})") from None
    tensors = {stored.spec.name: stored for stored in found}
    if len(tensors) != len(found):
        names = [stored.spec.name for stored in found]
        twice = next(name for name in names if names.count(name) > 1)
        raise SourceError(f"{path}: name {ascii(twice)[:200]} stands twice")
    return Contents(tensors)


def _datasets(path: Path, file: h5py.File) -> Iterator[Stored]:
    """Follow `layer_names` to data sets (a shard) or to groups with `weight_names` (a whole model)."""
    import h5py

    for layer in _names(file, "layer_names"):
        found = _hard(path, file, layer)
        if isinstance(found, h5py.Dataset):
            yield _stored(path, layer, found)
            continue
        for weight in _names(found, "weight_names"):
            # The first level is the model's own name, which differs from save to save.
            yield _stored(path, weight.split("/", 1)[-1], _hard(path, found, weight))


def _names(group: h5py.Group, key: str) -> list[str]:
    """Return a list of names, joined where Keras had to cut it."""
    if key in group.attrs:
        return [_text(name) for name in group.attrs[key]]
    names: list[str] = []
    while f"{key}{len(names)}" in group.attrs:
        names.append(f"{key}{len(names)}")
    if not names:
        raise KeyError(f"no {key} in {group.name}")
    return [_text(name) for part in names for name in group.attrs[part]]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _hard(path: Path, group: h5py.Group, name: str) -> Any:
    """Return what a name leads to, by hard links only: other links may lead out of the file."""
    import h5py

    node = group
    for level in name.split("/"):
        if not isinstance(node, h5py.Group) or not isinstance(node.get(level, getlink=True), h5py.HardLink):
            raise SourceError(f"{path}: {ascii(name)[:200]} is behind a link that ckptconv does not follow")
        node = node[level]
    return node


def _stored(path: Path, name: str, dataset: h5py.Dataset) -> Stored:
    """Turn a data set into a place. Raises SourceError where its bytes do not lie plainly in the file."""
    where = f"{path}: {ascii(name)[:200]}"
    if dataset.external or dataset.is_virtual or dataset.chunks is not None:
        raise SourceError(f"{where}: not stored plainly (external, virtual, chunked or compressed); save it anew")
    if dataset.dtype.str not in NAMES:
        raise SourceError(f"{where}: dtype {dataset.dtype} is not one that ckptconv moves")
    spec = TensorSpec(name, NAMES[dataset.dtype.str], tuple(dataset.shape))
    offset = dataset.id.get_offset()
    if offset is None and spec.nbytes:
        raise SourceError(f"{where}: its values were never written")
    return Stored(spec, path, (Extent(offset or 0, spec.nbytes),))


FORMAT = Format("hdf5", "tf_model.h5", ("tf",), read, create, widened={"bfloat16": "float32"})
