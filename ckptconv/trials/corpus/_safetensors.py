"""A safetensors file of the small model, whole and with each of its parts spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ckptconv.trials.corpus._model import shapes, values

NAME = next(iter(shapes()))
OTHER = list(shapes())[1]


def header() -> dict[str, Any]:
    """Return a sound header of the whole model."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in shapes().items():
        end = position + len(values(shape))
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [position, end]}
        position = end
    return entries


def data() -> bytes:
    """Return the values of the whole model."""
    return b"".join(map(values, shapes().values()))


def whole(
    text: str | bytes | None = None, *, length: int | None = None, raw: bytes | None = None
) -> bytes:
    """Return the whole model's file, with its header, the length of it, or the data replaced."""
    body = json.dumps(header()) if text is None else text
    body = body.encode() if isinstance(body, str) else body
    size = (len(body) if length is None else length).to_bytes(8, "little")
    return size + body + (data() if raw is None else raw)


def spelt(change: Callable[[str], str]) -> bytes:
    return whole(change(json.dumps(header())))


def changed(change: Callable[[dict[str, Any]], object], raw: bytes | None = None) -> bytes:
    entries = header()
    change(entries)
    return whole(json.dumps(entries), raw=raw)


def entry(raw: bytes | None = None, **fields: object) -> bytes:
    return changed(lambda entries: entries[NAME].update(fields), raw)


def without(field: str) -> bytes:
    return changed(lambda entries: entries[NAME].pop(field))


def instead(value: object) -> bytes:
    return changed(lambda entries: entries.update({NAME: value}))


def metadata(value: object) -> bytes:
    return changed(lambda entries: entries.update(__metadata__=value))


def called(name: str) -> bytes:
    """Return the model with its first tensor under another name."""
    return changed(lambda entries: entries.update({name: entries.pop(NAME)}))


def empty_at(place: int) -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [place, place]}
    return changed(lambda entries: entries.update(empty=empty))


def moved(by: int, raw: bytes) -> bytes:
    """Return the model with all places moved."""

    def move(entries: dict[str, Any]) -> None:
        for entry in list(entries.values())[1:]:
            entry["data_offsets"] = [place + by for place in entry["data_offsets"]]

    return changed(move, raw)


def flax_twins() -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return whole(
        json.dumps({"__metadata__": {"format": "flax"}, "a.b": empty, "a/b": empty}), raw=b""
    )


def shifted() -> bytes:
    """Return the model whose second tensor begins four bytes early and so ends in the first."""
    entries = header()
    begin, end = entries[OTHER]["data_offsets"]
    entries[OTHER]["data_offsets"] = [begin - 4, end - 4]
    return whole(json.dumps(entries))
