"""Indexes that lie or lead out of the checkpoint, and files that are links, pipes or directories."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ckptconv.trials.case import MalformedCase
from ckptconv.trials.corpus._model import CONFIG, shapes, values

_NAME = next(iter(shapes()))
_ONE, _TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
_INDEX = "model.safetensors.index.json"


def _shard(path: Path, names: list[str]) -> int:
    """Write some of the model's tensors; return their size [bytes]."""
    entries, data = {}, b""
    for name in names:
        raw = values(shapes()[name])
        entries[name] = {
            "dtype": "F32",
            "shape": list(shapes()[name]),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return len(data)


def _sharded(folder: Path) -> dict[str, Any]:
    """Write the sound model in two shards; return its index."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    names = list(shapes())
    parts = {_ONE: names[:20], _TWO: names[20:]}
    size = sum(_shard(folder / file, tensors) for file, tensors in parts.items())
    weight_map = {name: file for file, tensors in parts.items() for name in tensors}
    return {"metadata": {"total_size": size}, "weight_map": weight_map}


def _index(
    change: Callable[[dict[str, Any]], object], spell: Callable[[str], str] = str
) -> Callable[[Path], None]:
    """Return what builds the sharded model with its index changed, as an object or as text."""

    def build(folder: Path) -> None:
        index = _sharded(folder)
        change(index)
        (folder / _INDEX).write_text(spell(json.dumps(index)))

    return build


def _said(text: str) -> Callable[[Path], None]:
    return _index(lambda index: None, lambda _: text)


def _mapped(name: str, file: object) -> Callable[[Path], None]:
    return _index(lambda index: index["weight_map"].update({name: file}))


def _total(size: object) -> Callable[[Path], None]:
    return _index(lambda index: index["metadata"].update(total_size=size))


def _then(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what builds the sound sharded model and then changes its folder."""

    def build(folder: Path) -> None:
        _index(lambda index: None)(folder)
        change(folder)

    return build


def _instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what puts something else in the place of one file of the sound sharded model."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return _then(change)


def _single(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what builds a model whose one file of weights is something else."""

    def build(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(CONFIG))
        make(folder / "model.safetensors")

    return build


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _twin(folder: Path) -> None:
    """Spell the second shard in upper case too, and say that a tensor is there."""
    index = json.loads((folder / _INDEX).read_text())
    index["weight_map"][list(shapes())[-1]] = _TWO.upper()
    (folder / _INDEX).write_text(json.dumps(index))


def _also(folder: Path) -> None:
    """Put a tensor of the second shard into the first as well."""
    _shard(folder / _ONE, [*list(shapes())[:20], list(shapes())[-1]])


_PLAIN = "is not the plain name of a file beside the index"
_OUT = "is a link that leads out of the checkpoint"
_AGREE = "index and shards disagree"
# A name that is none under the rules of POSIX or of Windows, as it is and as it stands for the first tensor.
_NAMES: tuple[tuple[str, object], ...] = (
    ("parent", "../model.safetensors"),
    ("parents", "../../../../etc/passwd"),
    ("absolute", "/etc/passwd"),
    ("below", "shards/model.safetensors"),
    ("below-and-back", "a/../../secret"),
    ("dot-slash", "./model.safetensors"),
    ("windows-parent", "..\\secret"),
    ("windows-absolute", "C:\\secret"),
    ("windows-drive", "C:secret"),
    ("windows-share", "\\\\host\\share"),
    ("windows-stream", "model.safetensors:stream"),
    ("windows-device", "CON"),
    ("windows-nul", "nul.safetensors"),
    ("windows-port", "com1"),
    ("windows-printer", "LPT9.txt"),
    ("windows-dot-last", "model.safetensors."),
    ("dot", "."),
    ("dot-dot", ".."),
    ("dots", "..."),
    ("empty", ""),
    ("space", " model.safetensors"),
    ("newline", "model.safetensors\n"),
    ("nul-byte", "model.safetensors\0.txt"),
    ("escape", "\x1b[2J"),
    ("right-to-left", "a\u202eb"),
    ("not-ascii", "m\u00f6del.safetensors"),
    ("fullwidth-slash", "..\uff0fsecret"),
    ("option", "-rf"),
    ("hidden", ".env"),
    ("home", "~root"),
    ("variable", "$HOME"),
    ("percent", "%2e%2e%2fsecret"),
    ("url", "file:///etc/passwd"),
    ("star", "*.safetensors"),
    ("of-201", "a" * 201),
    ("of-a-megabyte", "a" * (1 << 20)),
    ("null", None),
    ("number", 1),
    ("flag", True),
    ("list", [_ONE]),
    ("object", {}),
    ("device", "/dev/zero"),
    ("process", "/proc/self/environ"),
)
# name, what a reader that does not look would do, what the refusal says, how it is built
_TABLE: tuple[tuple[str, str, str, Callable[[Path], None]], ...] = (
    # What the index says.
    ("list", "no names", "expected a JSON object, found a list", _said("[]")),
    ("empty-file", "no names", "not valid JSON", _said("")),
    (
        "git-lfs-pointer",
        "no names",
        "a Git LFS pointer",
        _said("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    ),
    (
        "cut",
        "a download that stopped",
        "not valid JSON",
        _index(lambda index: None, lambda text: text[:-9]),
    ),
    (
        "key-twice",
        "two readers that disagree",
        f"key '{_NAME}' stands twice",
        _index(
            lambda index: None,
            lambda text: text.replace(f'"{_NAME}":', f'"{_NAME}": "{_TWO}", "{_NAME}":'),
        ),
    ),
    (
        "weight-map-twice",
        "two readers that disagree",
        "key 'weight_map' stands twice",
        _index(lambda index: None, lambda text: '{"weight_map": {},' + text[1:]),
    ),
    ("no-weight-map", "no names", "no weight_map", _index(lambda index: index.pop("weight_map"))),
    (
        "empty-weight-map",
        "a model without weights",
        "no weight_map",
        _index(lambda index: index.update(weight_map={})),
    ),
    (
        "weight-map-a-list",
        "no names",
        "no weight_map",
        _index(lambda index: index.update(weight_map=[_ONE, _TWO])),
    ),
    (
        "weight-map-a-text",
        "no names",
        "no weight_map",
        _index(lambda index: index.update(weight_map=_ONE)),
    ),
    (
        "metadata-a-list",
        "an answer for another question",
        "metadata must be an object",
        _index(lambda index: index.update(metadata=[])),
    ),
    ("total-one-more", "a shard that is not whole", "total_size is .*, the shards hold", _total(1)),
    ("total-zero", "a shard that is not whole", "total_size is 0, the shards hold", _total(0)),
    ("total-negative", "a size below nothing", "total_size is -1, the shards hold", _total(-1)),
    ("total-a-text", "a size that is parsed", "total_size must be a number", _total("1")),
    ("total-a-flag", "true taken for one", "total_size must be a number", _total(True)),
    ("total-nan", "a size that is no number", "NaN is not JSON", _total(float("nan"))),
    (
        "deep",
        "a full stack",
        "deeper than 64 levels",
        _index(lambda index: None, lambda _: "[" * 100_000),
    ),
    # What the shards say.
    (
        "shard-absent",
        "a download that stopped",
        r"missing +model-00002.* the index names this file",
        _then(lambda folder: (folder / _TWO).unlink()),
    ),
    (
        "shard-not-named",
        "tensors that nobody sees",
        "unexpected +model-00003-of-00003.*the index does not name",
        _then(lambda folder: (folder / "model-00003-of-00003.safetensors").write_bytes(b"")),
    ),
    (
        "shard-empty",
        "a download that never began",
        "found an empty file",
        _then(lambda folder: (folder / _TWO).write_bytes(b"")),
    ),
    (
        "shard-not-a-shard",
        "a file of another kind",
        "expected safetensors, found JSON|disagree",
        _mapped(_NAME, "config.json"),
    ),
    (
        "shard-the-index",
        "a circle",
        "expected safetensors, found JSON|disagree",
        _mapped(_NAME, _INDEX),
    ),
    ("shard-of-another-tensor", "a tensor that is not there", _AGREE, _mapped(_NAME, _TWO)),
    (
        "tensor-that-is-nowhere",
        "memory that was never filled",
        r"missing +nowhere: the index says",
        _mapped("nowhere", _ONE),
    ),
    (
        "tensor-not-named",
        "a tensor that nobody sees",
        f"unexpected +{_NAME}.*holds it, the index does not say so",
        _index(lambda index: index["weight_map"].pop(_NAME)),
    ),
    (
        "tensor-in-two-shards",
        "two readers that disagree",
        "duplicate .*in two shards",
        _then(_also),
    ),
    (
        "shards-exchanged",
        "tensors that are not there",
        _AGREE,
        _index(
            lambda index: index.update(
                weight_map={
                    name: _TWO if file == _ONE else _ONE
                    for name, file in index["weight_map"].items()
                }
            )
        ),
    ),
    ("names-that-differ-in-case", "one file for two names", "in two spellings", _then(_twin)),
    (
        "all-in-one-shard",
        "a shard that nobody sees",
        "unexpected +model-00002",
        _index(lambda index: index.update(weight_map=dict.fromkeys(index["weight_map"], _ONE))),
    ),
    # Files that are none, and links.
    (
        "index-a-link-out",
        "a private file that is shown",
        _OUT,
        _instead(_INDEX, _link("/etc/hostname")),
    ),
    (
        "index-a-pipe",
        "a reader that waits for ever",
        "is a pipe, not a file",
        _instead(_INDEX, os.mkfifo),
    ),
    ("index-a-directory", "a crash", "is a directory, not a file", _instead(_INDEX, Path.mkdir)),
    ("index-a-link-to-nowhere", "a crash", "cannot be read", _instead(_INDEX, _link("nowhere"))),
    ("shard-a-link-out", "a private file as weights", _OUT, _instead(_TWO, _link("/etc/hostname"))),
    (
        "shard-a-link-to-the-parent",
        "a private file as weights",
        _OUT,
        _instead(_TWO, _link("../../warm/pt/pytorch_model.bin")),
    ),
    (
        "shard-a-pipe",
        "a reader that waits for ever",
        "missing +model-00002",
        _instead(_TWO, os.mkfifo),
    ),
    ("shard-a-directory", "a crash", "missing +model-00002", _instead(_TWO, Path.mkdir)),
    (
        "shard-a-link-to-itself",
        "a circle",
        "missing +model-00002|cannot be read",
        _instead(_TWO, _link(_TWO)),
    ),
    (
        "config-a-link-out",
        "a private file that is shown",
        _OUT,
        _instead("config.json", _link("/etc/hostname")),
    ),
    (
        "config-a-link-to-the-process",
        "passwords that are shown",
        _OUT,
        _instead("config.json", _link("/proc/self/environ")),
    ),
    (
        "config-a-pipe",
        "a reader that waits for ever",
        "is a pipe, not a file",
        _instead("config.json", os.mkfifo),
    ),
    (
        "config-a-directory",
        "a crash",
        "is a directory, not a file",
        _instead("config.json", Path.mkdir),
    ),
    (
        "config-a-link-to-itself",
        "a circle",
        "cannot be read",
        _instead("config.json", _link("config.json")),
    ),
    (
        "config-a-link-to-nowhere",
        "a crash",
        "cannot be read",
        _instead("config.json", _link("nowhere")),
    ),
    (
        "config-as-of-the-hub",
        "a file of another place",
        "cannot be read|leads out",
        _instead("config.json", _link("../../blobs/c0ffee")),
    ),
    ("weights-a-link-out", "a private file as weights", _OUT, _single(_link("/etc/hostname"))),
    (
        "weights-a-link-to-a-device",
        "memory without end",
        f"{_OUT}|is a device",
        _single(_link("/dev/zero")),
    ),
    ("weights-a-link-to-nowhere", "a crash", "cannot be read", _single(_link("nowhere"))),
    ("weights-a-link-to-the-folder", "a crash", _OUT, _single(_link("."))),
    ("weights-a-pipe", "a reader that waits for ever", "is a pipe, not a file", _single(os.mkfifo)),
    ("weights-a-directory", "a crash", "is a directory, not a file", _single(Path.mkdir)),
)


def _other_form(name: str) -> Callable[[Path], None]:
    """Return what builds a model whose weights are in shards of another format, one of them outside."""

    def build(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / f"{name}.index.json").write_text(
            json.dumps({"weight_map": {_NAME: f"../{name}"}})
        )

    return build


_FORMS = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack")
CASES = (
    *(
        MalformedCase(f"index-names-{name}", "a file outside", _mapped(_NAME, file), _PLAIN)
        for name, file in _NAMES
    ),
    *(
        MalformedCase(f"index-of-{name}", "a file outside", _other_form(name), _PLAIN)
        for name in _FORMS
    ),
    *(MalformedCase(f"index-{name}", threat, build, says) for name, threat, says, build in _TABLE),
)
