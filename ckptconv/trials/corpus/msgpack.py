"""Malformed Flax msgpack files: the types of values, names, arrays and their payloads, chunks, and the whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ckptconv.stores.formats.msgpack import CHUNKED
from ckptconv.stores.parsers import msgpack_tree as msgpack
from ckptconv.trials.case import MalformedCase
from ckptconv.trials.corpus._model import CONFIG
from ckptconv.trials.corpus._packed import (
    array,
    chunks,
    ext,
    key,
    leaf,
    length,
    marked,
    model,
    nested,
    one_array,
    packed,
)

_TYPE = "unexpected type byte {}"
_WHOLE = "a shape that is not a list of integers"
_NAME = "expected a name, found type byte"
_ADD_UP = "'x': the chunks do not add up"
_NOTHING = "a mark, a shape and chunks, and nothing else"
_PRINT = "holds a character that does not print"
_MOVES = "is not one that ckptconv moves"
# what stands where an array should, its bytes, what the refusal says
_VALUES: tuple[tuple[str, bytes, str], ...] = (
    ("nil", b"\xc0", _TYPE.format("0xc0")),
    ("never-used", b"\xc1", _TYPE.format("0xc1")),
    ("false", b"\xc2", "'x' is a number, not an array"),
    ("true", b"\xc3", "'x' is a number, not an array"),
    ("number", b"\x07", "'x' is a number, not an array"),
    ("number-negative", b"\xff", _TYPE.format("0xff")),
    ("uint-8", b"\xcc\xff", "'x' is a number, not an array"),
    ("uint-64", b"\xcf" + b"\xff" * 8, "'x' is a number, not an array"),
    ("int-8", b"\xd0\x80", _TYPE.format("0xd0")),
    ("int-64", b"\xd3" + bytes(8), _TYPE.format("0xd3")),
    ("float-32", b"\xca" + bytes(4), _TYPE.format("0xca")),
    ("float-64", b"\xcb" + bytes(8), _TYPE.format("0xcb")),
    ("text", b"\xa2hi", _TYPE.format("0xa2")),
    ("text-8", b"\xd9\x02hi", _TYPE.format("0xd9")),
    ("text-32", b"\xdb\xff\xff\xff\xff", _TYPE.format("0xdb")),
    ("bytes-8", b"\xc4\x02hi", _TYPE.format("0xc4")),
    ("bytes-32", b"\xc6\xff\xff\xff\xff", _TYPE.format("0xc6")),
    ("list", b"\x91\x00", _TYPE.format("0x91")),
    ("list-16", b"\xdc\xff\xff", _TYPE.format("0xdc")),
    ("list-32", b"\xdd\xff\xff\xff\xff", _TYPE.format("0xdd")),
    ("extension-complex", ext(b"\x92" + bytes(2), 2), "extension type 2 is not an array"),
    ("extension-scalar", ext(array()[2:], 3), "extension type 3 is not an array"),
    ("extension-time", b"\xd6\xff" + bytes(4), "extension type 255 is not an array"),
    ("extension-zero", ext(bytes(4), 0), "extension type 0 is not an array"),
    ("extension-other", ext(bytes(4), 42), "extension type 42 is not an array"),
    ("extension-of-one-byte", b"\xd4\x01\x93", "cut short|an array without|not of shape"),
    (
        "extension-of-4-GiB",
        b"\xc9\xff\xff\xff\xff\x01\x93\x91\x03\xa7float32\xc4\x0c" + bytes(12),
        "of another length",
    ),
)
# what the name is, its bytes, what the refusal says
_KEYS: tuple[tuple[str, bytes, str], ...] = (
    ("number", b"\x01", f"{_NAME} 0x01"),
    ("nil", b"\xc0", f"{_NAME} 0xc0"),
    ("bytes", b"\xc4\x01a", f"{_NAME} 0xc4"),
    ("map", b"\x80", f"{_NAME} 0x80"),
    ("list", b"\x90", f"{_NAME} 0x90"),
    ("extension", b"\xd4\x01a", f"{_NAME} 0xd4"),
    ("text-32", b"\xdb\x00\x00\x00\x01a", f"{_NAME} 0xdb"),
    ("no-utf-8", b"\xa1\xff", "a name that is not UTF-8"),
    ("overlong-utf-8", b"\xa2\xc0\xaf", "a name that is not UTF-8"),
    ("surrogate", b"\xa3\xed\xa0\x80", "a name that is not UTF-8"),
    ("of-513-bytes", b"\xda\x02\x01" + b"a" * 513, "a name of 513 bytes"),
    ("of-65535-bytes", b"\xda\xff\xff" + b"a" * 65535, "a name of 65535 bytes"),
    ("past-the-end", b"\xda\x01\xff", "expected a name|cut short|not UTF-8"),
    ("empty", b"\xa0", "'' is empty or contains '/'"),
    ("with-a-slash", b"\xa3a/b", "'a/b' is empty or contains '/'"),
    ("twice", msgpack.text("encoder"), "duplicate name 'encoder'"),
    ("twice-in-two-spellings", b"\xd9\x07encoder", "duplicate name 'encoder'"),
    ("escape", b"\xa5\x1b[2Ja", _PRINT),
    ("nul", b"\xa3a\x00b", _PRINT),
    ("newline", b"\xa3a\nb", _PRINT),
    ("right-to-left", msgpack.text("a\u202eb"), _PRINT),
    ("zero-width", msgpack.text("a\u200bb"), _PRINT),
)
# name, what a reader that does not look would do, what the refusal says, the weights
_TABLE: tuple[tuple[str, str, str, Callable[[], bytes]], ...] = (
    # An array: three parts in a list.
    (
        "array-of-two-parts",
        "parts by their place",
        "not of shape, dtype and data",
        lambda: one_array(head=b"\x92"),
    ),
    (
        "array-of-four-parts",
        "a part that nobody sees",
        "not of shape, dtype and data",
        lambda: one_array(head=b"\x94"),
    ),
    (
        "array-in-a-list-16",
        "two spellings",
        "not of shape, dtype and data",
        lambda: one_array(head=b"\xdc\x00\x03"),
    ),
    (
        "shape-nil",
        "a shape that is guessed",
        "an array without a shape",
        lambda: one_array(shape=b"\xc0"),
    ),
    (
        "shape-number",
        "a shape that is guessed",
        "an array without a shape",
        lambda: one_array(shape=b"\x03"),
    ),
    (
        "shape-map",
        "a shape without order",
        "an array without a shape",
        lambda: one_array(shape=b"\x81\xa10\x03"),
    ),
    (
        "shape-list-16",
        "more axes than arrays have",
        "an array without a shape",
        lambda: one_array(shape=b"\xdc\xff\xff"),
    ),
    ("shape-negative", "a size that is worked out", _WHOLE, lambda: one_array(shape=b"\x91\xff")),
    ("shape-nil-inside", "a size that is guessed", _WHOLE, lambda: one_array(shape=b"\x91\xc0")),
    ("shape-flag", "true taken for one", _WHOLE, lambda: one_array(shape=b"\x92\x03\xc3")),
    (
        "shape-fraction",
        "a size that is rounded",
        _WHOLE,
        lambda: one_array(shape=b"\x91\xcb" + bytes(8)),
    ),
    ("shape-int-8", "a sign", _WHOLE, lambda: one_array(shape=b"\x91\xd0\x03")),
    ("shape-text", "a size that is parsed", _WHOLE, lambda: one_array(shape=b"\x91\xa13")),
    ("shape-nested", "a shape in a shape", _WHOLE, lambda: one_array(shape=b"\x91\x91\x03")),
    (
        "shape-an-array",
        "a full stack",
        _WHOLE,
        lambda: b"\x81\xa1a" + b"\xc7\xff\x01\x93\x91" * 100_000,
    ),
    (
        "shape-of-2-to-the-63",
        "a negative size",
        _WHOLE,
        lambda: one_array(shape=b"\x91\xcf\x80" + bytes(7)),
    ),
    (
        "shape-that-wraps",
        "a product that is 12 in 64 bits",
        "does not take 12 bytes",
        lambda: one_array(shape=b"\x92\xcf\x40\x00\x00\x00\x00\x00\x00\x03\x04"),
    ),
    (
        "shape-larger",
        "reads into the next",
        "does not take 12 bytes",
        lambda: one_array(shape=b"\x91\x04"),
    ),
    (
        "shape-smaller",
        "bytes that nobody sees",
        "does not take 12 bytes",
        lambda: one_array(shape=b"\x91\x02"),
    ),
    (
        "shape-scalar",
        "bytes that nobody sees",
        "does not take 12 bytes",
        lambda: one_array(shape=b"\x90"),
    ),
    ("dtype-nil", "a dtype that is guessed", f"{_NAME} 0xc0", lambda: one_array(dtype=b"\xc0")),
    ("dtype-bytes", "two spellings", f"{_NAME} 0xc4", lambda: one_array(dtype=b"\xc4\x07float32")),
    (
        "dtype-empty",
        "a dtype that is guessed",
        f"dtype '' {_MOVES}",
        lambda: one_array(dtype=b"\xa0"),
    ),
    (
        "dtype-object",
        "objects that run code",
        f"dtype 'O' {_MOVES}",
        lambda: one_array(dtype=b"\xa1O"),
    ),
    (
        "dtype-of-numpy",
        "whatever numpy makes of a text",
        f"dtype '<f4' {_MOVES}",
        lambda: one_array(dtype=b"\xa3<f4"),
    ),
    (
        "dtype-of-fields",
        "whatever numpy makes of a text",
        f"dtype 'f2,f2' {_MOVES}",
        lambda: one_array(dtype=b"\xa5f2,f2"),
    ),
    (
        "dtype-of-texts",
        "text taken for numbers",
        f"dtype 'S4' {_MOVES}",
        lambda: one_array(dtype=b"\xa2S4"),
    ),
    (
        "dtype-unsigned",
        "values that no target has",
        f"dtype 'uint32' {_MOVES}",
        lambda: one_array(dtype=b"\xa6uint32"),
    ),
    (
        "dtype-of-8-bits",
        "values that no table has",
        f"dtype 'float8_e4m3fn' {_MOVES}",
        lambda: one_array(dtype=msgpack.text("float8_e4m3fn")),
    ),
    (
        "dtype-upper-case",
        "two readers that disagree",
        f"dtype 'Float32' {_MOVES}",
        lambda: one_array(dtype=b"\xa7Float32"),
    ),
    (
        "dtype-no-utf-8",
        "a name that cannot be shown",
        "not UTF-8",
        lambda: one_array(dtype=b"\xa1\xff"),
    ),
    (
        "dtype-wider",
        "reads into the next",
        "does not take 12 bytes",
        lambda: one_array(dtype=b"\xa7float64"),
    ),
    ("data-nil", "values without bytes", "an array without data", lambda: one_array(data=b"\xc0")),
    (
        "data-text",
        "text taken for numbers",
        "an array without data",
        lambda: one_array(data=b"\xac" + bytes(12)),
    ),
    (
        "data-list",
        "objects taken for numbers",
        "an array without data",
        lambda: one_array(data=b"\x93\x01\x02\x03"),
    ),
    (
        "data-longer",
        "bytes that nobody sees",
        "does not take 16 bytes",
        lambda: one_array(data=b"\xc4\x10" + bytes(16)),
    ),
    (
        "data-shorter",
        "values without bytes",
        "does not take 8 bytes",
        lambda: one_array(data=b"\xc4\x08" + bytes(8)),
    ),
    (
        "data-of-4-GiB",
        "memory",
        "does not take 4294967295 bytes",
        lambda: one_array(data=b"\xc6\xff\xff\xff\xff"),
    ),
    (
        "extension-longer",
        "bytes that nobody sees",
        "in an extension of another length",
        lambda: length(5),
    ),
    (
        "extension-shorter",
        "parts out of step",
        "in an extension of another length",
        lambda: length(-5),
    ),
    (
        "extension-of-no-length",
        "parts out of step",
        "in an extension of another length",
        lambda: length(-25),
    ),
    # An array in chunks.
    (
        "chunks-without-mark",
        "a map of another kind",
        "is a number, not an array",
        lambda: chunks(**{CHUNKED: None}),
    ),
    ("chunks-mark-false", "two readers that disagree", _NOTHING, lambda: marked(b"\xc2")),
    ("chunks-mark-one", "two readers that disagree", _NOTHING, lambda: marked(b"\x01")),
    ("chunks-mark-a-map", "two readers that disagree", _NOTHING, lambda: marked(b"\x80")),
    ("chunks-without-shape", "a shape that is guessed", _NOTHING, lambda: chunks(shape=None)),
    ("chunks-without-chunks", "values without bytes", _NOTHING, lambda: chunks(chunks=None)),
    ("chunks-and-more", "a tensor that nobody sees", _NOTHING, lambda: chunks(hidden=array())),
    ("chunks-none", "values without bytes", _ADD_UP, lambda: chunks(chunks=b"\x80")),
    (
        "chunks-too-few",
        "values without bytes",
        _ADD_UP,
        lambda: chunks(chunks=packed({"0": array()})),
    ),
    (
        "chunks-too-many",
        "bytes that nobody sees",
        _ADD_UP,
        lambda: chunks(chunks=packed({"0": array(), "1": array(), "2": array()})),
    ),
    (
        "chunks-with-a-gap",
        "parts out of order",
        _ADD_UP,
        lambda: chunks(chunks=packed({"0": array(), "2": array()})),
    ),
    (
        "chunks-from-one",
        "parts out of order",
        _ADD_UP,
        lambda: chunks(chunks=packed({"1": array(), "2": array()})),
    ),
    (
        "chunks-named-00",
        "two spellings",
        _ADD_UP,
        lambda: chunks(chunks=packed({"00": array(), "01": array()})),
    ),
    ("chunks-a-number", "values without bytes", _ADD_UP, lambda: chunks(chunks=b"\x01")),
    (
        "chunks-of-numbers",
        "values without bytes",
        _ADD_UP,
        lambda: chunks(chunks=packed({"0": b"\x01", "1": b"\x02"})),
    ),
    (
        "chunks-of-matrices",
        "values in another order",
        _ADD_UP,
        lambda: chunks(chunks=packed({"0": array((1, 3)), "1": array((3, 1))})),
    ),
    (
        "chunks-of-two-dtypes",
        "bits taken for others",
        _ADD_UP,
        lambda: chunks(chunks=packed({"0": array(), "1": array(dtype="int32")})),
    ),
    (
        "chunks-in-chunks",
        "a full stack",
        _ADD_UP,
        lambda: chunks(chunks=packed({"0": packed({CHUNKED: b"\xc3"}), "1": array()})),
    ),
    (
        "chunks-shape-an-array",
        "a shape that is read from data",
        _ADD_UP,
        lambda: chunks(shape=array()),
    ),
    (
        "chunks-shape-of-flags",
        "true taken for one",
        _ADD_UP,
        lambda: chunks(shape=packed({"0": b"\x06", "1": b"\xc3"})),
    ),
    (
        "chunks-shape-with-a-gap",
        "a size that is guessed",
        _ADD_UP,
        lambda: chunks(shape=packed({"0": b"\x02", "2": b"\x03"})),
    ),
    (
        "chunks-shape-of-33-axes",
        "more axes than arrays have",
        _ADD_UP,
        lambda: chunks(shape=packed({str(n): b"\x06" if n == 0 else b"\x01" for n in range(33)})),
    ),
    (
        "chunks-shape-that-wraps",
        "a product that is 6 in 64 bits",
        _ADD_UP,
        lambda: chunks(shape=packed({"0": b"\xcf\x40\x00\x00\x00\x00\x00\x00\x00", "1": b"\x04"})),
    ),
    # The whole.
    ("empty-file", "a download that never began", "found an empty file", lambda: b""),
    ("map-alone", "a download that stopped", "cut short", lambda: b"\x81"),
    (
        "map-of-too-many",
        "a loop of 2^32 rounds",
        "cut short",
        lambda: b"\xdf\xff\xff\xff\xff" + packed(model())[1:],
    ),
    (
        "map-of-too-few",
        "tensors that nobody sees",
        "bytes after the end",
        lambda: b"\x81" + packed(model())[1:],
    ),
    ("maps-of-33-levels", "a full stack", "maps deeper than 32 levels", lambda: nested(40)),
    (
        "maps-of-a-million-levels",
        "a full stack",
        "maps deeper than 32 levels",
        lambda: nested(1_000_000),
    ),
    (
        "a-million-empty-maps",
        "72 times the memory",
        "--limit tensors=N",
        lambda: b"\xdf\x00\x0f\x42\x40" + b"".join(b"\xa6%06d\x80" % n for n in range(1_000_000)),
    ),
    (
        "a-million-small-numbers",
        "memory",
        "--limit tensors=N",
        lambda: b"\xdf\x00\x0f\x42\x40" + b"".join(b"\xa6%06d\x01" % n for n in range(1_000_000)),
    ),
    ("top-a-list", "no names", _TYPE.format("0x91"), lambda: b"\x91" + packed(model())),
    ("top-nil", "no names", _TYPE.format("0xc0"), lambda: b"\xc0"),
    ("top-a-number", "no names", "does not begin with a map", lambda: b"\x01"),
    ("top-an-array", "no names", "does not begin with a map", array),
    (
        "top-in-chunks",
        "an array in place of a model",
        "is a number, not an array",
        lambda: packed({CHUNKED: b"\xc3", "shape": packed({}), "chunks": packed({})}),
    ),
    (
        "one-byte-more",
        "bytes that nobody sees",
        "bytes after the end",
        lambda: packed(model()) + b"\x00",
    ),
    ("file-twice", "two files in one", "bytes after the end", lambda: packed(model()) * 2),
    (
        "one-byte-less",
        "a download that stopped",
        "past the end|cut short",
        lambda: packed(model())[:-1],
    ),
    (
        "half",
        "a download that stopped",
        "past the end|cut short",
        lambda: packed(model())[: len(packed(model())) // 2],
    ),
    (
        "target-and-another",
        "which of two is not certain",
        "arrays lie under 'target', 'ema': which",
        lambda: packed({"target": model(), "state": {"step": array()}, "ema": model()}),
    ),
    (
        "params-and-another",
        "which of two is not certain",
        "arrays lie under 'params', 'ema_params': which",
        lambda: packed({"params": model(), "ema_params": model()}),
    ),
    (
        "git-lfs-pointer",
        "no weights at all",
        "found a Git LFS pointer",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    ),
    (
        "web-page",
        "no weights at all",
        "found a page of HTML",
        lambda: b"<!DOCTYPE html><html></html>",
    ),
    (
        "pickle",
        "a form that runs code",
        "found a pickle",
        lambda: b"\x80\x02cos\nsystem\n(X\x02\0\0\0idtR.",
    ),
    ("zeros", "a disk that lost it", "does not begin with a map", lambda: bytes(4096)),
)


def _case(name: str, threat: str, says: str, weights: Callable[[], bytes]) -> MalformedCase:
    def build(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "flax_model.msgpack").write_bytes(weights())

    return MalformedCase(f"msgpack-{name}", threat, build, says)


def _of(
    kind: str, threat: str, make: Callable[[bytes], bytes], rows: tuple[tuple[str, bytes, str], ...]
) -> list[MalformedCase]:
    return [_case(f"{kind}-{name}", threat, says, partial(make, raw)) for name, raw, says in rows]


CASES = (
    *_of("value", "a value of another kind", leaf, _VALUES),
    *_of("name", "a name of another kind", key, _KEYS),
    *(_case(*row) for row in _TABLE),
)
