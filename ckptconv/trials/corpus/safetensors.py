"""Malformed safetensors files: the length, the JSON header, each field of an entry, and the layout of the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ckptconv.trials.case import MalformedCase
from ckptconv.trials.corpus._model import CONFIG
from ckptconv.trials.corpus._safetensors import (
    NAME,
    OTHER,
    called,
    changed,
    data,
    empty_at,
    entry,
    flax_twins,
    header,
    instead,
    metadata,
    moved,
    shifted,
    spelt,
    whole,
    without,
)

_FIRST = json.dumps(header()[NAME])
_END = header()[NAME]["data_offsets"][1]
_SIZES = "must be lists of integers"
_JSON = "header: not valid JSON"
_PRINT = "holds a character that does not print"
_FIELDS = "expected the fields data_offsets, dtype, shape"
_CLAIMS = "claims a header of"
_BEGIN = "does not begin with '{'"
# name, what a reader that does not look would do, what the refusal says, the weights
_TABLE: tuple[tuple[str, str, str, Callable[[], bytes]], ...] = (
    # The length.
    (
        "empty-file",
        "a download that never began",
        "found an empty file",
        lambda: b"",
    ),
    (
        "one-byte",
        "a download that stopped",
        "cut short: needs bytes up to 8, the file has 1",
        lambda: b"\x08",
    ),
    (
        "seven-bytes",
        "a download that stopped",
        "cut short: needs bytes up to 8, the file has 7",
        lambda: bytes(7),
    ),
    (
        "length-alone",
        "a download that stopped",
        f"{_CLAIMS} 1000 bytes",
        lambda: (1000).to_bytes(8, "little"),
    ),
    ("length-zero", "no header", _BEGIN, lambda: bytes(8)),
    ("length-zero-with-data", "data without a header", _BEGIN, lambda: whole("")),
    ("length-one", "half a header", _JSON, lambda: whole(length=1)),
    (
        "length-one-less",
        "half a header",
        _JSON,
        lambda: whole(length=len(json.dumps(header())) - 1),
    ),
    (
        "length-one-more",
        "data read as header",
        _JSON,
        lambda: whole(length=len(json.dumps(header())) + 1),
    ),
    (
        "length-past-the-end",
        "memory past the file",
        f"{_CLAIMS} 9999999 bytes",
        lambda: whole(length=9_999_999),
    ),
    (
        "length-of-2-to-the-63",
        "a negative size",
        f"{_CLAIMS} {1 << 63} bytes",
        lambda: whole(length=1 << 63),
    ),
    (
        "length-all-ones",
        "memory",
        f"{_CLAIMS} {(1 << 64) - 1} bytes",
        lambda: whole(length=(1 << 64) - 1),
    ),
    (
        "length-big-endian",
        "memory",
        _CLAIMS,
        lambda: len(json.dumps(header())).to_bytes(8, "big") + whole()[8:],
    ),
    (
        "header-of-17-MiB",
        "memory and time",
        "--limit header_bytes=N",
        lambda: spelt(lambda text: text + " " * (17 << 20)),
    ),
    # The text of the header.
    ("space-first", "two readers that disagree", _BEGIN, lambda: spelt(lambda text: " " + text)),
    ("newline-first", "two readers that disagree", _BEGIN, lambda: spelt(lambda text: "\n" + text)),
    (
        "byte-order-mark-first",
        "two readers that disagree",
        _BEGIN,
        lambda: whole(b"\xef\xbb\xbf{}"),
    ),
    (
        "utf-16",
        "another encoding that Python guesses",
        _BEGIN,
        lambda: whole(json.dumps(header()).encode("utf-16")),
    ),
    (
        "utf-16-without-mark",
        "another encoding that Python guesses",
        _JSON,
        lambda: whole(json.dumps(header()).encode("utf-16-le")),
    ),
    ("list", "no names", _BEGIN, lambda: whole("[]")),
    ("text", "no names", _BEGIN, lambda: whole('"{}"')),
    ("null", "no names", _BEGIN, lambda: whole("null")),
    (
        "newline-last",
        "padding that is not spaces",
        "must be spaces",
        lambda: spelt(lambda text: text + "\n"),
    ),
    (
        "tabs-last",
        "padding that is not spaces",
        "must be spaces",
        lambda: spelt(lambda text: text + "\t\t"),
    ),
    ("zeros-last", "padding that is not spaces", _JSON, lambda: spelt(lambda text: text + "\0\0")),
    ("second-object-last", "two headers", _JSON, lambda: spelt(lambda text: text + "{}")),
    ("comma-last", "a lenient parser", _JSON, lambda: spelt(lambda text: text[:-1] + ",}")),
    (
        "single-quotes",
        "a lenient parser",
        _JSON,
        lambda: spelt(lambda text: text.replace('"', "'")),
    ),
    ("comment", "a lenient parser", _JSON, lambda: spelt(lambda text: "{/**/" + text[1:])),
    ("bracket-missing", "a parser that runs on", _JSON, lambda: spelt(lambda text: text[:-1])),
    (
        "quote-missing",
        "a parser that runs on",
        _JSON,
        lambda: spelt(lambda text: text.replace('F32"', "F32", 1)),
    ),
    (
        "control-character",
        "a lenient parser",
        _JSON,
        lambda: spelt(lambda text: text.replace("word", "wo\nrd", 1)),
    ),
    (
        "bytes-that-are-no-text",
        "two readings of one name",
        "byte 1 is not UTF-8",
        lambda: whole(b'{\xff"a":1}'),
    ),
    (
        "overlong-utf-8",
        "two readings of one name",
        "byte 2 is not UTF-8",
        lambda: whole(b'{"\xc0\xaf":1}'),
    ),
    (
        "surrogate-in-utf-8",
        "two readings of one name",
        "byte 2 is not UTF-8",
        lambda: whole(b'{"\xed\xa0\x80":1}'),
    ),
    (
        "half-a-surrogate-pair",
        "a name that cannot be written",
        "half a surrogate pair",
        lambda: called("\ud800"),
    ),
    ("nan", "a size that is no number", "NaN is not JSON", lambda: entry(shape=[float("nan")])),
    ("infinity", "a size without end", "Infinity is not JSON", lambda: entry(shape=[float("inf")])),
    (
        "number-too-large",
        "a size without end",
        "1e999 is too large",
        lambda: spelt(lambda text: text.replace("[50", "[1e999", 1)),
    ),
    (
        "number-of-5000-digits",
        "seconds for one number",
        "a number of 5000 digits",
        lambda: spelt(lambda text: text.replace("[50", "[" + "9" * 5000, 1)),
    ),
    (
        "number-of-a-million-digits",
        "minutes for one number",
        "a number of 1000000 digits",
        lambda: spelt(lambda text: text.replace("[50", "[" + "9" * 1_000_000, 1)),
    ),
    ("deep", "a full stack", "deeper than 64 levels", lambda: whole('{"a":' * 70 + "1" + "}" * 70)),
    (
        "very-deep",
        "a full stack",
        "deeper than 64 levels",
        lambda: whole('{"a":' + "[" * 500_000 + "]" * 500_000 + "}"),
    ),
    (
        "very-deep-without-end",
        "a full stack",
        "deeper than 64 levels",
        lambda: whole("{" + "[" * 1_000_000),
    ),
    # Names that stand twice.
    (
        "tensor-twice",
        "two readers that disagree",
        f"key '{NAME}' stands twice",
        lambda: spelt(lambda text: text[:-1] + f', "{NAME}": {_FIRST}}}'),
    ),
    (
        "tensor-twice-escaped",
        "two readers that disagree",
        f"key '{NAME}' stands twice",
        lambda: spelt(lambda text: text[:-1] + f', "\\u0065{NAME[1:]}": {_FIRST}}}'),
    ),
    (
        "metadata-twice",
        "two readers that disagree",
        "key '__metadata__' stands twice",
        lambda: spelt(lambda text: '{"__metadata__": {},' + text[1:]),
    ),
    (
        "key-of-metadata-twice",
        "two readers that disagree",
        "key 'format' stands twice",
        lambda: spelt(
            lambda text: text.replace('"format": "pt"', '"format": "tf", "format": "pt"')
        ),
    ),
    (
        "dtype-twice",
        "two readers that disagree",
        "key 'dtype' stands twice",
        lambda: spelt(
            lambda text: text.replace('"dtype": "F32"', '"dtype": "F32", "dtype": "I32"', 1)
        ),
    ),
    (
        "shape-twice",
        "two readers that disagree",
        "key 'shape' stands twice",
        lambda: spelt(lambda text: text.replace('"shape": ', '"shape": [1], "shape": ', 1)),
    ),
    (
        "many-names-twice",
        "time that grows with the square",
        "stands twice",
        lambda: whole("{" + ",".join(f'"{n % 5000}":1' for n in range(100_000)) + "}"),
    ),
    # Metadata.
    (
        "metadata-null",
        "an answer for another question",
        "__metadata__ must map names",
        lambda: metadata(None),
    ),
    (
        "metadata-list",
        "an answer for another question",
        "__metadata__ must map names",
        lambda: metadata([]),
    ),
    (
        "metadata-text",
        "an answer for another question",
        "__metadata__ must map names",
        lambda: metadata("pt"),
    ),
    (
        "metadata-of-numbers",
        "an answer for another question",
        "__metadata__ must map names",
        lambda: metadata({"a": 1}),
    ),
    (
        "metadata-of-nulls",
        "an answer for another question",
        "__metadata__ must map names",
        lambda: metadata({"a": None}),
    ),
    (
        "metadata-nested",
        "an answer for another question",
        "__metadata__ must map names",
        lambda: metadata({"a": {}}),
    ),
    (
        "metadata-a-tensor",
        "data that nobody sees",
        "__metadata__ must map names",
        lambda: changed(lambda entries: entries.update(__metadata__=entries.pop(NAME))),
    ),
    # Names.
    ("name-empty", "a file without a name", "a tensor without a name", lambda: called("")),
    ("name-nul", "a name that C cuts", _PRINT, lambda: called("a\0b")),
    ("name-escape", "commands for a terminal", _PRINT, lambda: called("\x1b[2Ja")),
    ("name-newline", "a line of a report that is ours", _PRINT, lambda: called("a\nok")),
    ("name-return", "a line that is overwritten", _PRINT, lambda: called("a\rok")),
    ("name-tab", "columns that are moved", _PRINT, lambda: called("a\tb")),
    ("name-delete", "a name that eats another", _PRINT, lambda: called("a\x7f")),
    ("name-c1", "commands for a terminal", _PRINT, lambda: called("a\x9b2J")),
    ("name-right-to-left", "a name that reads as another", _PRINT, lambda: called("a\u202eb")),
    ("name-isolate", "a name that reads as another", _PRINT, lambda: called("a\u2066b")),
    ("name-zero-width", "two names that look as one", _PRINT, lambda: called("a\u200bb")),
    ("name-line-separator", "a line of a report that is ours", _PRINT, lambda: called("a\u2028b")),
    ("name-no-break-space", "two names that look as one", _PRINT, lambda: called("a\u00a0b")),
    ("name-private", "a name that no one sees", _PRINT, lambda: called("a\ue000")),
    ("name-noncharacter", "a name that no one sees", _PRINT, lambda: called("a\uffff")),
    (
        "name-of-513",
        "a report that is filled",
        "of 513 characters is too long",
        lambda: called("a" * 513),
    ),
    (
        "name-of-a-megabyte",
        "a report that is filled",
        "of 1048576 characters is too long",
        lambda: called("a" * (1 << 20)),
    ),
    (
        "names-of-flax-that-meet",
        "one tensor instead of two",
        "two names differ only in",
        flax_twins,
    ),
    # An entry.
    ("entry-list", "fields by their place", _FIELDS, lambda: instead([])),
    ("entry-null", "no fields", _FIELDS, lambda: instead(None)),
    ("entry-text", "no fields", _FIELDS, lambda: instead("F32")),
    ("entry-empty", "no fields", _FIELDS, lambda: instead({})),
    ("entry-without-dtype", "a dtype that is guessed", _FIELDS, lambda: without("dtype")),
    ("entry-without-shape", "a shape that is guessed", _FIELDS, lambda: without("shape")),
    ("entry-without-offsets", "a place that is guessed", _FIELDS, lambda: without("data_offsets")),
    ("entry-with-more", "a field that others read", _FIELDS, lambda: entry(strides=[1, 1])),
    ("entry-misspelt", "a field that is passed over", _FIELDS, lambda: entry(DType="F16")),
    ("dtype-null", "a dtype that is guessed", "dtype null is not one", lambda: entry(dtype=None)),
    ("dtype-number", "a dtype that is guessed", "dtype 32 is not one", lambda: entry(dtype=32)),
    (
        "dtype-list",
        "what cannot be looked up",
        r'dtype \["F32"\] is not one',
        lambda: entry(dtype=["F32"]),
    ),
    (
        "dtype-lower-case",
        "two readers that disagree",
        "dtype 'f32' is not one",
        lambda: entry(dtype="f32"),
    ),
    (
        "dtype-numpy",
        "two readers that disagree",
        "dtype '<f4' is not one",
        lambda: entry(dtype="<f4"),
    ),
    ("dtype-object", "objects that run code", "dtype 'O' is not one", lambda: entry(dtype="O")),
    (
        "dtype-of-8-bits",
        "values that no table has",
        "dtype 'F8_E4M3' is not one",
        lambda: entry(dtype="F8_E4M3"),
    ),
    (
        "dtype-of-4-bits",
        "a size that is no whole byte",
        "dtype 'F4' is not one",
        lambda: entry(dtype="F4"),
    ),
    (
        "dtype-complex",
        "values that no table has",
        "dtype 'C64' is not one",
        lambda: entry(dtype="C64"),
    ),
    (
        "dtype-unsigned",
        "values that no target has",
        "dtype 'U32' is not one",
        lambda: entry(dtype="U32"),
    ),
    (
        "dtype-long",
        "a report that is filled",
        r"dtype 'F{96}\.\.\. is not one",
        lambda: entry(dtype="F" * 100_000),
    ),
    (
        "dtype-wider",
        "reads into the next",
        "F64 .* takes 800 bytes, the header gives 400",
        lambda: entry(dtype="F64"),
    ),
    (
        "dtype-narrower",
        "bytes that nobody sees",
        "F16 .* takes 200 bytes, the header gives 400",
        lambda: entry(dtype="F16"),
    ),
    ("shape-null", "a shape that is guessed", _SIZES, lambda: entry(shape=None)),
    ("shape-number", "a shape that is guessed", _SIZES, lambda: entry(shape=100)),
    ("shape-object", "a shape without order", _SIZES, lambda: entry(shape={"0": 50, "1": 2})),
    ("shape-of-fractions", "a size that is rounded", _SIZES, lambda: entry(shape=[50.0, 2])),
    ("shape-of-flags", "true taken for one", _SIZES, lambda: entry(shape=[100, True])),
    ("shape-of-texts", "a size that is parsed", _SIZES, lambda: entry(shape=["50", "2"])),
    ("shape-of-nulls", "a size that is guessed", _SIZES, lambda: entry(shape=[None, 100])),
    ("shape-nested", "a shape in a shape", _SIZES, lambda: entry(shape=[[50], 2])),
    ("shape-negative", "a size below nothing", _SIZES, lambda: entry(shape=[-50, -2])),
    ("shape-minus-one", "a size that is worked out", _SIZES, lambda: entry(shape=[-1, 2])),
    (
        "shape-minus-zero",
        "a zero that others refuse",
        _SIZES,
        lambda: spelt(lambda text: text.replace("[50,", "[-0,", 1)),
    ),
    ("shape-of-2-to-the-63", "a negative size", _SIZES, lambda: entry(shape=[1 << 63, 2])),
    (
        "shape-that-wraps",
        "a product that is 100 in 64 bits",
        "takes .* bytes, the header gives 400",
        lambda: entry(shape=[(1 << 62) + 25, 4]),
    ),
    (
        "shape-that-wraps-to-nothing",
        "a product that is 0 in 64 bits",
        "takes .* bytes, the header gives 400",
        lambda: entry(shape=[1 << 32, 1 << 32]),
    ),
    (
        "shape-of-33-axes",
        "more axes than arrays have",
        "at most 32",
        lambda: entry(shape=[50, 2, *[1] * 31]),
    ),
    (
        "shape-of-100000-axes",
        "hours of multiplying",
        "at most 32",
        lambda: entry(shape=[1 << 62] * 100_000),
    ),
    (
        "shape-larger",
        "reads into the next",
        "takes 408 bytes, the header gives 400",
        lambda: entry(shape=[51, 2]),
    ),
    (
        "shape-smaller",
        "bytes that nobody sees",
        "takes 392 bytes, the header gives 400",
        lambda: entry(shape=[49, 2]),
    ),
    (
        "shape-scalar",
        "bytes that nobody sees",
        "takes 4 bytes, the header gives 400",
        lambda: entry(shape=[]),
    ),
    # Places.
    ("offsets-one", "an end that is guessed", _SIZES, lambda: entry(data_offsets=[0])),
    ("offsets-three", "an end that is guessed", _SIZES, lambda: entry(data_offsets=[0, 400, 400])),
    ("offsets-null", "a place that is guessed", _SIZES, lambda: entry(data_offsets=None)),
    (
        "offsets-of-texts",
        "a place that is parsed",
        _SIZES,
        lambda: entry(data_offsets=["0", "400"]),
    ),
    (
        "offsets-of-fractions",
        "a place that is rounded",
        _SIZES,
        lambda: entry(data_offsets=[0.0, 400.0]),
    ),
    ("offsets-negative", "reads the header as data", _SIZES, lambda: entry(data_offsets=[-400, 0])),
    (
        "offsets-reversed",
        "a size below nothing",
        "the header gives -400",
        lambda: entry(data_offsets=[_END, 0]),
    ),
    (
        "offsets-of-2-to-the-63",
        "a negative place",
        _SIZES,
        lambda: entry(data_offsets=[1 << 63, (1 << 63) + 400]),
    ),
    (
        "offsets-past-the-end",
        "memory past the file",
        "a hole in the data|an overlap",
        lambda: entry(data_offsets=[1 << 40, (1 << 40) + 400]),
    ),
    (
        "offsets-longer",
        "reads into the next",
        "the header gives 404",
        lambda: entry(data_offsets=[0, 404]),
    ),
    (
        "offsets-shorter",
        "values without bytes",
        "the header gives 396",
        lambda: entry(data_offsets=[0, 396]),
    ),
    # The layout.
    (
        "hole-first",
        "bytes that nobody sees",
        "a hole in the data",
        lambda: moved(8, bytes(8) + data()),
    ),
    (
        "hole-between",
        "bytes that nobody sees",
        "a hole in the data",
        lambda: changed(lambda entries: entries.pop(OTHER)),
    ),
    (
        "overlap-of-two",
        "one tensor in two places",
        "an overlap in the data",
        lambda: changed(lambda entries: entries.update(copy=entries[NAME])),
    ),
    ("overlap-in-part", "one tensor in two places", "an overlap in the data", lambda: shifted()),
    (
        "empty-tensor-inside",
        "a place inside another",
        "an overlap in the data",
        lambda: empty_at(4),
    ),
    (
        "empty-tensor-past-the-end",
        "a place outside",
        "a hole in the data",
        lambda: empty_at(1 << 40),
    ),
    ("one-byte-more", "bytes that nobody sees", "the header describes", lambda: whole() + b"\0"),
    ("one-byte-less", "a download that stopped", "the header describes", lambda: whole()[:-1]),
    ("no-data", "a download that stopped", "the header describes", lambda: whole(raw=b"")),
    (
        "half-the-data",
        "a download that stopped",
        "the header describes",
        lambda: whole(raw=data()[: len(data()) // 2]),
    ),
    (
        "zip-behind",
        "two files in one",
        "the header describes",
        lambda: whole() + b"PK\5\6" + bytes(18),
    ),
    (
        "script-behind",
        "two files in one",
        "the header describes",
        lambda: whole() + b"\n#!/bin/sh\nid\n",
    ),
    ("file-twice", "two files in one", "the header describes", lambda: whole() * 2),
    # Other files under the name.
    (
        "git-lfs-pointer",
        "no weights at all",
        "expected safetensors, found a Git LFS pointer",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    ),
    (
        "web-page",
        "no weights at all",
        "found a page of HTML",
        lambda: b"<!DOCTYPE html><html></html>",
    ),
    (
        "zip",
        "another format",
        "expected safetensors, found a zip archive",
        lambda: b"PK\3\4" + bytes(100),
    ),
    (
        "hdf5",
        "another format",
        "expected safetensors, found an HDF5 file",
        lambda: b"\x89HDF\r\n\x1a\n".ljust(2048, b"\0"),
    ),
    (
        "pickle",
        "a form that runs code",
        "expected safetensors, found a pickle",
        lambda: b"\x80\2cos\nsystem\n(X\2\0\0\0idtR.",
    ),
    (
        "gguf",
        "another format",
        "expected safetensors, found a GGUF file",
        lambda: b"GGUF\3\0\0\0" + bytes(100),
    ),
    ("zeros", "a disk that lost it", _BEGIN, lambda: bytes(4096)),
)


def _case(name: str, threat: str, says: str, weights: Callable[[], bytes]) -> MalformedCase:
    def build(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "model.safetensors").write_bytes(weights())

    return MalformedCase(f"safetensors-{name}", threat, build, says)


CASES = tuple(_case(*row) for row in _TABLE)
