"""`strict_json`: texts that are written a piece at a time are those of Python's own encoder."""

from __future__ import annotations

import json
from random import Random

from ckptconv.base.strict_json import (
    Json,
    compact_blocks,
    dump_json,
    in_words,
    indented,
    json_blocks,
)

LEAVES: list[Json] = ["", 'a"b', "\u00e9\U0001f600\n", "\x7f", 0, -1, 10**30, True, False, None]
LEAVES += [0.1, 1e300, -0.0, 1e-7]


def drawn(draw: Random, depth: int = 0) -> Json:
    """Return JSON of any kind."""
    kind = draw.randrange(4 if depth < 4 else 2)
    if kind == 2:
        return [drawn(draw, depth + 1) for _ in range(draw.randrange(4))]
    return members(draw, depth) if kind == 3 else draw.choice(LEAVES)


def members(draw: Random, depth: int = 0) -> dict[str, Json]:
    """Return an object."""
    names = (f"{draw.choice('abé')}{draw.randrange(9)}" for _ in range(draw.randrange(5)))
    return {name: drawn(draw, depth + 1) for name in names}


def test_the_same_text() -> None:
    """Indented and sorted, indented alone, and without spaces: byte for byte."""
    draw = Random(0)
    for _ in range(300):
        value = members(draw)
        sorted_text = json.dumps(value, indent=2, sort_keys=True) + "\n"
        assert dump_json(value) == sorted_text.encode()
        assert indented(value) == json.dumps(value, indent=2)
        compact = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        assert b"".join(compact_blocks(value)) == compact


def test_what_is_no_json_is_turned_into_it_in_its_place() -> None:
    """In blocks far smaller than a long text."""
    values = {"files": {f"w{number}": number + 1j for number in range(9000)}, "last": 1}

    def parts(value: complex) -> Json:
        return {"re": value.real, "im": [value.imag]}

    blocks = list(json_blocks(values, parts))
    assert b"".join(blocks).decode() == (
        json.dumps(values, indent=2, sort_keys=True, default=parts) + "\n"
    )
    compact = list(compact_blocks(values, parts))
    assert b"".join(compact).decode() == json.dumps(
        values, sort_keys=True, separators=(",", ":"), default=parts
    )
    assert max(map(len, blocks)) < sum(map(len, blocks)) / 2
    assert max(map(len, compact)) < sum(map(len, compact)) / 2


def test_a_value_in_a_message() -> None:
    """As the file has it, in one short line of ASCII; what is no JSON as Python shows it."""
    values = (
        None,
        True,
        1.5,
        "relu",
        "caf\u00e9\n",
        [1, None],
        {"a": [True]},
        {(1, 2): 0.5},
        {3},
        1 << 20000,
    )
    assert [in_words(value) for value in values] == [
        *("null", "true", "1.5", "'relu'", r"'caf\xe9\n'", "[1, null]", '{"a": [true]}'),
        *("{(1, 2): 0.5}", "{3}", "an integer of thousands of digits"),
    ]
    assert (len(in_words("x" * 999)), len(in_words([0] * 999))) == (100, 100)
