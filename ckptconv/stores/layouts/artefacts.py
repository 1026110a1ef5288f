"""What `ckptconv export` writes in place of weights: a SavedModel's variables, a LiteRT file's constants.

ONNX and JAX artefacts keep `model.safetensors`, which the layout of transformers finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.presence import is_file, size_of
from ckptconv.base.strict_json import Json
from ckptconv.stores.artefact import MARKS, RECORD, Artefact, is_artefact, read_artefact
from ckptconv.stores.formats import Contents, Format
from ckptconv.stores.layouts import Layout, Weights
from ckptconv.stores.tensor import ITEMSIZE, Extent, Stored, TensorSpec, is_size, require_name

VARIABLES = "variables"
INDEX, DATA = "variables.index", "variables.data-00000-of-00001"
LITERT_FILE = "model.tflite"
CONSTANT = "constant."
"""Begins the name of a variable that is no tensor of the checkpoint: a table that the class computes."""


def read(folder: Path) -> Iterator[Weights]:
    """Open an artefact's weights; nothing where the directory is none, or keeps them elsewhere. See `Layout.read`."""
    if not is_artefact(folder):
        return
    artefact = read_artefact(folder)
    if artefact.format == "savedmodel":
        yield _saved_model(folder)
    elif artefact.format == "litert":
        yield _litert(artefact)


def _saved_model(folder: Path) -> Weights:
    index, data = folder / VARIABLES / INDEX, folder / VARIABLES / DATA
    tensors = _variables(index)
    return Weights(SAVED_MODEL, "pytorch", (data,), tensors, (index,), layout=LAYOUT.name)


def _variables(index: Path) -> dict[str, Stored]:
    from ckptconv.stores.parsers.tensor_bundle import variables

    places = variables(index, index.with_name(DATA))
    return {name: stored for name, stored in places.items() if not name.startswith(CONSTANT)}


def _litert(artefact: Artefact) -> Weights:
    """Return the tensors whose bytes the record found in the file, in either orientation of a matrix."""
    file = artefact.path / LITERT_FILE
    places = artefact.values.get("stored")
    where = f"{artefact.path / 'artefact.json'}: stored"
    if not isinstance(places, dict) or not is_file(file):
        raise SourceError(f"{where}: expected the places of tensors in {LITERT_FILE}")
    size = size_of(file)
    tensors = {name: _constant(file, size, name, entry, where) for name, entry in places.items()}
    return Weights(LITERT, "pytorch", (file,), tensors, layout=LAYOUT.name)


def _constant(file: Path, size: int, name: str, entry: Json, where: str) -> Stored:
    """Return the place of one constant. Raises SourceError: malformed."""
    require_name(name, where)
    values = entry if isinstance(entry, dict) else {}
    dtype, shape, offset = (values.get(key) for key in ("dtype", "shape", "offset"))
    sizes = shape if isinstance(shape, list) else [None]
    if not is_size(offset) or dtype not in ITEMSIZE or not all(map(is_size, sizes)):
        raise SourceError(f"{where}: {ascii(name)[:200]}: expected dtype, shape and offset")
    spec = TensorSpec(name, str(dtype), tuple(int(str(axis)) for axis in sizes))
    if offset + spec.nbytes > size:
        raise SourceError(f"{where}: {ascii(name)[:200]}: beyond the end of {file.name}")
    transposed = values.get("transposed") is True and len(spec.shape) == 2
    strides = (1, spec.shape[0]) if transposed else None
    return Stored.in_file(spec, file, (Extent(offset, spec.nbytes),), strides)


SAVED_MODEL = Format("savedmodel", ("pytorch",), lambda path: Contents(_variables(path)))
LITERT = Format(
    "litert",
    ("pytorch",),
    lambda path: Contents(_litert(read_artefact(path.parent)).tensors),
)
LAYOUT = Layout("artefact", read, rank=2, marks=(RECORD, *MARKS), folders=(VARIABLES,))
