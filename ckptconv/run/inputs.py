"""The user's own inputs: examples that each checkpoint's tokenizer or processor encodes, or the arrays themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ckptconv.base.environment import install_advice
from ckptconv.base.errors import FrameworkError, SourceError
from ckptconv.base.files import limits, require_file
from ckptconv.base.strict_json import parse_json
from ckptconv.run.children import Answer
from ckptconv.run.modalities import Example, Modality, Probes, modality_of
from ckptconv.run.runners import Array, Batch
from ckptconv.run.yardstick import difference
from ckptconv.schema.model import Model
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import Stored

PROBE = "inputs"
"""Name of the probe that the user's arrays make."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a file of inputs holds: the one or the other."""

    probes: Mapping[str, Array] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()


def read_inputs(path: Path, model: Model) -> Inputs:
    """Read `.jsonl`, one object with `text` and perhaps `target` a line; or `.npz` or `.safetensors` of arrays.

    A model of images has `image` in a line, one of speech `audio`: the path of a file, from the folder of `path` on.
    Arrays stand under the names that the classes take. Of text these are integers of shape (rows, length):
    input_ids, and perhaps decoder_input_ids, masks (1 where a token is valid), token types, labels. Without masks
    every token is valid; without decoder_input_ids the decoder gets its start token.

    Raises: SourceError: no such file, another kind of file, or one that says something else. FrameworkError: what
    opens the files that it names is not installed.
    """
    require_file(path, "Inputs are lines of JSON (.jsonl), or arrays (.npz, .safetensors).")
    modality = modality_of(model)
    if path.suffix == ".jsonl":
        require_package(path, modality)
        return Inputs(examples=tuple(_examples(path, modality)))
    readers = {".npz": _npz, ".safetensors": _safetensors}
    if path.suffix not in readers:
        itself = "" if modality.reads == "tokens" else f"; --text takes an {modality.item} file"
        raise SourceError(
            f"{path}: inputs are .jsonl, .npz or .safetensors, by the end of the name{itself}"
        )
    arrays = readers[path.suffix](path, modality)
    require_usable(str(path), arrays, model)
    completed = modality.completed(arrays, model)
    return Inputs(probes={f"{PROBE}.{name}": array for name, array in completed.items()})


def require_package(where: Path | str, modality: Modality) -> None:
    """Refuse early what the children could not open. Raises FrameworkError: with what to install."""
    if modality.package and find_spec(modality.package) is None:
        raise FrameworkError(
            f"{where}: opening {modality.item} files needs {modality.package}, which is not installed.\n"
            f"{install_advice(modality.extra)}; or give the arrays as .npz or .safetensors"
        )


def _examples(path: Path, modality: Modality) -> Iterator[Example]:
    """Return the examples of a file, one a line; empty lines are passed over."""
    if path.stat().st_size > limits().json_bytes:
        raise SourceError(f"{path}: more than {limits().json_bytes} bytes of examples")
    count = 0
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        fields = parse_json(line, where)
        source, target = fields.get(modality.item), fields.get("target")
        if (
            not isinstance(source, str)
            or not (target is None or isinstance(target, str))
            or set(fields) - {modality.item, "target"}
        ):
            raise SourceError(
                f'{where}: expected {{"{modality.item}": "...", "target": "..."}}, target is optional'
            )
        if modality.reads != "tokens":
            source = str(_beside(path, source, where))
        count += 1
        yield Example(source, target)
    if not count:
        raise SourceError(f"{path}: contains no example")


def _beside(path: Path, name: str, where: str) -> Path:
    """Return an image or a sound that a line names, from the folder of the file on. Raises SourceError: no file."""
    source = path.parent / name
    require_file(source, f"Paths count from the folder of {path.name}.", f"{where}: ")
    return source.absolute()


def _npz(path: Path, modality: Modality) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise SourceError(f"{path}: not arrays of numbers as numpy saves them ({error})") from None
    except Exception as error:  # zipfile and zlib have errors of their own
        raise SourceError(f"{path}: malformed ({type(error).__name__})") from None


def _safetensors(path: Path, modality: Modality) -> dict[str, Array]:
    tensors = safetensors.FORMAT.read(path).tensors
    return {name: _array(stored, modality) for name, stored in tensors.items()}


def _array(stored: Stored, modality: Modality) -> Array:
    name, dtype = stored.spec.name, stored.spec.dtype
    kinds = (
        ("float",) if modality.inputs.get(name, "int64").startswith("float") else ("int", "uint")
    )
    if not dtype.startswith(kinds) or dtype.startswith("float8"):
        expected = "integers" if "int" in kinds else "float32, float64 or float16"
        raise SourceError(f"{stored.path}: {name}: expected {expected}, found {dtype}")
    (extent,) = stored.extents
    with stored.path.open("rb") as file:
        file.seek(extent.offset)
        data = file.read(extent.nbytes)
    return np.frombuffer(data, np.dtype(dtype)).reshape(stored.spec.shape)


def require_usable(where: str, arrays: Batch, model: Model) -> None:
    """Refuse arrays that a model cannot be fed with. Raises SourceError: with everything that is wrong."""
    problems = list(modality_of(model).problems(arrays, model))
    if problems:
        raise SourceError("\n  ".join([f"{where}: these inputs cannot be used:", *problems]))


def encoded_probes(answer: Answer) -> Probes:
    """Return the probes that a child made of examples."""
    keys = (key for key in answer.arrays if key.startswith("inputs/"))
    return {key.partition("/")[2]: answer.arrays[key] for key in keys}


def encoded_differently(answers: Sequence[Answer]) -> list[str]:
    """Return the inputs in which the sides' tokenizers or processors do not agree."""
    first, *rest = (encoded_probes(answer) for answer in answers)
    return sorted(
        name
        for name in first
        if not all(name in probes and _alike(first[name], probes[name]) for probes in rest)
    )


PROCESSED = float(np.finfo(np.float32).eps) ** 0.5
"""How far apart two libraries may bring one processor, relative to the RMS: half of float32's digits, 3.5e-4.

Both compute one formula, so that rounding alone tells them apart, in the last digits: 4e-8 for Whisper's with PyTorch
and numpy. Another mean, rate or size moves the first ones. See `differing_processors` for which settings differ.
"""


def _alike(array: Array, again: Array) -> bool:
    """Tell whether two sides made the same array of an example: every token, and floats but for rounding."""
    if array.shape != again.shape or array.dtype.kind != again.dtype.kind:
        return False
    if array.dtype.kind != "f" or np.array_equal(array, again):  # silence has no size to measure by
        return np.array_equal(array, again)
    return not difference(again, array).relative > PROCESSED
