"""`verify --push`, against a small hub on loopback: what is proven goes there whole, and nothing else does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

import ckptconv
from batching import run_all
from ckptconv.verbs.push import BEGIN, with_section
from hub_server import Hub, folder_files, serving

pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")

CARD = b"---\nlicense: apache-2.0\n---\n# Dates\n\nRewrites dates.\n"
Push: TypeAlias = Callable[..., list[tuple[int, str, str]]]


@pytest.fixture
def hub(dates: Path) -> Iterator[Hub]:
    """Return a running hub with the trained checkpoint under `org/dates`, and a card."""
    files = folder_files(dates) | {"README.md": CARD}
    with serving(Hub({"org/dates": {"main": files}})) as running:
        yield running


@pytest.fixture
def push(hub: Hub, tmp_path: Path) -> Push:
    """Return what runs several commands in one process, where `hub` is the hub."""

    def call(*commands: tuple[object, ...]) -> list[tuple[int, str, str]]:
        return run_all(
            [("verify", "--level", "weights", *command) for command in commands],
            {
                "HF_ENDPOINT": hub.url,
                "HF_HOME": str(tmp_path / "hf"),
                "HF_HUB_OFFLINE": "0",
                "HF_TOKEN": "secret",
                "HF_HUB_DISABLE_XET": "1",
            },
        )

    return call


@pytest.mark.thorough
def test_a_verified_output_becomes_a_pull_request(
    push: Push, hub: Hub, dates: Path, converted_tf: Path, tmp_path: Path
) -> None:
    """Weights, manifest, card and page, with the verification as its text; a download of it is whole."""
    (ended,) = push((dates, converted_tf, "--push", "org/dates", "--create-pr", "--json"))
    assert ended[0] == 0, ended
    where = json.loads(ended[1])["push"]
    assert where["url"] == f"{hub.url}/org/dates/discussions/1"
    assert (where["repo"], where["pull_request"]) == ("org/dates", True)
    assert set(where["files"]) == set(hub.pushed[0]["files"])
    assert f"pull request {hub.url}/org/dates/discussions/1" in ended[2]
    (pushed,) = hub.pushed
    assert pushed["request"]
    assert "MATCH: bert -> bert" in pushed["header"]["description"]
    assert "bit for bit" in pushed["header"]["description"]
    assert pushed["header"]["parentCommit"]
    files = pushed["files"]
    assert files["tf_model.h5"] == (converted_tf / "tf_model.h5").read_bytes()
    assert b"Match" in files["ckptconv-verification.html"]
    card = files["README.md"].decode()
    assert card.startswith(CARD.decode().rstrip("\n"))
    assert "`tf_model.h5`: written by ckptconv" in card
    for name, content in files.items():
        (tmp_path / "download").mkdir(exist_ok=True)
        (tmp_path / "download" / name).write_bytes(content)
    assert ckptconv.check(tmp_path / "download").whole
    assert ckptconv.verify(dates, tmp_path / "download", "weights").matches


@pytest.mark.thorough
def test_what_is_not_proven_is_not_pushed(
    push: Push, hub: Hub, dates: Path, converted_tf: Path, tmp_path: Path
) -> None:
    """A mismatch, a changed output, a directory that ckptconv did not write, and places where nothing can go."""
    scaled, changed, foreign = tmp_path / "scaled", tmp_path / "changed", tmp_path / "foreign"
    ckptconv.pt2tf(dates, scaled, options=ckptconv.WriteOptions(dtype="float16"))
    shutil.copytree(converted_tf, changed)
    (changed / "extra.py").write_text("raise SystemExit")
    shutil.copytree(dates, foreign)
    (tmp_path / "half").mkdir()
    ckptconv.normalize(dates, tmp_path / "half" / "m", ckptconv.WriteOptions(dtype="float16"))
    ended = push(
        (tmp_path / "half" / "m", converted_tf, "--push", "org/dates", "--json"),
        (dates, changed, "--push", "org/dates"),
        (dates, foreign, "--push", "org/dates"),
        (dates, converted_tf, "--push", "org/nosuch"),
        (dates, converted_tf, "--push", "dates"),
        (dates, converted_tf, "--create-pr"),
    )
    assert [code for code, _, _ in ended] == [1, 3, 3, 4, 2, 2]
    assert "nothing was pushed to org/dates" in ended[0][2]
    assert json.loads(ended[0][1])["push"]["url"] == ""
    assert "is not what ckptconv wrote (added extra.py)" in ended[1][2]
    assert "no such model on the hub that you may write to" in ended[3][2]
    assert hub.pushed == []
    hub.read_only = True
    (refused,) = push((dates, converted_tf, "--push", "org/dates"))
    assert refused[0] == 4
    assert "the hub refuses it (HTTP status 403)" in refused[2]
    assert hub.pushed == []


@pytest.mark.thorough
@pytest.mark.parametrize("status", [0, 504])
def test_a_commit_without_an_answer_may_be_there(
    push: Push, hub: Hub, dates: Path, converted_tf: Path, status: int
) -> None:
    """Where the connection ends, or a gateway gives up, after a commit was sent, nobody says that it was not taken."""
    hub.unanswered = status
    (ended,) = push((dates, converted_tf, "--push", "org/dates"))
    assert hub.pushed
    assert ended[0] == 5
    assert "may be on the hub or not; look at org/dates" in ended[2]
    assert "nothing was pushed" not in ended[2]


def test_the_section_of_a_card_stands_once() -> None:
    """At the end of a card that has none, in the place of the earlier one, and below the metadata of a new card."""
    section = f"{BEGIN}\nnew\n<!-- ckptconv: end -->"
    first = with_section(CARD.decode(), section)
    assert first == f"{CARD.decode()}\n{section}\n"
    assert with_section(first, section) == first
    assert with_section(first.replace("new", "old") + "\n# More\n", section).count("new") == 1
    assert with_section("", section).startswith("---\nlibrary_name: transformers\n---\n\n")
