"""The user's own inputs: sentences that each checkpoint's tokenizer turns into tokens, or the tokens themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.base.limits import limits
from ckptconv.base.strict_json import parse_json
from ckptconv.run.probes import SIDES, Array, next_tokens, position_limit
from ckptconv.run.special_tokens import special_tokens
from ckptconv.schema.model import Model, Part
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import Stored

PROBE = "inputs"
"""Name of the probe that the user's tokens make."""
KNOWN = (
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "decoder_input_ids",
    "decoder_attention_mask",
    "decoder_token_type_ids",
    "labels",
)
KEYS = ("text", "target")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One line of a file of texts."""

    text: str
    target: str | None = None
    """What the decoder is fed with; None: its start token alone."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a file of inputs holds: the one or the other."""

    probes: Mapping[str, Array] = field(default_factory=dict)
    sentences: tuple[Sentence, ...] = ()


def read_inputs(path: Path, model: Model) -> Inputs:
    """Read `.jsonl`, one object with `text` and perhaps `target` a line; or `.npz` or `.safetensors` of tokens.

    Tokens are integers of shape (rows, length) under the names that the classes take: input_ids, and perhaps
    decoder_input_ids, masks (1 where a token is valid), token types, labels. Without masks every token is
    valid; without decoder_input_ids the decoder gets its start token.

    Raises: SourceError: no such file, another kind of file, or one that says something else.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    if path.suffix == ".jsonl":
        return Inputs(sentences=tuple(_sentences(path)))
    readers = {".npz": _npz, ".safetensors": _safetensors}
    if path.suffix not in readers:
        raise SourceError(
            f"{path}: inputs are .jsonl, .npz or .safetensors, by the end of the name"
        )
    return Inputs(probes=_checked(path, readers[path.suffix](path), model))


def _sentences(path: Path) -> Iterator[Sentence]:
    """Return the sentences of a file, one a line; empty lines are passed over."""
    if path.stat().st_size > limits().json_bytes:
        raise SourceError(f"{path}: more than {limits().json_bytes} bytes of sentences")
    found = 0
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        said = parse_json(line, where)
        text, target = said.get("text"), said.get("target")
        if (
            not isinstance(text, str)
            or not (target is None or isinstance(target, str))
            or set(said) - set(KEYS)
        ):
            raise SourceError(
                f'{where}: expected {{"text": "...", "target": "..."}}, target may be left out'
            )
        found += 1
        yield Sentence(text, target)
    if not found:
        raise SourceError(f"{path}: no sentence in it")


def _npz(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise SourceError(f"{path}: not arrays of numbers as numpy saves them ({error})") from None
    except Exception as error:  # zipfile and zlib have errors of their own
        raise SourceError(f"{path}: malformed ({type(error).__name__})") from None


def _safetensors(path: Path) -> dict[str, Array]:
    return {name: _array(stored) for name, stored in safetensors.FORMAT.read(path).tensors.items()}


def _array(stored: Stored) -> Array:
    if not stored.spec.dtype.startswith(("int", "uint")):
        raise SourceError(
            f"{stored.path}: {stored.spec.name}: expected whole numbers, found {stored.spec.dtype}"
        )
    (extent,) = stored.extents
    with stored.path.open("rb") as file:
        file.seek(extent.offset)
        data = file.read(extent.nbytes)
    return np.frombuffer(data, np.dtype(stored.spec.dtype)).reshape(stored.spec.shape)


def _checked(path: Path, arrays: Mapping[str, Array], model: Model) -> dict[str, Array]:
    """Return a whole probe. Raises SourceError: with everything that is wrong with it."""
    require_usable(str(path), arrays, model)
    found = {name: array.astype(np.int64) for name, array in arrays.items()}
    rows = len(found["input_ids"])
    start = np.full((rows, 1), special_tokens(model).decoder_start, np.int64)
    found.setdefault("decoder_input_ids", start)
    for prefix in SIDES:
        found.setdefault(f"{prefix}attention_mask", np.ones_like(found[f"{prefix}input_ids"]))
    found.setdefault(
        "labels", next_tokens(found["decoder_input_ids"], found["decoder_attention_mask"])
    )
    if not (found["labels"] >= 0).any():
        del found["labels"]
    return {f"{PROBE}.{name}": array for name, array in found.items()}


def require_usable(where: str, arrays: Mapping[str, Array], model: Model) -> None:
    """Refuse tokens that a model cannot be fed with. Raises SourceError: with everything that is wrong."""
    problems = list(_problems(arrays, model))
    if problems:
        raise SourceError("\n  ".join([f"{where}: these inputs cannot be used:", *problems]))


def _problems(arrays: Mapping[str, Array], model: Model) -> Iterator[str]:
    """Say what is wrong with a user's tokens."""
    if "input_ids" not in arrays:
        yield f"no input_ids; there is {', '.join(sorted(map(ascii, arrays))) or 'nothing'}"
        return
    for name, array in arrays.items():
        if name not in KNOWN:
            yield f"{name!a} is none of {', '.join(KNOWN)}"
        elif array.dtype.kind not in "iu" or array.ndim < 2 or array.size == 0:
            yield f"{name}: expected whole numbers of shape (rows, length), found {array.dtype} {list(array.shape)}"
        elif array.shape[0] != arrays["input_ids"].shape[0]:
            yield f"{name}: {array.shape[0]} rows, input_ids has {arrays['input_ids'].shape[0]}"
        elif name.endswith("mask") and not np.isin(array, (0, 1)).all():
            yield f"{name}: expected 1 for a token and 0 for padding"
    for prefix, side in zip(SIDES, (model.encoder, model.decoder), strict=True):
        yield from _side_problems(arrays, prefix, side)


def _side_problems(arrays: Mapping[str, Array], prefix: str, side: Part) -> Iterator[str]:
    ids = arrays.get(f"{prefix}input_ids")
    if ids is None or ids.ndim != 2:
        return
    words, limit = side.config.size("vocab_size"), position_limit(side)
    if ids.min() < 0 or ids.max() >= words:
        yield f"{prefix}input_ids: from {ids.min()} to {ids.max()}, but the vocabulary has {words} tokens"
    if limit is not None and ids.shape[1] > limit:
        yield f"{prefix}input_ids: {ids.shape[1]} tokens a row, but there are {limit} positions"
    same = [f"{prefix}attention_mask", *(["labels"] if prefix else [])]
    for name in same:
        if name in arrays and arrays[name].shape != ids.shape:
            yield f"{name}: shape {list(arrays[name].shape)}, {prefix}input_ids has {list(ids.shape)}"
