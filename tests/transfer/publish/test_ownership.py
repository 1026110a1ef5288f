"""`ownership`: `--overwrite` replaces what ckptconv wrote, and nothing that anybody else put there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.errors import DestinationError
from ckptconv.transfer.manifest import MANIFEST, SUMS
from ckptconv.transfer.publish.lock import examine, require_replaceable
from conftest import ROOT
from written import FILES, as_nobody, mounting, write_output

if TYPE_CHECKING:
    from conftest import Cli, Pair

PRECIOUS: dict[str, Callable[[Path], object]] = {
    "a repository": lambda out: (out / ".git" / "objects").mkdir(parents=True),
    "a text": lambda out: (out / "thesis.tex").write_text("ten years"),
    "a hidden file": lambda out: (out / ".env").write_text("secret"),
    "an editor's file": lambda out: (out / ".config.json.swp").write_text("unsaved"),
    "an empty directory": lambda out: (out / "logs").mkdir(),
    "a directory with the name of a part": lambda out: (out / "encoder").mkdir(),
    "a file in a directory": lambda out: (
        (out / "checkpoint-500").mkdir()
        or (out / "checkpoint-500" / "optimizer.pt").write_text("state")
    ),
    "a link": lambda out: (out / "latest").symlink_to("/etc"),
    "a pipe": lambda out: os.mkfifo(out / "pipe"),
    "a line break in a name": lambda out: (out / "x\n::error::y").write_text(""),
    "a link in a file's place": lambda out: (
        (out / "config.json").unlink() or (out / "config.json").symlink_to("/etc/passwd")
    ),
    "a directory in a file's place": lambda out: (
        (out / "config.json").unlink() or (out / "config.json").mkdir()
    ),
    "a link in the sums' place": lambda out: (out / SUMS).unlink() or (out / SUMS).symlink_to("x"),
    "other sums": lambda out: (out / SUMS).write_text("mine"),
    "trained weights of the same size": lambda out: (out / "model.safetensors").write_text(
        "TRAINED"
    ),
    "trained weights of another size": lambda out: (out / "model.safetensors").write_text("better"),
    "trained weights with the old time": lambda out: _retrain(out / "model.safetensors"),
}


def _retrain(weights: Path) -> None:
    status = weights.stat()
    weights.write_text("TRAINED")
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))


def listing(folder: Path) -> dict[str, str]:
    """Return what lies below a directory, and what is in it."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else str(path.is_symlink())
        for path in sorted(folder.rglob("*"))
        if not path.is_fifo()
    }


@pytest.mark.parametrize("precious", PRECIOUS)
def test_what_is_foreign_is_never_replaced(tmp_path: Path, precious: str) -> None:
    """One foreign entry is enough; the refusal names it in two lines, and nothing is touched."""
    out = write_output(tmp_path / "out")
    PRECIOUS[precious](out)
    before = listing(out)
    with pytest.raises(DestinationError, match="holds what ckptconv did not write") as refusal:
        require_replaceable(out)
    assert len(str(refusal.value).splitlines()) == 2
    assert listing(out) == before


MANIFESTS: dict[str, Callable[[Path], object]] = {
    "has no ckptconv.json": lambda path: path.unlink(),
    "has a ckptconv.json that is no regular file": lambda path: (
        path.rename(f"{path}.moved"),
        path.symlink_to(f"{path}.moved"),
    ),
    "has a ckptconv.json that cannot be read": lambda path: path.write_text("{"),
    "has a ckptconv.json that ckptconv did not write": lambda path: path.write_text('{"port": 80}'),
    "has a ckptconv.json that was edited": lambda path: path.write_text(
        path.read_text().replace('"command": "normalize"', '"command": "split"')
    ),
}


@pytest.mark.parametrize("why", MANIFESTS)
def test_a_manifest_that_is_none(tmp_path: Path, why: str) -> None:
    """Without a manifest that ckptconv wrote everything is foreign, the manifest too."""
    out = write_output(tmp_path / "out")
    MANIFESTS[why](out / MANIFEST)
    with pytest.raises(DestinationError) as refusal:
        require_replaceable(out)
    assert str(refusal.value).startswith(f"{out}: {why}, so --overwrite leaves it alone; it holds ")


@pytest.mark.parametrize("name", [".git/config", "../victim", "/etc/passwd", "a/../../b"])
def test_a_manifest_that_claims_too_much(tmp_path: Path, name: str) -> None:
    """One whose digest fits, but that names what ckptconv never writes, is none of ckptconv's."""
    out = write_output(tmp_path / "out")
    values = json.loads((out / MANIFEST).read_text())
    values["files"][name] = {"bytes": 0, "sha256": ""}
    del values["sha256"]
    spelled = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    (out / MANIFEST).write_text(json.dumps({**values, "sha256": sha256(spelled).hexdigest()}))
    assert "did not write" in examine(out).why


def test_what_is_ours_is_replaceable(tmp_path: Path) -> None:
    """As it was written; with files missing; copied, so that every time is new; with parts; and an empty directory."""
    out = write_output(tmp_path / "out")
    require_replaceable(out)
    assert examine(out).ours == {*FILES, MANIFEST, SUMS}
    require_replaceable(Path(shutil.copytree(out, tmp_path / "copy", copy_function=shutil.copy)))
    (out / "config.json").unlink()
    (out / SUMS).unlink()
    require_replaceable(out)
    parts = {"encoder/config.json": "{}", "decoder/config.json": "{}", "config.json": "{}"}
    require_replaceable(write_output(tmp_path / "parts", parts))
    (tmp_path / "empty").mkdir()
    require_replaceable(tmp_path / "empty")


def test_few_lines_for_many_files(tmp_path: Path) -> None:
    """Five foreign entries are named, the others counted; a directory is one, whatever is in it."""
    for number in range(300):
        (tmp_path / "src" / f"{number}").mkdir(parents=True)
        (tmp_path / f"file{number:03}").touch()
    with pytest.raises(DestinationError) as refusal:
        require_replaceable(tmp_path)
    first, second = str(refusal.value).splitlines()
    assert first.endswith("it holds file000, file001, file002, file003, file004 and 296 more.")
    assert second == "Move that away or remove it yourself, or give another directory."


def test_old_outputs_are_ours(tmp_path: Path) -> None:
    """A manifest of the first layout, as 0.1.0 wrote it, whatever the layout is today."""
    content = {
        "manifest": 1,
        "ckptconv": "0.1.0",
        "command": "pt2tf",
        "options": {},
        "pair": "bert -> bert",
        "dialect": "tf",
        "format": "hdf5",
        "tables": "",
        "healed": [],
        "sources": {},
        "files": {"config.json": {"bytes": 2, "sha256": sha256(b"{}").hexdigest()}},
    }
    spelled = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    manifest = json.dumps(
        {**content, "sha256": sha256(spelled).hexdigest()}, indent=2, sort_keys=True
    )
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / MANIFEST).write_text(manifest)
    require_replaceable(tmp_path)


SOURCES = {"normalize": 1, "pt2tf": 1, "pt2flax": 1, "split": 1, "join": 2}


@pytest.mark.thorough
def test_every_verb_that_writes(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """Each replaces the output of each other, parts included, and refuses, with exit code 4, what has one file more."""
    source, out = pair.write(tmp_path / "source"), tmp_path / "out"
    assert cli("split", source, tmp_path / "parts").code == 0
    parts = (tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder")
    for verb, count in SOURCES.items():
        sources = parts if count == 2 else (source,)
        assert cli(verb, *sources, out, "--overwrite", "--quiet").code == 0
        for folder in {out, *(path.parent for path in out.rglob("config.json"))}:
            (folder / "notes.txt").write_text("mine")
            before = listing(out)
            outcome = cli(verb, *sources, out, "--overwrite")
            assert (outcome.code, "notes.txt" in outcome.err, listing(out)) == (4, True, before)
            (folder / "notes.txt").unlink()


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["directory", "file", "target"])
def test_a_mount_point_is_never_crossed(pair: Pair, tmp_path: Path, what: str) -> None:
    """A bind mount, whose device number is that of its surroundings, is seen too: exit code 4, nothing is lost."""
    source = pair.write(tmp_path / "source")
    out, outside = (
        write_output(tmp_path / "out", {"data/x": "x", "config.json": "{}"}),
        tmp_path / "outside",
    )
    (outside / "x").parent.mkdir()
    (outside / "x").write_text("x")
    place = {"directory": out / "data", "file": out / "data" / "x", "target": out}[what]
    bound = outside / "x" if what == "file" else outside
    command = f"mount --bind {bound} {place}; {sys.executable} -m ckptconv pt2tf {source} {out} --overwrite"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        mounting(command), env=env, capture_output=True, text=True, check=False
    )
    if "unshare" in process.stderr or "mount:" in process.stderr:
        pytest.skip("this system lets nobody mount")
    assert (process.returncode, "mount point" in process.stderr) == (4, True), process.stderr
    assert list(listing(outside)) == ["x"]
    assert sorted(listing(out)) == [SUMS, MANIFEST, "config.json", "data", "data/x"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "outside", "source"]


EXAMINE = """
from ckptconv.transfer.publish.lock import examine
become_nobody()
print(examine(Path(sys.argv[1])).foreign)
"""


def test_what_may_not_be_listed_is_foreign(tmp_path: Path) -> None:
    """A directory that hides what it holds keeps the output from being replaced."""
    out = write_output(tmp_path / "out", {"encoder/config.json": "{}"})
    out.chmod(0o755)
    (out / "encoder").chmod(0o700)
    assert as_nobody(EXAMINE, out) == "('encoder/ (cannot be listed: Permission denied)',)\n"
