"""`dtype_words`: a word for a dtype that no class reads is replaced by the dtype of the tensors, and said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckptconv
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.stores.companions import unreadable_dtypes
from covering import covering

if TYPE_CHECKING:
    from conftest import Pair

WORDS = ("auto", "fp16", "torch.float16", "", "FLOAT32", "float8_e4m3fn", "float8_none", 16, {})
KEYS = ("torch_dtype", "dtype", "encoder.torch_dtype", "decoder.dtype")
VERBS = ("pt2tf", "pt2flax", "normalize", "split")


def write(pair: Pair, folder: Path, key: str, word: Any) -> Path:
    """Write a pair whose config has a word at the root, or in a part."""
    part, _, name = key.rpartition(".")
    section = pair.config[part] if part else pair.config
    section[name] = word
    return pair.write(folder)


@pytest.mark.parametrize(("key", "word", "verb"), covering(KEYS, WORDS, VERBS))
def test_no_output_has_a_word_that_no_class_reads(
    pair: Pair, tmp_path: Path, key: str, word: Any, verb: str
) -> None:
    """Every verb that writes puts the tensors' dtype in its place, and says so; nothing else of the config changes."""
    source = write(pair, tmp_path / "source", key, word)
    target = tmp_path / verb
    notices = getattr(ckptconv, verb)(source, target).notices
    message = f"config.json: {key}: {word!a} is no dtype that a class reads; taken as float32"
    assert any(message in notice for notice in notices)
    if verb == "split":
        ckptconv.join(target / "encoder", target / "decoder", target / "joined")
    configs = list(target.rglob("config.json"))
    assert len(configs) == (4 if verb == "split" else 1)
    for config in configs:
        assert not list(unreadable_dtypes(json.loads(config.read_text())))


def test_the_words_that_classes_read_stay(pair: Pair, tmp_path: Path) -> None:
    """They may be wrong about the tensors, which is no fault: the class casts."""
    pair.config |= {"torch_dtype": "half", "dtype": None}
    pair.config["decoder"]["torch_dtype"] = "bfloat16"
    checkpoint = open_checkpoint(pair.write(tmp_path / "source"))
    assert checkpoint.dtype_words == ()
    assert checkpoint.config.values == pair.config
    assert checkpoint.notices == ()


@pytest.mark.thorough
def test_verify_names_the_key_instead_of_a_traceback(pair: Pair, tmp_path: Path) -> None:
    """No class loads such a checkpoint, so its outputs cannot be compared; its weights can."""
    source = write(pair, tmp_path / "source", "torch_dtype", "auto")
    ckptconv.pt2tf(source, tmp_path / "tf")
    with pytest.raises(
        ckptconv.SourceError, match="torch_dtype: 'auto' is no dtype in which a class"
    ):
        ckptconv.verify(source, tmp_path / "tf")
    with pytest.raises(ckptconv.SourceError, match="is no dtype"):
        ckptconv.record(source, tmp_path / "a.trace")
    assert ckptconv.verify(source, tmp_path / "tf", "weights").matches
    assert any("'auto' is no dtype" in line for line in ckptconv.inspect(source).reading)
