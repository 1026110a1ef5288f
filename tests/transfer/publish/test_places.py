"""`places`: no report is written over what is read, or over another report, however it is spelt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptconv.base.errors import DestinationError
from ckptconv.transfer.publish.stage import clashing, require_apart_from_inputs


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a checkpoint's directory, whose weights lie elsewhere, as in a cache."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0123").write_text("weights")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").symlink_to("../blobs/0123")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "spelled",
    [
        "model/config.json",
        "model/new.html",
        "model/reports/new.html",
        "model/../model/config.json",
        "link/new.html",
        "hard",
        "blobs/0123",
        "soft",
        "inputs.jsonl",
        "inputs-too",
        "models--org--name/snapshots/1/page.html",
    ],
)
def test_what_is_read_is_not_written(tmp_path: Path, model: Path, spelled: str) -> None:
    """A file of a checkpoint by any name, a place in its directory or in the hub's cache, and a file of inputs."""
    (tmp_path / "link").symlink_to("model")
    (tmp_path / "hard").hardlink_to(model / "config.json")
    (tmp_path / "soft").symlink_to("hard")
    (tmp_path / "inputs.jsonl").write_text("{}")
    (tmp_path / "inputs-too").hardlink_to(tmp_path / "inputs.jsonl")
    with pytest.raises(DestinationError) as refusal:
        require_apart_from_inputs(
            {"--html": tmp_path / spelled, "--junit": tmp_path / "free.xml"},
            checkpoints=[model, Path("org/name")],
            files=[tmp_path / "inputs.jsonl"],
        )
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(f"--html: {tmp_path / spelled}: ")


def test_what_is_apart(tmp_path: Path, model: Path) -> None:
    """A file beside the checkpoint, in a directory of a similar name, the null device and standard output."""
    outputs = {"--html": tmp_path / "model.html", "--junit": tmp_path / "model-2" / "x.xml"}
    for path in (os.devnull, "-", "/dev/stdout"):
        require_apart_from_inputs({**outputs, "x": Path(path)}, checkpoints=[model], files=[])


def test_two_outputs_on_one_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file that is not there yet, by other spellings; a hard link; standard output; never the null device."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "old").touch()
    (tmp_path / "older").hardlink_to(tmp_path / "old")
    pairs = [
        ("page", "./page", True),
        ("page", f"{tmp_path}/page", True),
        ("page", "folder/../page", True),
        ("folder/page", "link/page", True),
        ("old", "older", True),
        ("-", "-", True),
        ("-", "/dev/stdout", True),
        ("/dev/fd/1", "/dev/stdout", True),
        ("page", "pages", False),
        ("page", "folder/page", False),
        ("old", "page", False),
        ("/dev/null", "/dev/null", False),
        ("-", "page", False),
    ]
    for first, second, clash in pairs:
        result = list(clashing({"a": Path(first), "b": Path(second)}))
        assert result == ([("a", "b")] if clash else []), (first, second)
