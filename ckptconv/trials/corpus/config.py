"""Malformed configs and settings: JSON that two readers read in two ways, and values that no model has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ckptconv.trials.case import MalformedCase
from ckptconv.trials.corpus._model import CONFIG
from ckptconv.trials.corpus._safetensors import whole

_CONFIG = "config.json"


def _text(text: str | bytes, file: str = _CONFIG) -> Callable[[Path], None]:
    """Return what builds the sound model with one of its JSON files replaced."""

    def build(folder: Path) -> None:
        (folder / _CONFIG).write_text(json.dumps(CONFIG))
        (folder / "model.safetensors").write_bytes(whole())
        (folder / file).write_bytes(
            text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        )

    return build


def _spelt(change: Callable[[str], str]) -> Callable[[Path], None]:
    return _text(change(json.dumps(CONFIG)))


def _with(**values: object) -> Callable[[Path], None]:
    """Return what builds the sound model with other values at the top of its config."""
    return _text(json.dumps(CONFIG | values))


def _side(side: str, **values: object) -> Callable[[Path], None]:
    part: Any = CONFIG[side]
    return _with(**{side: part | values})


def _part(side: str) -> dict[str, Any]:
    part: Any = CONFIG[side]
    return dict(part)


def _without(key: str, side: str = "") -> Callable[[Path], None]:
    values: dict[str, Any] = json.loads(json.dumps(CONFIG))
    del (values[side] if side else values)[key]
    return _text(json.dumps(values))


_JSON = "not valid JSON"
_WHOLE = "must be an integer"
_TOKENIZER, _GENERATION = "tokenizer_config.json", "generation_config.json"
# A size that is none, as JSON spells it, and what the refusal says.
_SIZES: tuple[tuple[str, object, str], ...] = (
    ("null", None, f"{_WHOLE}|expected|hidden_size"),
    ("text", "2", f"{_WHOLE}, found '2'"),
    ("fraction", 2.0, f"{_WHOLE}, found 2.0"),
    ("flag", True, f"{_WHOLE}, found true"),
    ("negative", -2, f"{_WHOLE}, found -2"),
    ("list", [2], f"{_WHOLE}, found a list"),
    ("object", {}, f"{_WHOLE}, found an object"),
    ("of-20-digits", 10**20, "problems"),
    ("of-64-digits", 10**63, "problems"),
    ("of-65-digits", 10**64, "a number of 65 digits"),
    ("zero", 0, "would have no elements"),
    ("other", 3, "problems"),
)
# name, what a reader that does not look would do, what the refusal says, how it is built
_TABLE: tuple[tuple[str, str, str, Callable[[Path], None]], ...] = (
    # JSON.
    ("empty-file", "a download that never began", _JSON, _text("")),
    ("list", "no keys", "expected a JSON object, found a list", _text("[]")),
    ("text", "no keys", "expected a JSON object, found '{}'", _text('"{}"')),
    ("null", "no keys", "expected a JSON object, found null", _text("null")),
    ("number", "no keys", "expected a JSON object, found 7", _text("7")),
    ("cut", "a download that stopped", _JSON, _spelt(lambda text: text[:-5])),
    ("object-behind", "two configs", _JSON, _spelt(lambda text: text + "{}")),
    ("comma-last", "a lenient parser", _JSON, _spelt(lambda text: text[:-1] + ",}")),
    ("comment", "a lenient parser", _JSON, _spelt(lambda text: "// mine\n" + text)),
    ("single-quotes", "a lenient parser", _JSON, _spelt(lambda text: text.replace('"', "'"))),
    (
        "byte-order-mark",
        "another encoding that Python guesses",
        _JSON,
        _spelt(lambda text: "\ufeff" + text),
    ),
    (
        "utf-16",
        "another encoding that Python guesses",
        _JSON,
        _text(json.dumps(CONFIG).encode("utf-16")),
    ),
    (
        "utf-32",
        "another encoding that Python guesses",
        _JSON,
        _text(json.dumps(CONFIG).encode("utf-32")),
    ),
    ("latin-1", "a text that is guessed", "is not UTF-8", _text(b'{"a": "\xe9"}')),
    ("zeros-behind", "a disk that lost it", _JSON, _spelt(lambda text: text + "\0" * 9)),
    (
        "control-character",
        "a lenient parser",
        _JSON,
        _spelt(lambda text: text.replace("bert", "be\nrt", 1)),
    ),
    (
        "key-twice",
        "two readers that disagree",
        "key 'model_type' stands twice",
        _spelt(lambda text: '{"model_type": "t5",' + text[1:]),
    ),
    (
        "key-twice-escaped",
        "two readers that disagree",
        "key 'model_type' stands twice",
        _spelt(lambda text: '{"model\\u005ftype": "t5",' + text[1:]),
    ),
    (
        "key-twice-inside",
        "two readers that disagree",
        "key 'hidden_size' stands twice",
        _spelt(
            lambda text: text.replace('"hidden_size": 2', '"hidden_size": 3, "hidden_size": 2', 1)
        ),
    ),
    (
        "side-twice",
        "two readers that disagree",
        "key 'encoder' stands twice",
        _spelt(lambda text: '{"encoder": {},' + text[1:]),
    ),
    (
        "many-keys-twice",
        "time that grows with the square",
        "stands twice",
        _text("{" + ",".join(f'"{n % 9000}":1' for n in range(200_000)) + "}"),
    ),
    ("nan", "a number that is none", "NaN is not JSON", _with(dropout=float("nan"))),
    ("infinity", "a number without end", "Infinity is not JSON", _with(dropout=float("inf"))),
    (
        "minus-infinity",
        "a number without end",
        "-Infinity is not JSON",
        _with(dropout=-float("inf")),
    ),
    (
        "number-too-large",
        "a number without end",
        "1e400 is too large a number",
        _spelt(lambda text: '{"a": 1e400,' + text[1:]),
    ),
    (
        "number-of-5000-digits",
        "an error of Python's",
        "a number of 5000 digits",
        _spelt(lambda text: '{"a": ' + "9" * 5000 + "," + text[1:]),
    ),
    (
        "number-of-10-million-digits",
        "minutes for one number",
        "a number of 10000000 digits",
        _spelt(lambda text: '{"a": ' + "9" * 10_000_000 + "," + text[1:]),
    ),
    ("65-levels", "a full stack", "deeper than 64 levels", _text('{"a":' * 65 + "1" + "}" * 65)),
    (
        "100000-levels",
        "a full stack",
        "deeper than 64 levels",
        _text('{"a":' * 100_000 + "1" + "}" * 100_000),
    ),
    (
        "lists-without-end",
        "a full stack",
        "deeper than 64 levels",
        _text('{"a":' + "[" * 5_000_000),
    ),
    (
        "brackets-in-both-kinds",
        "a full stack",
        "deeper than 64 levels",
        _text('{"a":' + '[{"a":' * 99 + "1" + "}]" * 99 + "}"),
    ),
    (
        "half-a-surrogate-pair",
        "a text that cannot be written",
        "half a surrogate pair",
        _spelt(lambda text: '{"a": "\\ud800",' + text[1:]),
    ),
    (
        "half-a-surrogate-pair-as-key",
        "a text that cannot be written",
        "half a surrogate pair",
        _spelt(lambda text: '{"\\udc00": 1,' + text[1:]),
    ),
    (
        "surrogate-in-utf-8",
        "a text that cannot be written",
        "is not UTF-8",
        _spelt(lambda text: '{"a": "\ud800",' + text[1:]),
    ),
    ("17-MiB", "memory", "--limit json_bytes=N", _spelt(lambda text: text + " " * (17 << 20))),
    # What the config says.
    (
        "no-model-type",
        "a table that is guessed",
        "no 'model_type', which says what the model is",
        _without("model_type"),
    ),
    ("model-type-of-one-piece", "another model", "missing +decoder", _with(model_type="t5")),
    (
        "model-type-a-list",
        "what cannot be looked up",
        "model type .* is no encoder-decoder",
        _with(model_type=["bert"]),
    ),
    (
        "model-type-an-escape",
        "commands for a terminal",
        r"model type '\\x1b\[2J' is no",
        _with(model_type="\x1b[2J"),
    ),
    (
        "no-encoder",
        "half a model",
        "'encoder' must be an object, found nothing",
        _without("encoder"),
    ),
    (
        "encoder-a-list",
        "half a model",
        "'encoder' must be an object, found a list",
        _with(encoder=[]),
    ),
    (
        "decoder-a-text",
        "half a model",
        "'decoder' must be an object, found 'bert'",
        _with(decoder="bert"),
    ),
    (
        "decoder-null",
        "half a model",
        "'decoder' must be an object, found nothing",
        _with(decoder=None),
    ),
    (
        "side-without-model-type",
        "a table that is guessed",
        "'model_type' must be a string, found nothing",
        _without("model_type", "encoder"),
    ),
    (
        "side-of-an-unknown-type",
        "a table that is guessed",
        "no table for model type 'bret'",
        _side("encoder", model_type="bret"),
    ),
    (
        "side-with-a-path-for-a-type",
        "code of another place",
        "no table for model type",
        _side("encoder", model_type="../../evil"),
    ),
    (
        "side-with-a-module-for-a-type",
        "code that is imported",
        "no table for model type",
        _side("encoder", model_type="os"),
    ),
    (
        "side-with-dunder-for-a-type",
        "code that is imported",
        "no table for model type",
        _side("decoder", model_type="__init__"),
    ),
    (
        "side-with-a-number-for-a-type",
        "what cannot be looked up",
        "'model_type' must be a string, found 7",
        _side("decoder", model_type=7),
    ),
    (
        "decoder-that-does-not-decode",
        "a model that reads nothing",
        "'is_decoder' must be true",
        _side("decoder", is_decoder=False),
    ),
    (
        "decoder-flag-a-number",
        "one taken for true",
        "'is_decoder' must be a boolean, found 1",
        _side("decoder", is_decoder=1),
    ),
    (
        "decoder-without-cross-attention",
        "a model that reads nothing",
        "'add_cross_attention' must be true",
        _side("decoder", add_cross_attention=False),
    ),
    ("a-billion-layers", "memory", "at most", _side("encoder", num_hidden_layers=10**9)),
    (
        "two-layers-for-one",
        "memory that was never filled",
        "problems",
        _side("encoder", num_hidden_layers=2),
    ),
    ("no-layers", "tensors that nobody sees", "problems", _side("encoder", num_hidden_layers=0)),
    ("larger-vocabulary", "reads into the next", "problem", _side("decoder", vocab_size=51)),
    (
        "record-a-list-of-numbers",
        "a record that is not ours",
        "must be a list of objects",
        _with(ckptconv={"healed": [1]}),
    ),
    # The settings beside it.
    (
        "generation-cut",
        "a download that stopped",
        f"{_GENERATION}: {_JSON}",
        _text("{", _GENERATION),
    ),
    (
        "generation-a-list",
        "no keys",
        f"{_GENERATION}: expected a JSON object",
        _text("[]", _GENERATION),
    ),
    (
        "generation-key-twice",
        "two readers that disagree",
        f"{_GENERATION}: .*'a' stands twice",
        _text('{"a":1,"a":2}', _GENERATION),
    ),
    (
        "generation-nan",
        "a number that is none",
        f"{_GENERATION}: .*NaN is not JSON",
        _text('{"a":NaN}', _GENERATION),
    ),
    (
        "tokenizer-cut",
        "a download that stopped",
        f"{_TOKENIZER}: {_JSON}",
        _text('{"auto_map":', _TOKENIZER),
    ),
    (
        "tokenizer-key-twice",
        "code that only others see",
        f"{_TOKENIZER}: .*'auto_map' stands twice",
        _text('{"auto_map":{},"auto_map":{"AutoTokenizer":["evil.T",null]}}', _TOKENIZER),
    ),
    (
        "tokenizer-deep",
        "a full stack",
        f"{_TOKENIZER}: .*deeper than 64 levels",
        _text('{"a":' * 99 + "1" + "}" * 99, _TOKENIZER),
    ),
)

_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
_STAND_INS: tuple[tuple[str, str, str, Callable[[Path], None]], ...] = (
    ("git-lfs-pointer", "no config at all", f"{_CONFIG}: .*a Git LFS pointer", _text(_POINTER)),
    ("html", "no config at all", f"{_CONFIG}: {_JSON}", _text("<!DOCTYPE html><html></html>")),
    (
        "generation-git-lfs-pointer",
        "no settings at all",
        f"{_GENERATION}: .*a Git LFS pointer",
        _text(_POINTER, _GENERATION),
    ),
)

_QUANTISED = {"quant_method": "gptq", "bits": 4}
# name, what a reader that does not look would do, what the refusal says, values of the config's top
_LEADING: tuple[tuple[str, str, str, dict[str, object]], ...] = (
    (
        "quantised",
        "codes taken for weights",
        r"quantised \('gptq'\)",
        {"quantization_config": _QUANTISED},
    ),
    (
        "quantised-part",
        "codes taken for weights",
        r"quantised \('gptq'\)",
        {"decoder": {**_part("decoder"), "quantization_config": _QUANTISED}},
    ),
    (
        "other-weights",
        "weights that the class does not load",
        "'transformers_weights'",
        {"transformers_weights": "x"},
    ),
    (
        "other-config",
        "a config that the class does not read",
        "'configuration_files'",
        {"configuration_files": ["x"]},
    ),
)

CASES = (
    *(
        MalformedCase(f"config-{name}", threat, build, says)
        for name, threat, says, build in _STAND_INS
    ),
    *(
        MalformedCase(f"config-{name}", threat, _with(**changes), says)
        for name, threat, says, changes in _LEADING
    ),
    *(
        MalformedCase(
            f"config-size-{name}",
            "a size that is guessed",
            _side("encoder", hidden_size=value),
            says,
        )
        for name, value, says in _SIZES
    ),
    *(MalformedCase(f"config-{name}", threat, build, says) for name, threat, says, build in _TABLE),
)
