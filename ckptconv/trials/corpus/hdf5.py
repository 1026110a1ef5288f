"""Malformed HDF5 files: how data is stored, its types, links, the lists of names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ckptconv.stores.formats.hdf5 import MODEL
from ckptconv.trials.corpus._hdf5 import (
    DATA,
    LAYERS,
    NAME,
    apart,
    case,
    compact,
    cut_with_a_gap,
    deep,
    empty,
    float_of_another_bias,
    hard,
    instead,
    integer_of_24_bits,
    layers,
    linked,
    listed,
    lists_exchanged,
    name_type,
    of_references,
    of_type,
    renamed,
    special,
    stored,
    virtual,
    weight,
    weights,
)

if TYPE_CHECKING:
    import h5py

_ANEW = "; load it with its class and save it anew$"
_CHUNKS = f"is cut into chunks, or compressed{_ANEW}"
_ELSEWHERE = f"its bytes are in another file, or filtered{_ANEW}"
_RUN = "is not stored as one run of bytes"
_LINK = "is behind a link that ckptconv does not follow"
_TYPE = "its type .{}, {} bytes. is not one that ckptconv moves"
_LISTED = "is in a list of names, but is no data set of the file"
_NO_TEXT = "is not of text"
Change = Callable[["h5py.File"], object]
# name, what a reader that does not look would do, what the refusal says, what is changed in a sound file
_TABLE: tuple[tuple[str, str, str, Change], ...] = (
    # How the data is stored.
    ("chunked", "parts in another order", _CHUNKS, stored(chunks=(10, 2))),
    ("gzip", "a bomb that inflates", _CHUNKS, stored(compression="gzip")),
    ("lzf", "a filter in C", _CHUNKS, stored(compression="lzf")),
    ("shuffled", "bytes in another order", _CHUNKS, stored(shuffle=True)),
    ("checksummed", "a filter in C", _CHUNKS, stored(fletcher32=True)),
    ("scaled", "values that are rounded", _CHUNKS, stored(dtype="<i4", scaleoffset=0)),
    ("resizable", "a shape that grows", _CHUNKS, stored(maxshape=(None, 2), chunks=True)),
    ("400-terabytes-in-chunks", "memory", _CHUNKS, stored(10**7, 10**7, chunks=(1000, 1000))),
    (
        "external-absolute",
        "a private file as weights",
        _ELSEWHERE,
        stored(external=[("/etc/hostname", 0, 400)]),
    ),
    (
        "external-relative",
        "a private file as weights",
        _ELSEWHERE,
        stored(external=[("../../secret", 0, 400)]),
    ),
    (
        "external-beside",
        "another file as weights",
        _ELSEWHERE,
        stored(external=[("config.json", 0, 400)]),
    ),
    (
        "external-of-two-files",
        "another file as weights",
        _ELSEWHERE,
        stored(external=[("a", 0, 200), ("b", 0, 200)]),
    ),
    (
        "external-without-end",
        "a device as weights",
        _ELSEWHERE,
        stored(external=[("/dev/zero", 0, 1 << 62)]),
    ),
    ("virtual-of-another-file", "a private file as weights", _RUN, virtual("/etc/hostname")),
    ("virtual-of-itself", "a circle", _RUN, virtual(".")),
    ("compact", "values in a header", _RUN, instead(compact)),
    ("never-written", "memory that was never filled", "its values were never written", stored()),
    (
        "400-terabytes-never-written",
        "memory",
        "its values were never written",
        stored(10**7, 10**7),
    ),
    (
        "no-shape",
        "a shape that is guessed",
        "has no shape and no values",
        instead(lambda file: file.create_dataset(DATA, data=empty("<f4"))),
    ),
    # Types.
    (
        "big-endian",
        "values with their bytes turned",
        _TYPE.format("big-endian float", 4),
        of_type(lambda t: t.IEEE_F32BE),
    ),
    (
        "integer-big-endian",
        "values with their bytes turned",
        _TYPE.format("big-endian integer", 4),
        of_type(lambda t: t.STD_I32BE),
    ),
    (
        "unsigned",
        "values that no target has",
        _TYPE.format("integer", 4),
        of_type(lambda t: t.STD_U32LE),
    ),
    (
        "unsigned-16",
        "values that no target has",
        _TYPE.format("integer", 2),
        of_type(lambda t: t.STD_U16LE),
    ),
    (
        "integer-of-24-bits",
        "bits that do not count",
        _TYPE.format("integer", 4),
        of_type(integer_of_24_bits),
    ),
    (
        "float-of-another-bias",
        "values that are scaled",
        _TYPE.format("float", 4),
        of_type(float_of_another_bias),
    ),
    ("bits", "values of another form", _TYPE.format("bitfield", 4), of_type(lambda t: t.STD_B32LE)),
    (
        "opaque",
        "values of no form",
        _TYPE.format("opaque", 4),
        of_type(lambda t: t.create(t.OPAQUE, 4)),
    ),
    (
        "complex",
        "two numbers for one",
        _TYPE.format("compound", 8),
        stored(dtype="<c8", data=[[0] * 2] * 50),
    ),
    (
        "fields",
        "two numbers for one",
        _TYPE.format("compound", 4),
        stored(dtype=[("a", "<f2"), ("b", "<f2")]),
    ),
    ("arrays", "axes that nobody sees", _TYPE.format("array", 8), stored(dtype="(2,)<f4")),
    ("text", "text taken for numbers", _TYPE.format("string", 4), stored(dtype="S4")),
    (
        "text-of-any-length",
        "addresses taken for numbers",
        _TYPE.format("string", 8),
        stored(dtype=special("text")),
    ),
    (
        "lists-of-any-length",
        "addresses taken for numbers",
        _TYPE.format("vlen", 16),
        stored(dtype=special("list")),
    ),
    (
        "references",
        "addresses taken for numbers",
        _TYPE.format("reference", 8),
        stored(dtype=special("reference")),
    ),
    (
        "regions",
        "addresses taken for numbers",
        _TYPE.format("reference", 12),
        stored(dtype=special("region")),
    ),
    (
        "enumeration",
        "names taken for numbers",
        _TYPE.format("enum", 1),
        stored(dtype=special("enum")),
    ),
    ("flags", "names taken for numbers", _TYPE.format("enum", 1), stored(dtype="bool")),
    (
        "type-stored-apart",
        "a type that changes later",
        "a type that is stored apart",
        instead(apart),
    ),
    (
        "type-in-a-group",
        "an object of another kind",
        "'kind' is neither a group nor a data set",
        name_type,
    ),
    # Links.
    ("soft-link-for-the-data", "one tensor under two names", _LINK, linked(DATA, "/decoder")),
    ("soft-link-to-nowhere", "a crash", _LINK, linked(DATA, "/nowhere")),
    ("soft-link-to-itself", "a circle", _LINK, linked(DATA, f"/{DATA}")),
    ("soft-link-upwards", "a circle", _LINK, linked(f"encoder/{MODEL}/up", "/encoder")),
    ("soft-link-for-a-layer", "one layer under two names", _LINK, linked("encoder", "/decoder")),
    (
        "soft-link-on-the-way",
        "one layer under two names",
        _LINK,
        linked(f"encoder/{MODEL}", f"/decoder/{MODEL}"),
    ),
    ("soft-link-beside", "a link that others follow", _LINK, linked("beside", "/encoder")),
    (
        "external-link-for-the-data",
        "a private file as weights",
        _LINK,
        linked(DATA, "/x", "/etc/hostname"),
    ),
    (
        "external-link-for-a-layer",
        "a private file as weights",
        _LINK,
        linked("encoder", "/x", "../secret.h5"),
    ),
    (
        "external-link-on-the-way",
        "a private file as weights",
        _LINK,
        linked(f"encoder/{MODEL}", "/x", "secret.h5"),
    ),
    (
        "external-link-beside",
        "a link that others follow",
        _LINK,
        linked("beside", "/", "/dev/zero"),
    ),
    ("external-link-to-itself", "a circle", _LINK, linked("beside", "/beside", "tf_model.h5")),
    (
        "second-name-for-data",
        "one tensor under two names",
        "is a second name of something else",
        hard("twin", DATA),
    ),
    (
        "second-name-for-a-layer",
        "a circle",
        "is a second name of something else",
        hard("encoder/twin", "decoder"),
    ),
    (
        "second-name-for-the-root",
        "a circle",
        "is a second name of something else",
        hard("encoder/up", "/"),
    ),
    (
        "second-name-for-itself",
        "a circle",
        "is a second name of something else",
        hard("encoder/self", "encoder"),
    ),
    ("groups-of-48-levels", "a full stack", "groups deeper than 32 levels", deep),
    # Lists of names.
    (
        "layers-absent",
        "names that are guessed",
        "no layer_names in /$",
        listed("/", "layer_names", None),
    ),
    ("layers-of-references", "addresses taken for names", _NO_TEXT, of_references),
    (
        "layers-a-text",
        "a name for a list",
        "layer_names is not a list",
        listed("/", "layer_names", b"encoder"),
    ),
    ("layers-of-numbers", "numbers taken for names", _NO_TEXT, listed("/", "layer_names", [1, 2])),
    (
        "layers-in-a-matrix",
        "names in another order",
        "layer_names is not a list",
        listed("/", "layer_names", [LAYERS] * 2),
    ),
    (
        "layers-empty",
        "a model without weights",
        "is in no list of names",
        listed("/", "layer_names", []),
    ),
    (
        "layers-without-shape",
        "names that are guessed",
        "layer_names is not a list",
        listed("/", "layer_names", empty("S1")),
    ),
    (
        "layers-no-utf-8",
        "a name that cannot be shown",
        "not a readable HDF5 file",
        layers(b"encoder", b"\xff"),
    ),
    (
        "layers-without-the-decoder",
        "tensors that nobody sees",
        "is in no list of names",
        layers(b"encoder"),
    ),
    (
        "layers-and-one-more",
        "a crash",
        "'more' is in layer_names, but not in the file",
        layers(b"encoder", b"decoder", b"more"),
    ),
    (
        "layers-twice",
        "one tensor under two names",
        "duplicate name .* in the lists",
        layers(b"encoder", b"decoder", b"encoder"),
    ),
    (
        "layers-with-an-empty-name",
        "the root as a layer",
        "no weight_names in /$",
        layers(b"", b"encoder", b"decoder"),
    ),
    ("layers-cut-with-a-gap", "a list that ends early", "no layer_names in /$", cut_with_a_gap),
    (
        "weights-absent",
        "names that are guessed",
        "no weight_names in /encoder",
        listed("encoder", "weight_names", None),
    ),
    (
        "weights-a-text",
        "a name for a list",
        "weight_names is not a list",
        listed("encoder", "weight_names", b"x"),
    ),
    (
        "weights-one-missing",
        "a tensor that nobody sees",
        "is in no list of names",
        weights(lambda names: names[1:]),
    ),
    (
        "weights-one-twice",
        "one tensor under two names",
        "duplicate name .* in the lists",
        weights(lambda names: [*names, names[0]]),
    ),
    ("weights-one-absent", "a crash", _LISTED, weight("a/b")),
    ("weights-a-group", "a group as data", _LISTED, weight(MODEL)),
    ("weights-upwards", "another layer's data", _LISTED, weight(f"../{DATA}")),
    ("weights-absolute", "another layer's data", _LISTED, weight(f"/{DATA}")),
    ("weights-with-a-dot", "two spellings", _LISTED, weight(f"{MODEL}/./{NAME}")),
    ("weights-with-two-slashes", "two spellings", _LISTED, weight(f"{MODEL}//{NAME}")),
    ("weights-of-the-decoder", "another layer's data", _LISTED, lists_exchanged),
    (
        "data-beside",
        "a tensor that nobody sees",
        "'beside' is in no list of names",
        lambda file: file.create_dataset("beside", data=[1.0]),
    ),
    (
        "name-escape",
        "commands for a terminal",
        "holds a character that does not print",
        renamed("a\x1b[2J"),
    ),
    (
        "name-right-to-left",
        "a name that reads as another",
        "holds a character that does not print",
        renamed("a\u202eb"),
    ),
    ("name-of-600", "a report that is filled", "of 633 characters is too long", renamed("a" * 600)),
    (
        "names-that-meet",
        "one tensor instead of two",
        "have one name, .* and different values",
        renamed("encoder/bert/embeddings/position_embeddings/embeddings:0", "other"),
    ),
    (
        "keras-3",
        "a form with other names",
        "no layer_names in /$",
        lambda file: (
            file.attrs.__delitem__("layer_names"),
            file.create_dataset("layers/dense/vars/0", data=[1.0]),
        ),
    ),
    (
        "whole-model-of-keras",
        "a model that runs code",
        "no layer_names in /$",
        lambda file: (
            file.attrs.__delitem__("layer_names"),
            file.attrs.__setitem__("model_config", "{}"),
        ),
    ),
)


def _inside(change: Change) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        import h5py

        with h5py.File(path, "r+") as file:
            change(file)

    return spoil


CASES = tuple(case(name, threat, says, _inside(change)) for name, threat, says, change in _TABLE)
