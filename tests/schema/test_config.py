"""Lists in a config: sizes and words, each refused by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, parse_json
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model

ROOT = Path(__file__).parents[2]


def test_sizes() -> None:
    """A list of whole numbers comes back as it stands."""
    assert Config({"block_sizes": [4, 0, 2]}).sizes("block_sizes") == (4, 0, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "'block_sizes' must be a list of integers, found 3"),
        (None, "'block_sizes' must be a list of integers, found nothing"),
        ([4, True], r"'block_sizes\[1\]' must be an integer, found true"),
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


PYTHONS = re.compile(r"\b(None|True|False|NoneType|dict)\b|found (list|str|int)\b")
STRANGE: tuple[Json, ...] = (None, True, False, -1, 1.5, "x", [], [1, None], {"a": None})


def strange_configs() -> Iterator[dict[str, Json]]:
    """Return the config of the trained pair with each value of any level in turn replaced by a strange one."""
    text = (ROOT / "fixtures/dates/config.json").read_text()
    config = json.loads(text)
    absent = {"encoder": ("position_embedding_type",), "decoder": ("cross_attention_hidden_size",)}
    places = [(config, key) for key in [*config]]
    places += [(config[side], key) for side in absent for key in (*config[side], *absent[side])]
    for section, key in places:
        before = dict(section)
        for value in STRANGE:
            section[key] = value
            yield config
        section.clear()
        section.update(before)


def test_a_value_is_quoted_as_the_file_has_it() -> None:
    """Whatever a key of a config holds, its refusal quotes JSON: `null` and `true`, and none of Python's words."""
    refusals = []
    for values in strange_configs():
        try:
            model = read_model(Config(values))
            refusals += [text for naming in ("tf", "flax") for text in model.refusals(naming)]
        except SourceError as error:
            refusals.append(str(error))
    assert sum(map(bool, refusals)) > 100
    assert [text for text in refusals if PYTHONS.search(text)] == []
