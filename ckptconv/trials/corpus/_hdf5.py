"""An HDF5 file of the small model, and ways to spoil what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.formats import hdf5
from ckptconv.stores.tensor import TensorSpec
from ckptconv.trials.case import MalformedCase
from ckptconv.trials.corpus._model import CONFIG

if TYPE_CHECKING:
    import h5py

LAYERS = [b"encoder", b"decoder"]
NAME = "encoder/bert/embeddings/word_embeddings/weight:0"
DATA = f"encoder/{hdf5.MODEL}/{NAME}"
"""Where the data set of 50 by 2 lies."""


def write(path: Path) -> None:
    """Write the sound weights of the whole model: zeros."""
    rows = [
        row
        for row in read_model(Config(CONFIG)).tensors
        if row.module.presence == "required" and not row.tied_to and "tf" in row.spellings
    ]
    hdf5.create(
        path,
        [TensorSpec(row.spellings["tf"].names[0], "float32", row.shape("tf")) for row in rows],
        "tf",
        False,
    )


def instead(make: Callable[[h5py.File], object]) -> Callable[[h5py.File], None]:
    """Return what takes the first data set out and puts something else in its place."""

    def change(file: h5py.File) -> None:
        del file[DATA]
        make(file)

    return change


def stored(*shape: int, dtype: object = "<f4", **how: object) -> Callable[[h5py.File], None]:
    """Return what stores the first data set in another way."""
    return instead(lambda file: file.create_dataset(DATA, shape or (50, 2), dtype, **how))


def of_type(make: Callable[[Any], Any]) -> Callable[[h5py.File], None]:
    """Return what gives the first data set a type that numpy has no name for; `make` gets h5py's type module."""

    def build(file: h5py.File) -> None:
        import h5py

        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        h5py.h5d.create(
            file.id, DATA.encode(), make(h5py.h5t), h5py.h5s.create_simple((50, 2)), plan
        )

    return instead(build)


def float_of_another_bias(types: Any) -> Any:
    kind = types.IEEE_F32LE.copy()
    kind.set_ebias(100)
    return kind


def integer_of_24_bits(types: Any) -> Any:
    kind = types.STD_I32LE.copy()
    kind.set_precision(24)
    return kind


def compact(file: h5py.File) -> None:
    import h5py

    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(
        file.id, DATA.encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((50, 2)), plan
    )


def virtual(source: str) -> Callable[[h5py.File], None]:
    def build(file: h5py.File) -> None:
        import h5py

        layout = h5py.VirtualLayout((50, 2), "<f4")
        layout[:] = h5py.VirtualSource(source, "x", shape=(50, 2))
        file.create_virtual_dataset(DATA, layout)

    return instead(build)


def linked(place: str, target: str, extra: str = "") -> Callable[[h5py.File], None]:
    """Return what puts a soft link, or one into an `other` file, in the place of what is there."""

    def change(file: h5py.File) -> None:
        import h5py

        if place in file:
            del file[place]
        file[place] = h5py.ExternalLink(extra, target) if extra else h5py.SoftLink(target)

    return change


def hard(place: str, target: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__setitem__(place, file[target])


def listed(group: str, key: str, value: object) -> Callable[[h5py.File], None]:
    """Return what changes a list of names; None takes it away."""

    def change(file: h5py.File) -> None:
        import numpy as np

        del file[group].attrs[key]
        if value is not None:
            file[group].attrs[key] = np.asarray(value) if isinstance(value, list) else value

    return change


def layers(*names: bytes) -> Callable[[h5py.File], None]:
    return listed("/", "layer_names", list(names))


def weights(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[h5py.File], None]:
    """Return what changes the encoder's list of names."""
    return lambda file: listed(
        "encoder", "weight_names", change(list(file["encoder"].attrs["weight_names"]))
    )(file)


def weight(name: str) -> Callable[[h5py.File], None]:
    return weights(
        lambda names: [name.encode() if entry.endswith(NAME.encode()) else entry for entry in names]
    )


def deep(file: h5py.File) -> None:
    file.create_group("/".join("abcdefgh" * 6))


def name_type(file: h5py.File) -> None:
    import numpy as np

    file["kind"] = np.dtype("<f4")


def apart(file: h5py.File) -> None:
    """Store the first data set with a type that has a place of its own, and no name."""
    name_type(file)
    file.create_dataset(DATA, (50, 2), file["kind"])
    del file["kind"]


def of_references(file: h5py.File) -> None:
    """Write the list of layers as references to them."""
    del file.attrs["layer_names"]
    file.attrs.create(
        "layer_names", [file["encoder"].ref, file["decoder"].ref], dtype=special("reference")
    )


def cut_with_a_gap(file: h5py.File) -> None:
    """Write the second part of a list of layers without the first."""
    file.attrs["layer_names1"] = file.attrs["layer_names"]
    del file.attrs["layer_names"]


def lists_exchanged(file: h5py.File) -> None:
    """Give the encoder the decoder's list."""
    listed("encoder", "weight_names", list(file["decoder"].attrs["weight_names"]))(file)


def renamed(name: str, model: str = hdf5.MODEL) -> Callable[[h5py.File], None]:
    """Return what gives the first data set another name, in the file and in the list."""

    def change(file: h5py.File) -> None:
        file.move(DATA, f"encoder/{model}/{name}")
        weight(f"{model}/{name}")(file)

    return change


def empty(kind: str) -> Any:
    import h5py

    return h5py.Empty(kind)


def special(name: str) -> Any:
    """Return one of h5py's own types."""
    import h5py

    return {
        "text": h5py.string_dtype(),
        "list": h5py.vlen_dtype("<f4"),
        "reference": h5py.ref_dtype,
        "region": h5py.regionref_dtype,
        "enum": h5py.enum_dtype({"a": 1}),
    }[name]


def case(name: str, threat: str, says: str, spoil: Callable[[Path], object]) -> MalformedCase:
    """Return the case of a sound file that is spoilt."""

    def build(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(CONFIG))
        write(folder / "tf_model.h5")
        spoil(folder / "tf_model.h5")

    return MalformedCase(f"hdf5-{name}", threat, build, says)
