"""Keys by which a loader would read another file, fetch or run code: none stands in an output, and each is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckptconv
import leading
import loader_keys
from ckptconv.base.errors import SourceError
from ckptconv.stores.companions import (
    ARGUMENT_KEYS,
    CODE_KEYS,
    FILE_KEYS,
    KERNEL_KEYS,
    KERNELS,
    PATH_KEY,
    leads,
    without_leads,
)

if TYPE_CHECKING:
    from conftest import Counted, Pair


@pytest.mark.parametrize("key", KERNEL_KEYS)
@pytest.mark.parametrize("above", ["", "encoder", "decoder", "a.b.c"])
def test_a_kernel_of_the_hub_does_not_travel(key: str, above: str) -> None:
    """Known names stay, alone or for parts; every other value of the key is dropped, at any depth."""
    for value, stays in (
        *((name, True) for name in (*KERNELS, *(f"paged|{name}" for name in KERNELS), None)),
        ({"": "sdpa", "vision": None}, True),
        ("evil-org/evil-kernel", False),
        ("flash_attention_2@main", False),
        ("Eager", False),
        ("", False),
        (["sdpa"], False),
        (1, False),
        ({"": "sdpa", "text": "evil-org/kernel"}, False),
    ):
        content: dict[str, Any] = {key: value, "x": 1}
        expected: dict[str, Any] = content if stays else {"x": 1}
        for level in reversed(above.split(".") if above else []):
            content, expected = {level: content}, {level: expected}
        places = [lead.place for lead in leads("config.json", content)]
        assert places == ([] if stays else [f"{above}.{key}".lstrip(".")])
        assert without_leads("config.json", content) == expected


def test_what_travels_says_what_did_not(pair: Pair, tmp_path: Path) -> None:
    """A conversion names kernels and paths, by file and kind, and writes neither."""
    pair.config["encoder"]["attn_implementation"] = "evil-org/evil-kernel"
    pair.config["decoder"]["_attn_implementation"] = "sdpa"
    pair.files["tokenizer_config.json"] = json.dumps({"vocab_file": "/etc/passwd", "a": 1})
    pair.files["special_tokens_map.json"] = json.dumps({"merges_file": "../x", "b": "[B]"})
    notices = ckptconv.normalize(pair.write(tmp_path / "a"), tmp_path / "b").notices
    kernel = "no attention kernel that transformers has itself: a loader would fetch and run it"
    assert [notice for notice in notices if notice.startswith("left behind: ")] == [
        f"left behind: config.json: encoder.attn_implementation ({kernel})",
        "left behind: tokenizer_config.json: vocab_file (keys that make a loader read another file)",
        "left behind: special_tokens_map.json: merges_file (keys that make a loader read another file)",
    ]
    written = {path.name: json.loads(path.read_text()) for path in (tmp_path / "b").glob("*.json")}
    assert "evil" not in json.dumps(written["config.json"])
    assert written["config.json"]["decoder"]["_attn_implementation"] == "sdpa"
    assert written["tokenizer_config.json"] == {"a": 1}
    assert written["special_tokens_map.json"] == {"b": "[B]"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transformers_weights", "other.safetensors"),
        ("transformers_weights", ""),
        ("transformers_weights", 5),
        ("configuration_files", ["config.4.0.0.json"]),
        ("configuration_files", "config.4.0.0.json"),
        ("configuration_files", {"a": 1}),
    ],
)
@pytest.mark.parametrize("verb", ["normalize", "pt2tf", "pt2flax", "split", "inspect", "verify"])
def test_another_config_or_other_weights(
    pair: Pair, tmp_path: Path, verb: str, key: str, value: object
) -> None:
    """Where the real class would read another file than we do, every verb refuses and names the key."""
    pair.config[key] = value
    source = pair.write(tmp_path / "a")
    arguments: dict[str, tuple[Any, ...]] = {
        "inspect": (source,),
        "verify": (source, source, "weights"),
    }
    with pytest.raises(SourceError) as refusal:
        getattr(ckptconv, verb)(*arguments.get(verb, (source, tmp_path / "b")))
    assert f"config.json: '{key}': " in str(refusal.value)
    assert not (tmp_path / "b").exists()


def test_an_adapter_beside_the_weights(pair: Pair, tmp_path: Path) -> None:
    """The classes would load another model and the adapter: refused, with what to do."""
    pair.files["adapter_config.json"] = '{"base_model_name_or_path": "x/y"}'
    with pytest.raises(SourceError, match=r"adapter_config\.json lies beside the weights"):
        ckptconv.normalize(pair.write(tmp_path / "a"), tmp_path / "b")


@pytest.mark.parametrize("value", [None, [], ["config.json"]])
def test_values_that_lead_nowhere(pair: Pair, tmp_path: Path, value: object) -> None:
    """None, nothing and the file itself are no other file."""
    pair.config.update(configuration_files=value, transformers_weights=None)
    ckptconv.normalize(pair.write(tmp_path / "a"), tmp_path / "b")


def transformers_source() -> Path:
    """Return the installed package's folder, without importing it."""
    from importlib.util import find_spec

    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        pytest.skip("transformers is not installed")
    return Path(spec.origin).parent


@pytest.mark.thorough
def test_every_vocabulary_argument_is_a_path_key() -> None:
    """What tokenizers of the installed transformers call their files is what we take for a path in their JSON."""
    arguments = set()
    for file in transformers_source().glob("models/*/tokenization_*.py"):
        arguments |= loader_keys.vocabulary_arguments(file)
    assert {"vocab_file", "merges_file", "tokenizer_file", "spm_file"} < arguments
    assert sorted(name for name in arguments if not PATH_KEY.fullmatch(name)) == []


@pytest.mark.thorough
def test_every_attention_kernel_is_known() -> None:
    """What the installed transformers has itself is in our list."""
    kernels = loader_keys.attention_kernels(transformers_source())
    assert {"sdpa", "flash_attention_2", "flex_attention"} < kernels
    assert kernels <= set(KERNELS) | {f"paged|{name}" for name in KERNELS}


FILES = (
    ("config.json", ""),
    ("config.json", "encoder"),
    ("config.json", "decoder"),
    ("generation_config.json", ""),
    ("tokenizer_config.json", ""),
    ("special_tokens_map.json", ""),
)


SAMPLE = (("config.json", "decoder", False), ("tokenizer_config.json", "", True))
"""What `make test` tries: a part's config, and the tokenizer's own."""


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("file", "part", "slow"),
    [
        pytest.param(
            file, part, slow, marks=() if (file, part, slow) in SAMPLE else pytest.mark.soak
        )
        for file, part in FILES
        for slow in (False, True)
    ],
)
def test_no_other_key_leads_elsewhere(
    tmp_path: Path, dates: Path, file: str, part: str, slow: bool, counted: Counted
) -> None:
    """Each key that the loading code looks up is set to what leads elsewhere; the real classes then load the model.

    Whatever key makes them touch another file, the hub, kernels or code is one that we drop, follow or refuse.
    One key in 24 is tried, all with CKPTCONV_KEYS=1, which takes about a minute of CPU time for each file.
    `CKPTCONV_TRANSFORMERS` may name a folder with another version of transformers.
    """
    if slow and "token" not in file:
        pytest.skip("models have no slow form")
    source = tmp_path / "source"
    shutil.copytree(dates, source)
    if slow:
        leading.make_slow(source)
    setting = os.environ.get("CKPTCONV_TRANSFORMERS")
    process = subprocess.run(
        [sys.executable, leading.__file__, str(source), file, part],
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "USE_TF": "0",
            "USE_FLAX": "0",
            "CKPTCONV_KEYS": os.environ.get("CKPTCONV_KEYS", "24"),
            "OMP_NUM_THREADS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            **({"PYTHONPATH": setting} if setting else {}),
        },
        capture_output=True,
        text=True,
        timeout=1800,
        check=True,
    )
    document = json.loads(process.stdout.splitlines()[-1])
    counted(
        f"{document['keys']} keys in {file} {part}: {', '.join(document['touched'])} lead elsewhere"
    )
    followed = {"fast_tokenizer_files"}
    handled = {*CODE_KEYS, *KERNEL_KEYS, *FILE_KEYS, *followed}
    tokens = file in ("tokenizer_config.json", "special_tokens_map.json")
    unhandled = [
        key
        for key in document["touched"]
        if key not in handled and not (tokens and (PATH_KEY.fullmatch(key) or key in ARGUMENT_KEYS))
    ]
    assert unhandled == []
