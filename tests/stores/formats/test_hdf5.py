"""TF's HDF5: laid out as tf-keras lays it out; only data sets that lie plainly in the file are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from ckptconv.base.errors import SourceError
from ckptconv.stores.formats.hdf5 import MAX_ATTRIBUTE_BYTES, create, read
from ckptconv.stores.tensor import TensorSpec

if TYPE_CHECKING:
    from conftest import MakePair

ANEW = "load it with its class and save it anew"
ONE = np.arange(3, dtype=np.float32)
SAVE = """
import json, sys
import transformers
config = transformers.EncoderDecoderConfig.from_dict(json.loads(sys.argv[1]))
model = transformers.TFEncoderDecoderModel(config)
model(**model.dummy_inputs)
model.save_pretrained(sys.argv[2])
"""


def structure(path: Path) -> dict[str, Any]:
    """Return everything in a file but the values: groups, data sets, attributes (bytes and text alike)."""
    result: dict[str, Any] = {}

    def text(value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else value

    def add(name: str, node: Any) -> None:
        values = {key: np.asarray(value).tolist() for key, value in node.attrs.items()}
        attributes = {
            key: [text(entry) for entry in value] if isinstance(value, list) else text(value)
            for key, value in values.items()
        }
        result[name] = (type(node).__name__, attributes)
        if isinstance(node, h5py.Dataset):
            result[name] += (node.shape, node.dtype.str)

    with h5py.File(path) as file:
        add("/", file)
        file.visititems(add)
    return result


def specs(*names: str) -> list[TensorSpec]:
    """Return a vector of each name."""
    return [TensorSpec(name, "float32", (3,)) for name in names]


def test_few_data_sets_are_open_at_a_time(tmp_path: Path) -> None:
    """While a file is laid out only a tensor of several groups stays open: an open data set takes 12 kB of memory."""
    counts: list[int] = []

    class Watched(list[TensorSpec]):
        def __iter__(self) -> Iterator[TensorSpec]:
            for spec in super().__iter__():
                counts.append(h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_DATASET))
                yield spec

    names = ["shared/shared/weight:0", *(f"encoder/layer/{n}/kernel:0" for n in range(20))]
    create(tmp_path / "file", Watched(specs(*names, "decoder/layer/kernel:0")), "tf", False)
    assert 0 < max(counts) <= 2


def file_of(path: Path, build: Callable[[h5py.File], None], layer: str = "x") -> Path:
    """Make a shard by hand whose list of names has one layer."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.encode()])
        build(file)
    return path


def test_whole_layout(tmp_path: Path) -> None:
    """Groups by layer with their weights' names, the version of Keras, and the group that Keras adds."""
    create(tmp_path / "w", specs("encoder/b:0", "decoder/a:0", "encoder/a/c:0"), "tf", False)
    model = "tf_encoder_decoder_model"
    group, data = ("Group", {}), ("Dataset", {}, (3,), "<f4")
    assert structure(tmp_path / "w") == {
        "/": (
            "File",
            {
                "layer_names": ["encoder", "decoder"],
                "backend": "tensorflow",
                "keras_version": "2.21.0",
            },
        ),
        "encoder": ("Group", {"weight_names": [f"{model}/encoder/b:0", f"{model}/encoder/a/c:0"]}),
        "decoder": ("Group", {"weight_names": [f"{model}/decoder/a:0"]}),
        "top_level_model_weights": ("Group", {"weight_names": []}),
        f"encoder/{model}": group,
        f"encoder/{model}/encoder": group,
        f"encoder/{model}/encoder/a": group,
        f"decoder/{model}": group,
        f"decoder/{model}/decoder": group,
        f"encoder/{model}/encoder/b:0": data,
        f"encoder/{model}/encoder/a/c:0": data,
        f"decoder/{model}/decoder/a:0": data,
    }


def test_shard_layout(tmp_path: Path) -> None:
    """A shard is flat: each name leads straight to its data set."""
    create(tmp_path / "w", specs("encoder/b:0", "encoder/a:0"), "tf", True)
    data = ("Dataset", {}, (3,), "<f4")
    assert structure(tmp_path / "w") == {
        "/": ("File", {"layer_names": ["encoder/b:0", "encoder/a:0"]}),
        "encoder": ("Group", {}),
        "encoder/a:0": data,
        "encoder/b:0": data,
    }


@pytest.mark.frameworks
@pytest.mark.parametrize("decoder", ["bert", "gpt2"])
def test_same_layout_as_tf(make_pair: MakePair, tmp_path: Path, decoder: str) -> None:
    """The real class saves the same groups, names, attributes, shapes and types."""
    heads = {"num_attention_heads": 7, "n_head": 7}
    pair = make_pair(decoder=decoder, enc=heads, dec=heads)
    env = {
        **os.environ,
        "USE_TORCH": "0",
        "USE_FLAX": "0",
        "USE_TF": "1",
        "TF_USE_LEGACY_KERAS": "1",
    }
    command = [sys.executable, "-c", SAVE, json.dumps(pair.config), str(tmp_path / "real")]
    subprocess.run(command, check=True, env=env, capture_output=True)
    rows = [
        row for row in pair.rows if "tf" in row.spellings and not (row.tied_to and row.module.tied)
    ]
    planned = [TensorSpec(row.spellings["tf"].names[0], "float32", row.shape("tf")) for row in rows]
    create(tmp_path / "ours.h5", planned, "tf", False)
    theirs, ours = structure(tmp_path / "real" / "tf_model.h5"), structure(tmp_path / "ours.h5")
    for names in (theirs, ours):  # in a class the order is that of building, which loading ignores
        for _, attributes, *_ in names.values():
            attributes.update(
                {key: sorted(value) for key, value in attributes.items() if key == "weight_names"}
            )
    assert ours == theirs


@pytest.mark.thorough
def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    """Above 64,512 bytes a list of names becomes several attributes of at most that size, and is read as one."""
    names = [f"encoder/{n:04}/{'x' * 90}:0" for n in range(1500)]
    create(tmp_path / "w", specs(*names), "tf", False)
    with h5py.File(tmp_path / "w") as file:
        group = file["encoder"]
        parts = [group.attrs[f"weight_names{n}"] for n in range(len(group.attrs))]
    assert len(parts) == 4
    assert max(part.nbytes for part in parts) <= MAX_ATTRIBUTE_BYTES
    result = [name.decode() for part in parts for name in part]
    assert result == [f"tf_encoder_decoder_model/{name}" for name in names]
    assert list(read(tmp_path / "w").tensors) == names


@pytest.mark.parametrize("names", [["x"], np.array([b"x"])])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_what_is_read(tmp_path: Path, libver: str, names: object) -> None:
    """The place in the file is the right one, in either version of HDF5's layout; strings may be of either kind."""
    with h5py.File(tmp_path / "w", "w", libver=libver) as file:
        file.attrs["layer_names"] = names
        file.create_dataset("x", data=ONE)
    (stored,) = read(tmp_path / "w").tensors.values()
    (extent,) = stored.extents
    assert stored.spec == TensorSpec("x", "float32", (3,))
    assert (tmp_path / "w").read_bytes()[extent.offset :][: extent.nbytes] == ONE.tobytes()


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (
            lambda f: f.create_dataset("x", data=ONE, chunks=(1,)),
            f"'x': is cut into chunks, or compressed; {ANEW}",
        ),
        (
            lambda f: f.create_dataset("x", data=ONE, compression="gzip"),
            f"'x': is cut into chunks, or compressed; {ANEW}",
        ),
        (
            lambda f: f.create_dataset("x", (3,), "f4", external=[("/etc/passwd", 0, 12)]),
            f"'x': its bytes are in another file, or filtered; {ANEW}",
        ),
        (
            lambda f: f.create_virtual_dataset("x", h5py.VirtualLayout((3,), "f4")),
            f"'x': is not stored as one run of bytes (compact or virtual); {ANEW}",
        ),
        (lambda f: f.create_dataset("x", (3,), "f4"), "'x': its values were never written"),
        (
            lambda f: f.create_dataset("x", data=ONE.astype(">f4")),
            "'x': its type (big-endian float, 4 bytes) is not one that ckptconv moves",
        ),
        (
            lambda f: f.create_dataset("x", data=ONE.astype("c8")),
            "'x': its type (compound, 8 bytes) is not one that ckptconv moves",
        ),
        (
            lambda f: f.create_dataset("x", data=np.array(b"text")),
            "'x': its type (string, 4 bytes) is not one that ckptconv moves",
        ),
        (lambda f: f.create_dataset("x", data=h5py.Empty("f4")), "'x': has no shape and no values"),
        (
            lambda f: f.__setitem__("x", h5py.SoftLink("/y")),
            "'x' is behind a link that ckptconv does not follow",
        ),
        (
            lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/x")),
            "'x' is behind a link that ckptconv does not follow",
        ),
        (lambda f: f.create_dataset("y", data=ONE), "'x' is in layer_names, but not in the file"),
        (
            lambda f: (f.create_dataset("x", data=ONE), f.create_dataset("y", data=ONE)),
            "'y' is in no list of names",
        ),
        (lambda f: f.create_group("x"), "no weight_names in /x"),
        (
            lambda f: f.__setitem__("x", f["/"]),
            "'x' is a second name of something else in the file",
        ),
        (lambda f: f.__setitem__("x", np.dtype("f4")), "'x' is neither a group nor a data set"),
        (lambda f: f.attrs.__delitem__("layer_names"), "no layer_names in /"),
        (lambda f: f.attrs.__setitem__("layer_names", [7]), f"layer_names is not of text; {ANEW}"),
        (lambda f: f.attrs.__setitem__("layer_names", np.array(b"x")), "layer_names is not a list"),
        (
            lambda f: f.attrs.__setitem__("layer_names", h5py.Empty("S1")),
            "layer_names is not a list",
        ),
        (
            lambda f: f.attrs.__setitem__("layer_names", np.array([b"\xff"])),
            "not a readable HDF5 file of weights"
            " ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte)",
        ),
    ],
)
def test_what_is_not_read(tmp_path: Path, build: Callable[[h5py.File], None], reason: str) -> None:
    """Data that lies elsewhere, in pieces or in another type, and links that could lead anywhere, are refused."""
    path = file_of(tmp_path / "w", build)
    with pytest.raises(SourceError) as refusal:
        read(path)
    assert str(refusal.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([b"a/y", b"a/y"], "duplicate name 'x/a/y' in the lists of names"),
        ([b"a/y/z"], "'x/a/y/z' is in a list of names, but is no data set of the file"),
        ([b"a/./y"], "'x/a/./y' is in a list of names, but is no data set of the file"),
        ([b"../x/a/y"], "'x/../x/a/y' is in a list of names, but is no data set of the file"),
        ([b"a/y"], "'x/b/y' is in no list of names"),
    ],
)
def test_lists_of_names_that_mislead(tmp_path: Path, names: list[bytes], reason: str) -> None:
    """Two weights of one name, a way that is none: refused, and no tensor is lost on the way."""

    def build(file: h5py.File) -> None:
        file.create_dataset("x/a/y", data=ONE)
        file.create_dataset("x/b/y", data=2 * ONE)
        file["x"].attrs["weight_names"] = np.array(names)

    with pytest.raises(SourceError) as refusal:
        read(file_of(tmp_path / "w", build))
    assert str(refusal.value) == f"{tmp_path}/w: {reason}"


@pytest.mark.parametrize("where", ["x", "y", "x/y"])
@pytest.mark.parametrize("link", [h5py.SoftLink("/x/a/m"), h5py.ExternalLink("other.h5", "/m")])
def test_a_link_anywhere(tmp_path: Path, where: str, link: object) -> None:
    """A link is refused in the root, in a layer and beside all that is listed."""

    def build(file: h5py.File) -> None:
        if where != "x":
            file.create_dataset("x/a/m", data=ONE)
            file["x"].attrs["weight_names"] = np.array([b"a/m"])
        file[where] = link

    with pytest.raises(SourceError) as refusal:
        read(file_of(tmp_path / "w", build))
    assert (
        str(refusal.value)
        == f"{tmp_path}/w: {where!r} is behind a link that ckptconv does not follow"
    )


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    """Two data sets whose headers give the same place are refused."""
    create(tmp_path / "w", specs("encoder/a:0", "encoder/b:0"), "tf", True)
    first, second = (stored.extents[0].offset for stored in read(tmp_path / "w").tensors.values())
    data = (tmp_path / "w").read_bytes()
    place = second.to_bytes(8, "little")
    assert data.count(place) == 1
    (tmp_path / "w").write_bytes(data.replace(place, first.to_bytes(8, "little")))
    with pytest.raises(
        SourceError, match=r"'encoder/[ab]:0' shares bytes with something else in the file"
    ):
        read(tmp_path / "w")
