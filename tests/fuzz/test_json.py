"""Mutants of configs and indexes: bytes, and tokens; what Python's own parser refuses, we refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import dump_json, read_json
from ckptconv.schema.config import Config
from ckptconv.stores.companions import leads, require_own_files, without_leads
from ckptconv.stores.parsers.shard_index import read_index
from fuzz.harness import count, fuzz, mutant, scrambled
from fuzz.within import rewrite

if TYPE_CHECKING:
    from conftest import Counted

TOKENS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"null",
    b"true",
    b"-0",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"1e-999",
    b"9" * 70,
    b"9" * 5000,
    b"0x10",
    b"01",
    b"+1",
    b".5",
    b"1.",
    b'"\\ud800"',
    b'"\\ud83d\\ude00"',
    b'"\\u0000"',
    b'"\\x41"',
    b'"a',
    b"'a'",
    b'"vocab_size"',
    b'"encoder"',
    b"/**/",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xed\xa0\x80",
    b"\0",
    b"[" * 90,
    b"{}" * 3,
    b'{"a":' * 70,
    b'"../x"',
    b'"CON"',
    b"\xe2\x80\xa8",
)
"""For the place of others, or between them."""
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
SEEDS = tuple(
    json.dumps(value, indent=indent, ensure_ascii=not indent).encode()
    for value, indent in (
        (
            {
                "model_type": "x",
                "a": [1, -2.5e3, None, True, {"b": {}}],
                "vocab_size": 7,
                "s": "\u00e9\n\U0001f600",
            },
            None,
        ),
        ({"encoder": {"model_type": "bert", "hidden_size": 2}, "decoder": {}, "s": "\u00e9"}, 2),
        (
            {
                "metadata": {"total_size": 12},
                "weight_map": {"a.b": "model-1.safetensors", "c": "m.bin"},
            },
            None,
        ),
        (
            {
                "metadata": {"total_size": 12.0, "x": [{"y": None}], "format": "pt"},
                "weight_map": {"": "model-1.safetensors", "a//b:0": "m.bin", "\u00e9": "m.bin"},
                "more": [0],
            },
            None,
        ),
        (
            {
                "attn_implementation": {"": "sdpa", "text": "o/k"},
                "decoder": {"_attn_implementation": "o/k", "quantization_config": {"bits": 4}},
                "configuration_files": ["config.json"],
                "transformers_weights": None,
            },
            None,
        ),
    )
)


def mixed(chance: Random, raw: bytes) -> bytes:
    """Return bytes changed anywhere, or a token in the place of another, before it, or standing twice."""
    if chance.random() < 0.4:
        return scrambled(chance, raw)
    for _ in range(chance.choice((1, 1, 2))):
        result = chance.choice(list(TOKEN.finditer(raw)) or [re.match(b"", raw)])
        assert result
        new = chance.choice((*TOKENS, result[0] * 2, b""))
        raw = (
            raw[: result.start()]
            + new
            + raw[chance.choice((result.start(), result.end(), result.end())) :]
        )
    return raw


def use(path: Path) -> object:
    """Read a file in the ways in which ckptconv reads JSON, and write it again."""
    config = Config(read_json(path))
    dump_json(config.values)
    assert not list(leads(path.name, without_leads(path.name, config.values)))
    require_own_files(config)
    for ask in (config.size, config.sizes, config.words, config.flag, config.text, config.part):
        for key in ("a", "encoder", "vocab_size", "model_type"):
            try:
                ask(key)
            except SourceError as error:
                if not str(error).isascii():
                    raise AssertionError(error) from None
    return read_index(path) if "weight_map" in config.values else config


@pytest.mark.fuzz
def test_mutants(tmp_path: Path, counted: Counted) -> None:
    """Each is an object or a refusal, and each value of it a value or a refusal."""
    result = fuzz("json", SEEDS, mixed, use, tmp_path / "config.json")
    assert result.refused < result.mutants
    counted(result)


@pytest.mark.fuzz
def test_what_python_refuses(tmp_path: Path, counted: Counted) -> None:
    """Every mutant that `json.loads` refuses is refused; what we read is what it reads, and can be written as UTF-8."""
    path, refused, alone = tmp_path / "config.json", 0, 0
    path.touch()
    total = count(20_000)
    for number in range(total):
        raw = mutant("json", SEEDS, mixed, number)
        rewrite(path, raw)
        try:
            theirs = json.loads(raw)
        except (ValueError, RecursionError):
            theirs = None
        try:
            ours = read_json(path)
        except SourceError:
            refused += theirs is None
            alone += theirs is not None
            continue
        assert ours == theirs, f"mutant {number}: {raw!r}"
        assert json.dumps(ours, ensure_ascii=False, allow_nan=False).encode()
    assert refused > total // 3
    counted(
        f"{total:,} mutants of JSON, both parsers: both refuse {refused:,}, ckptconv alone {alone:,}"
    )
