"""Names of the hub without a hub: what is one, which weights are taken, and what reading one needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from ckptconv.base.environment import install_command
from ckptconv.base.errors import CkptconvError
from ckptconv.stores.hub.download import Hub
from ckptconv.stores.hub.names import HubName, hub_name
from ckptconv.stores.layouts.huggingface import first_choice

pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")

BLOCKED = "import sys\nsys.modules['huggingface_hub'] = None\nfrom ckptconv.cli.main import main\nmain()\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/name", HubName("org/name", "main")),
        ("org/name@v1.0", HubName("org/name", "v1.0")),
        ("org/name@refs/pr/7", HubName("org/name", "refs/pr/7")),
        *(
            (text, None)
            for text in (
                "name",
                "a/b/c",
                "/org/name",
                "./org/name",
                "../name",
                "org/",
                "org/na me",
                "org/name@",
                "org/..",
                ".org/name",
                "org/na\nme",
                "org/näme",
            )
        ),
    ],
)
def test_what_is_a_name(text: str, name: HubName | None) -> None:
    """One slash, ASCII letters, and perhaps a revision; every other text is a path."""
    assert hub_name(text) == name


@pytest.mark.parametrize(
    ("files", "naming", "chosen"),
    [
        (
            "model.safetensors pytorch_model.bin tf_model.h5 flax_model.msgpack",
            "pytorch",
            "model.safetensors",
        ),
        ("model.safetensors pytorch_model.bin tf_model.h5 flax_model.msgpack", "tf", "tf_model.h5"),
        (
            "model.safetensors pytorch_model.bin tf_model.h5 flax_model.msgpack",
            "flax",
            "flax_model.msgpack",
        ),
        (
            "model.safetensors pytorch_model.bin tf_model.h5 flax_model.msgpack",
            None,
            "model.safetensors",
        ),
        (
            "pytorch_model.bin.index.json pytorch_model-00001-of-00001.bin",
            "pytorch",
            "pytorch_model.bin.index.json",
        ),
        (
            "model.safetensors.index.json pytorch_model.bin",
            "pytorch",
            "model.safetensors.index.json",
        ),
        ("model.safetensors model.safetensors.index.json", "pytorch", "model.safetensors"),
        ("model.safetensors", "tf", "model.safetensors"),
        ("tf_model.h5", None, "tf_model.h5"),
        ("flax_model.msgpack pytorch_model.bin tf_model.h5", None, "pytorch_model.bin"),
        ("tf_model.h5", "pytorch", None),
    ],
)
def test_which_weights_are_downloaded(files: str, naming: None, chosen: str | None) -> None:
    """Safetensors before `.bin` for PyTorch; a framework's own format first for the others; one file before shards."""
    choice = first_choice(files.split(), naming)
    assert (choice and choice[1]) == chosen


@pytest.mark.thorough
def test_without_the_library(dates: Path, tmp_path: Path) -> None:
    """A name needs the extra, and the message says how to get it; a path needs nothing."""
    outcomes = [
        subprocess.run(
            [sys.executable, "-c", BLOCKED, *args],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        for args in (
            ("split", "org/name", "x", "--dry-run"),
            ("split", str(dates), "x", "--dry-run"),
        )
    ]
    assert [item.returncode for item in outcomes] == [5, 0]
    assert outcomes[0].stderr == (
        "Error: org/name: no such directory; reading from the hub needs huggingface_hub.\n"
        f"Install it with: {install_command('hub')}\n"
    )


def error_class(name: str, *bases: type[Exception]) -> type[Exception]:
    """Return a class of errors as some version of the library has it."""
    return type(name, bases or (Exception,), {})


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (
            error_class("ConnectError")("httpx: no route"),
            5,
            "the hub cannot be reached (ConnectError)",
        ),
        (
            error_class("ConnectionError", OSError)(),
            5,
            "the hub cannot be reached (ConnectionError)",
        ),
        (
            ValueError("../../pwned is no commit"),
            3,
            "the hub answered what it should not (ValueError)",
        ),
        (RuntimeError("xet"), 5, "the hub cannot be reached (RuntimeError)"),
        (KeyError("siblings"), 5, "the hub cannot be reached (KeyError)"),
        (
            error_class("GatedRepoError", error_class("RepositoryNotFoundError"))(),
            3,
            "gated: accept",
        ),
        (error_class("RepositoryNotFoundError")(), 3, "no such model on the hub"),
        (error_class("RevisionNotFoundError")(), 3, "has no branch, tag or commit 'main'"),
        (error_class("HFValidationError", ValueError)(), 3, "the hub refuses this name"),
        (
            error_class("LocalEntryNotFoundError", error_class("EntryNotFoundError"))(),
            5,
            "cannot be reached",
        ),
    ],
)
def test_errors_of_every_version(error: Exception, code: int, says: str) -> None:
    """Whatever a version of the library raises is a refusal or a missing hub, in our words; never an internal error."""
    pytest.importorskip("huggingface_hub")

    def ask() -> NoReturn:
        raise error

    with pytest.raises(CkptconvError) as refusal:
        Hub(HubName("org/name"))._asked(ask)
    assert (refusal.value.exit_code, says in str(refusal.value)) == (code, True), refusal.value
