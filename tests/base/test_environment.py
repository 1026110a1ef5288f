"""What is installed, which versions are right, and how to install more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptconv.base.environment import install_advice, install_command, range_of, within

Installed = Callable[..., None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Return what puts metadata of distributions before those that are really installed."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name: str, version: str, *requires: str, origin: object = None) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", "Metadata-Version: 2.1"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        if origin:
            (folder / "direct_url.json").write_text(json.dumps(origin))

    return add


def test_a_range_is_found_by_any_spelling_of_a_name(installed: Installed) -> None:
    """`huggingface_hub` is `huggingface-hub`; each extra has its own range, and the core another."""
    installed(
        "ckptconv",
        "9",
        "numpy>=2.1",
        "huggingface-hub<3,>=0.34; extra == 'hub'",
        "transformers<6,>=4.57.6; extra == 'pytorch'",
        "transformers<5,>=4.57.6; extra == 'tf'",
    )
    assert range_of("huggingface_hub", "hub") == "<3,>=0.34"
    assert range_of("Transformers", "pytorch") == "<6,>=4.57.6"
    assert range_of("transformers", "tf") == "<5,>=4.57.6"
    assert range_of("numpy") == ">=2.1"
    assert range_of("transformers") == ""


@pytest.mark.parametrize(
    ("version", "right"),
    [("2.6", True), ("2.13.0+cpu", True), ("3.0.0rc1", True), ("2.5.9", False), ("odd", False)],
)
def test_versions_are_compared_as_python_packaging_does(version: str, right: bool) -> None:
    """Local parts do not count, release candidates do, and what is no version is in no range."""
    assert within(version, ">=2.6") is right


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'ckptconv[tf]'"),
        ({"url": "file:///src/a%20b", "dir_info": {}}, "pip install '/src/a b[tf]'"),
        (
            {"url": "file:///src", "dir_info": {"editable": True}},
            "pip install -e '/src[tf]'",
        ),
        (
            {
                "url": "https://git.example.org/x.git",
                "vcs_info": {"vcs": "git", "commit_id": "abc", "requested_revision": "v1"},
            },
            "pip install 'ckptconv[tf] @ git+https://git.example.org/x.git@abc'",
        ),
        (
            {"url": "file:///w/ckptconv-9-py3-none-any.whl", "archive_info": {}},
            "pip install 'ckptconv[tf] @ file:///w/ckptconv-9-py3-none-any.whl'",
        ),
    ],
)
def test_a_hint_names_what_can_be_installed(
    installed: Installed, origin: object, command: str
) -> None:
    """An extra comes from where this copy came from: a directory, a repository, a wheel, or the index."""
    installed("ckptconv", "9", origin=origin)
    assert install_command("tf") == command


def test_no_hint_downgrades_transformers(installed: Installed) -> None:
    """Beside transformers 5 TF and Flax are run elsewhere, or checked by a trace; PyTorch is installed."""
    installed("ckptconv", "9")
    installed("transformers", "5.24.0")
    for extra in ("tf", "flax"):
        assert "--save-trace" in install_advice(extra)
        assert "pip install" not in install_advice(extra)
    assert install_advice("pytorch") == "Install it with: pip install 'ckptconv[pytorch]'"
