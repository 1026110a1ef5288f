"""What travels with a model: settings and tokenizer byte for byte, never code, nothing from elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.stores.companions import CODE_KEYS, copy_companions, left_behind, write_config
from written import as_nobody

if TYPE_CHECKING:
    from conftest import Pair


def folder(path: Path, files: dict[str, str]) -> Path:
    """Make a directory of text files."""
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_files_travel_byte_for_byte(tmp_path: Path) -> None:
    """Settings and tokenizer come along as they stand, odd spacing and all; nothing else does."""
    files = {
        "generation_config.json": '{"a":  1}\n\n',
        "tokenizer_config.json": "{ }",
        "vocab.txt": "\r\n[PAD]",
    }
    source = folder(
        tmp_path / "source", {**files, "notes.md": "mine", "evil.py": "", "pytorch_model.bin": ""}
    )
    target = folder(tmp_path / "target", {})
    copy_companions(source, target)
    assert {path.name: path.read_bytes().decode() for path in target.iterdir()} == files
    assert list(left_behind(source)) == ["left behind: evil.py (ckptconv never copies code)"]


HOOKED: list[tuple[dict[str, Json], list[str], dict[str, Json]]] = [
    *(
        ({key: value, "a": 1}, [key], {"a": 1})
        for key in CODE_KEYS
        for value in ({"AutoModel": "x.Y"}, True, None)
    ),
    ({"encoder": {"auto_map": {}, "b": 2}}, ["encoder.auto_map"], {"encoder": {"b": 2}}),
    ({"list": [1, {"trust_remote_code": True}]}, ["list[1].trust_remote_code"], {"list": [1, {}]}),
    (
        {"a": {"b": {"c": {"d": {"e": {"auto_map": 1}}}}}},
        ["a.b.c.d.e.auto_map"],
        {"a": {"b": {"c": {"d": {"e": {}}}}}},
    ),
    ({"auto_map": {"auto_map": 1}, "custom_pipelines": {}}, ["auto_map", "custom_pipelines"], {}),
]


@pytest.mark.parametrize(("config", "hooks", "clean"), HOOKED)
def test_keys_that_lead_to_code(
    tmp_path: Path, config: dict[str, Json], hooks: list[str], clean: dict[str, Json]
) -> None:
    """They are named, and stand in no file that is written, however deep they lie and however JSON spells them."""
    names = ("config.json", "generation_config.json", "tokenizer_config.json")
    text = json.dumps(config).replace('"auto_map"', '"\\u0061uto_map"')
    source, target = (
        folder(tmp_path / "source", dict.fromkeys(names, text)),
        folder(tmp_path / "target", {}),
    )
    why = "(keys that make a loader run code)"
    assert list(left_behind(source)) == [
        f"left behind: {name}: {', '.join(hooks)} {why}" for name in names
    ]
    copy_companions(source, target)
    write_config(target, config)
    assert [json.loads((target / name).read_text()) for name in names] == [clean] * 3


def test_many_keys_are_counted(tmp_path: Path) -> None:
    """A notice names five and counts the others."""
    source = folder(
        tmp_path / "source",
        {"config.json": json.dumps({f"p{n}": {"auto_map": 1} for n in range(9)})},
    )
    shown = ", ".join(f"p{n}.auto_map" for n in range(5))
    why = "(keys that make a loader run code)"
    assert list(left_behind(source)) == [f"left behind: config.json: {shown} and 4 more {why}"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda path: path.symlink_to("/etc/hostname"),
            "is a link that leads out of the checkpoint",
        ),
        (lambda path: path.symlink_to("nowhere"), "cannot be read (No such file or directory)"),
        (os.mkfifo, "is a pipe, not a file"),
        (Path.mkdir, "is a directory, not a file"),
    ],
)
@pytest.mark.parametrize("name", ["vocab.txt", "generation_config.json", "tokenizer.json"])
def test_what_is_no_file_of_the_checkpoint(
    tmp_path: Path, name: str, make: Callable[[Path], None], says: str
) -> None:
    """A link to a private file is not copied, and a pipe does not make us wait."""
    source, target = folder(tmp_path / "source", {}), folder(tmp_path / "target", {})
    make(source / name)
    with pytest.raises(SourceError) as refusal:
        copy_companions(source, target)
    assert str(refusal.value).startswith(f"{source / name}: {says}")
    assert list(target.iterdir()) == []


TRAVELS = {
    "LICENSE": True,
    "LICENCE.txt": True,
    "license-apache-2.0.md": True,
    "NOTICE": True,
    "USE_POLICY.md": True,
    "README.de.md": True,
    "license.sh": False,
    "README.md": True,
    "model_card.md": True,
    "CITATION.cff": True,
    "preprocessor_config.json": True,
    "processor_config.json": True,
    "chat_template.json": True,
    "tokenizer.4.0.0.json": True,
    "decoder_tokenizer/tokenizer_config.json": True,
    "decoder_tokenizer/vocab.txt": True,
    "tokenizer/spiece.model": True,
    "decoder_tokenizer/notes.txt": False,
    "checkpoint-500/config.json": False,
    "checkpoint-500/tokenizer.json": False,
    ".cache/tokenizer.json": False,
    "optimizer.pt": False,
    "licensed.bin": False,
    "readme_generator.py": False,
}


def test_what_belongs_to_a_model(tmp_path: Path) -> None:
    """Licence, card, processors and tokenizers in folders of their own travel; other checkpoints and code do not."""
    source = folder(tmp_path / "source", {})
    for name in TRAVELS:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("{}")
    (source / "linked").symlink_to(source / "decoder_tokenizer")
    (source / "license").mkdir()
    target = folder(tmp_path / "target", {})
    copy_companions(source, target)
    copied = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert copied == {name for name, travels in TRAVELS.items() if travels}
    part = folder(tmp_path / "part", {})
    copy_companions(source, part, "encoder")
    assert {"LICENSE", "NOTICE", "preprocessor_config.json"} < {
        path.name for path in part.iterdir()
    }
    assert not {"README.md", "decoder_tokenizer"} & {path.name for path in part.iterdir()}


def test_a_conversion_takes_them_along(pair: Pair, tmp_path: Path) -> None:
    """The manifest of the output names them, and `check` finds them whole; `join` says what it leaves."""
    pair.files.update({"LICENSE": "mine", "README.md": "card"})
    source = pair.write(tmp_path / "source")
    (source / "encoder_tokenizer").mkdir()
    (source / "encoder_tokenizer" / "vocab.txt").write_text("[PAD]")
    ckptconv.pt2tf(source, tmp_path / "tf")
    ckptconv.split(source, tmp_path / "parts")
    manifest = json.loads((tmp_path / "tf" / "ckptconv.json").read_text())
    names = {"LICENSE", "README.md", "encoder_tokenizer/vocab.txt"}
    assert names < set(manifest["files"])
    assert names < set(manifest["sources"]["source"])
    assert ckptconv.check(tmp_path / "tf").whole
    assert ckptconv.check(tmp_path / "parts").whole
    assert (tmp_path / "parts" / "decoder" / "LICENSE").read_text() == "mine"
    for side in ("encoder", "decoder"):
        (tmp_path / "parts" / side).rename(tmp_path / side)
    joined = ckptconv.join(tmp_path / "encoder", tmp_path / "decoder", tmp_path / "joined")
    assert [notice for notice in joined.notices if notice.startswith("not taken")] == [
        f"not taken along: LICENSE (of {tmp_path / side})" for side in ("encoder", "decoder")
    ]


def test_a_companion_that_appears_is_noticed(pair: Pair, tmp_path: Path) -> None:
    """What is there only since the conversion began is not published; nor is a directory from which a file went."""
    for number, name in enumerate(("vocab.txt", "LICENSE", "tok/vocab.txt")):
        source = pair.write(tmp_path / str(number))
        checkpoint = open_checkpoint(source)
        checkpoint.require_unchanged()
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("new")
        with pytest.raises(SourceError, match="appeared while the other files were read"):
            checkpoint.require_unchanged()
        checkpoint = open_checkpoint(source)
        checkpoint.require_unchanged()
        (source / name).unlink()
        with pytest.raises(SourceError, match="changed while it was read"):
            checkpoint.require_unchanged()


@pytest.mark.parametrize("name", ["vocab.txt", "spiece.model", "tokenizer.json", "LICENSE"])
def test_a_pointer_in_place_of_a_companion(pair: Pair, tmp_path: Path, name: str) -> None:
    """What a clone without git-lfs, or a download that went wrong, left in place of a tokenizer does not travel."""
    pair.files[name] = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 9\n"
    )
    source = pair.write(tmp_path / "pointer")
    for verb in (ckptconv.normalize, ckptconv.pt2tf, ckptconv.split):
        with pytest.raises(SourceError, match="found a Git LFS pointer in its place"):
            verb(source, tmp_path / "target")
    (source / name).write_text("<!DOCTYPE html><html></html>")
    if name == "LICENSE":
        ckptconv.normalize(source, tmp_path / "target")
        return
    with pytest.raises(SourceError, match="found a page of HTML in its place"):
        ckptconv.normalize(source, tmp_path / "target")


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_a_pointer_in_place_of_json(pair: Pair, tmp_path: Path, name: str) -> None:
    """It is called what it is, and not JSON that is malformed."""
    source = pair.write(tmp_path / "source")
    (source / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SourceError, match=r"(?s)a Git LFS pointer.*git lfs pull"):
        ckptconv.normalize(source, tmp_path / "target")


ENTER = """
import ckptconv
ckptconv.inspect(sys.argv[2])  # imports what it needs
become_nobody()
for name in sys.argv[1:]:
    try:
        print(ckptconv.inspect(name).kind)
    except ckptconv.SourceError as error:
        print(error)
"""


def test_a_folder_that_may_not_be_entered(pair: Pair, tmp_path: Path) -> None:
    """It could hold a tokenizer, and the refusal says so; one that cannot by its name is not looked into."""
    source, cached = (pair.write(tmp_path / name) for name in ("source", "cached"))
    for folder in (source / "private", cached / ".cache"):
        folder.mkdir(mode=0)
    first, advice, kind = as_nobody(ENTER, source, cached).splitlines()
    assert first == (
        f"{source}/private: this folder cannot be read (Permission denied); it could hold a tokenizer or a processor,"
        " which go where the weights go."
    )
    assert (advice, kind) == ("Allow reading it, or move it out of the checkpoint.", "pair")
