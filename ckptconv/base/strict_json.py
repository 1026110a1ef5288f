"""Strict JSON: what two parsers could read differently is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from ckptconv.base.errors import SourceError, in_python
from ckptconv.base.files import limits, more, read_source

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

SHOWN_CHARACTERS = 100
"""Of a value that a message quotes."""
MAX_DIGITS = 64
"""Of a number in JSON; tokenizers write 31 for "no limit". Python takes seconds for a number of millions."""
_ODD_INTEGER = re.compile(rb"-0|\d{%d}" % (MAX_DIGITS + 1))
"""In whose absence every whole number is what Python takes it for."""
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def in_words(value: object) -> str:
    """Return a value of a JSON file as a message quotes it: `null` and `true`, as the file has them; text in quotes.

    What is long is cut, and what is no JSON is shown as Python does.
    """
    try:
        text = ascii(value) if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError):  # such as a date of TOML, or an integer too long to be written
        text = in_python(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def kind_in_words(value: Json) -> str:
    """Return a value as `in_words` does; of a list or an object only that it is one."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return in_words(value)


def _no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Refuse a key that stands twice: parsers disagree about which one counts."""
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        names: set[str] = set()
        twice = next(name for name, _ in pairs if name in names or names.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"key {ascii(twice)[:200]} stands twice")
    return mapping


def _no_constant(text: str) -> Json:
    raise ValueError(f"{text} is not JSON")


def _integer(text: str) -> Json:
    """Return a whole number; `-0` is none, as in other parsers."""
    digits = len(text.removeprefix("-"))
    if digits > MAX_DIGITS:
        raise ValueError(f"a number of {digits} digits")
    return -0.0 if text == "-0" else int(text)


def _float(text: str) -> Json:
    """Return a number with a fraction or exponent; one that is too large would be written as Infinity."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _depth_within(data: bytes, depth: int) -> bool:
    """Tell whether objects and lists lie at most `depth` deep, before a parser goes down into them.

    Without strings and all else but brackets, each round takes off the innermost pairs.
    """
    if data.count(b"[") + data.count(b"{") <= depth:
        return True
    rest = _STRINGS.sub(b"", data).translate(_BRACKETS, delete=_NO_BRACKETS)
    for _ in range(depth):
        rest = rest.replace(b"[]", b"")
    return b"[]" not in rest and rest.count(b"[") <= depth


LFS_POINTER = b"version https://git-lfs"
"""How the file begins that a clone without git-lfs has in place of another."""


def parse_json(text: str | bytes, where: str) -> dict[str, Json]:
    """Return the JSON object in `text`.

    Raises: SourceError: not UTF-8, not JSON, a key twice, half a surrogate pair, too deep, or not an object.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
        if data.startswith(LFS_POINTER):
            raise ValueError("a Git LFS pointer; fetch the file that it points to: git lfs pull")
        if not _depth_within(data, limits().json_depth):
            raise ValueError(f"deeper than {limits().json_depth} levels; {more('json_depth')}")
        parsed = json.loads(
            data.decode(),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_integer if _ODD_INTEGER.search(data) else int,
            parse_float=_float,
        )
        if b"\\u" in data:
            json.dumps(
                parsed, ensure_ascii=False
            ).encode()  # half a surrogate pair cannot be written
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: not valid JSON ({_reason(error)})") from None
    if not isinstance(parsed, dict):
        raise SourceError(f"{where}: expected a JSON object, found {kind_in_words(parsed)}")
    return parsed


def _reason(error: Exception) -> str:
    """Say in ASCII what a parser objects to; Python's text on encodings repeats the bytes."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return (
        "half a surrogate pair"
        if isinstance(error, UnicodeEncodeError)
        else str(error).encode("ascii", "backslashreplace").decode()
    )


def read_json(path: Path, times: int = 1) -> dict[str, Json]:
    """Return the JSON object in a file.

    Args: times: how many times the usual bytes it may have.
    Raises: SourceError: no such file, too large, or not a JSON object.
    """
    most = limits().json_bytes * times
    data = read_source(path, most + 1)
    if len(data) > most:
        raise SourceError(f"{path}: more than {most} bytes of JSON; {more('json_bytes')}")
    return parse_json(data, str(path))


BLOCK_PARTS = 1 << 12
"""Pieces of text that are encoded together: some 100 kB."""
COMPACT_MEMBERS = 64
"""Of an object, encoded together."""
_spelled = json.encoder.encode_basestring_ascii
_scalar = json.JSONEncoder().encode


def dump_json(value: Mapping[str, Json]) -> bytes:
    """Return the bytes that transformers would write for a config: sorted, two spaces, newline."""
    return b"".join(json_blocks(value))


def json_blocks(
    value: Mapping[str, object], default: Callable[[Any], Json] | None = None
) -> Iterator[bytes]:
    """Return what `dump_json` does some kB at a time, so that a long text is never in memory as a whole.

    Args: default: turns what is no JSON into JSON, as in `json.dumps`.
    """
    texts = _lines(value, default, "\n")
    while block := "".join(islice(texts, BLOCK_PARTS)):
        yield block.encode()
    yield b"\n"


def compact_blocks(
    value: Mapping[str, object], default: Callable[[Any], Json] | None = None
) -> Iterator[bytes]:
    """Return sorted JSON without any space, some kB at a time; see `json_blocks`."""
    encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=default).encode
    return (text.encode() for text in _compact(value, encode))


def indented(value: Mapping[str, Json]) -> str:
    """Return what `json.dumps(value, indent=2)` does, in less time; keys stay in their order."""
    return _text(value, "\n", list)


def _compact(value: Mapping[str, object], encode: Callable[[object], str]) -> Iterator[str]:
    """Return the text of an object; what holds no objects some members at a time, which is what encoders are for."""
    lead, keys = "{", sorted(value)
    for start in range(0, len(keys), COMPACT_MEMBERS):
        members = {key: value[key] for key in keys[start : start + COMPACT_MEMBERS]}
        if not any(isinstance(item, dict) for item in members.values()):
            yield lead + encode(members)[1:-1]
            lead = ","
            continue
        for key, item in members.items():
            yield f"{lead}{_spelled(key)}:"
            if isinstance(item, dict):
                yield from _compact(item, encode)
            else:
                yield encode(item)
            lead = ","
    yield "}" if value else "{}"


def _lines(
    value: Mapping[str, object], default: Callable[[Any], Json] | None, newline: str
) -> Iterator[str]:
    """Return the text of an object, a member at a time. `newline` is the line break with the indent around it."""
    inner, lead = newline + "  ", "{"
    for key in sorted(value):
        item = value[key]
        yield f"{lead}{inner}{_spelled(key)}: "
        if isinstance(item, dict):
            yield from _lines(item, default, inner)
        else:
            yield _text(item, inner, sorted, default)
        lead = ","
    yield newline + "}" if value else "{}"


def _text(
    value: object,
    newline: str,
    order: Callable[[Iterable[str]], list[str]],
    default: Callable[[Any], Json] | None = None,
) -> str:
    """Return the text of any value. `order` puts the keys of its objects into theirs."""
    if isinstance(value, str):
        return _spelled(value)
    if type(value) is int:
        return str(value)
    if not isinstance(value, dict | list | tuple):
        if default is None or value is None or isinstance(value, bool | int | float):
            return _scalar(value)
        return _text(default(value), newline, order)
    if not value:
        return "{}" if isinstance(value, dict) else "[]"
    inner = newline + "  "
    if isinstance(value, dict):
        members = [
            f"{_spelled(key)}: {_text(value[key], inner, order, default)}" for key in order(value)
        ]
        return f"{{{inner}{f',{inner}'.join(members)}{newline}}}"
    items = [
        str(item) if type(item) is int else _text(item, inner, order, default) for item in value
    ]
    return f"[{inner}{f',{inner}'.join(items)}{newline}]"
