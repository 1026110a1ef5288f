"""Lists in a config: sizes and words, each refused by its name."""

from __future__ import annotations

import json

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, parse_json
from ckptconv.schema.config import Config


def test_sizes() -> None:
    """A list of whole numbers comes back as it stands."""
    assert Config({"block_sizes": [4, 0, 2]}).sizes("block_sizes") == (4, 0, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "'block_sizes' must be a list of integers, found 3"),
        (None, "'block_sizes' must be a list of integers, found nothing"),
        ([4, True], r"'block_sizes\[1\]' must be an integer, found True"),
        ([-1], r"'block_sizes\[0\]' must be an integer, found -1"),
    ],
)
def test_sizes_refused(value: Json, message: str) -> None:
    """Anything else is refused, with the place in the list."""
    with pytest.raises(SourceError, match=message):
        Config({"block_sizes": value}).sizes("block_sizes")


@pytest.mark.parametrize("value", [["C2P", "p2c"], "c2p|P2C", "c2p | p2c "])
def test_words(value: Json) -> None:
    """A list, or the text that old configs have for it."""
    assert Config({"pos_att_type": value}).words("pos_att_type") == ("c2p", "p2c")


def test_no_words() -> None:
    """Absent or null is no word; a number is refused."""
    assert (
        Config({"pos_att_type": None}).words("pos_att_type")
        == Config({}).words("pos_att_type")
        == ()
    )
    with pytest.raises(SourceError, match="'pos_att_type' must be a list of strings, found 7"):
        Config({"pos_att_type": 7}).words("pos_att_type")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": 1000000000000000019884624838656}', 1000000000000000019884624838656),
        (b'{"a": "\\ud83d\\ude00"}', "\U0001f600"),
        (b'{"a": "\xf0\x9f\x98\x80 [[[[{{{{ \\" ]"}', '\U0001f600 [[[[{{{{ " ]'),
        (b'{"a": -1e-300}', -1e-300),
        (b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}", None),
        (b'{"a": [' + b"[]," * 999 + b"[]]}", [[]] * 1000),
        (b' \n{"a": null}\r\n\t', None),
        (b'{"a": -' + b"9" * 64 + b', "b": -0.5}', -(10**64 - 1)),
    ],
)
def test_json_that_is_odd_but_right(text: bytes, value: Json) -> None:
    """A tokenizer's longest length, pairs of surrogates, brackets in texts, 64 levels, thousands of lists."""
    result = parse_json(text, "x")["a"]
    assert result == (value if value is not None or b"[" not in text else json.loads(text)["a"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}",
            "deeper than 64 levels; `ckptconv --limit json_depth=N` allows more",
        ),
        (b'{"a": ' + b'"]",[' * 60 + b"]" * 60 + b"}", "Expecting"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"a": 1, "\\u0061": 2}', "key 'a' stands twice"),
        (b'{"a": 1e400}', "1e400 is too large a number"),
        (b'{"a": ' + b"1" * 65 + b"}", "a number of 65 digits"),
        (b'{"a": -' + b"1" * 65 + b"}", "a number of 65 digits"),
        (b"\xef\xbb\xbf{}", "Unexpected UTF-8 BOM"),
        (b'{"a": "\xe9"}', "byte 7 is not UTF-8"),
        (b'{"\x1b": 1, "\x1b": 2}', "Invalid control character"),
    ],
)
def test_json_that_two_readers_read_in_two_ways(text: bytes, why: str) -> None:
    """Each is refused in one line of ASCII, with the file's name."""
    with pytest.raises(SourceError) as refusal:
        parse_json(text, "x.json")
    message = str(refusal.value)
    assert message.startswith("x.json: not valid JSON (")
    assert why in message
    assert message.isascii()
    assert "\n" not in message
