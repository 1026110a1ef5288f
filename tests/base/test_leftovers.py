"""`leftovers`: where a run was killed while it replaced an output, anybody who looks for it is told where it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.leftovers import interrupted_replacements, leftovers
from conftest import ROOT
from written import write_output

if TYPE_CHECKING:
    from conftest import Cli, Pair

KILLED = """
import os, signal, sys
from ckptconv.cli.main import main
from ckptconv.transfer.publish import lock
lock.renameat2 = lambda *paths: False  # as on NFS and FUSE
real = os.rename
def rename(source, target):
    if str(target) == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.rename = rename
main()
"""


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory, make_pair: type[Pair]) -> Path:
    """Return a directory in which a run was killed between the two renames that replace `out`; not to be changed."""
    folder = tmp_path_factory.mktemp("torn")
    source = make_pair().write(folder / "source")
    write_output(folder / "out")
    command = [
        sys.executable,
        "-c",
        KILLED,
        "pt2tf",
        str(source),
        str(folder / "out"),
        "--overwrite",
    ]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert not (folder / "out").exists()
    return folder


@pytest.mark.thorough
def test_nothing_is_lost_silently(cli: Cli, torn: Path, tmp_path: Path) -> None:
    """`check` and `inspect` of the missing output, and runs and checks of others, say where old and new lie."""
    parent = Path(shutil.copytree(torn, tmp_path / "parent"))
    (old,) = parent.glob(".out.ckptconv-????????-old")
    new = old.with_name(old.name.removesuffix("-old"))
    (lost,) = interrupted_replacements(parent)
    assert lost == (
        f"{parent}/out: is missing, since a run was killed while it replaced it: the old one is {old}, the new one is"
        f" {new}. The next run that writes out puts the old one back, and so does: mv -T {old} {parent}/out"
    )
    for command in (["check"], ["inspect"], ["diff", parent / "source"]):
        outcome = cli(*command, parent / "out")
        assert (outcome.code, outcome.err) == (3, f"Error: {lost}\n")
    assert f"note: {lost}\n" in cli("normalize", parent / "source", parent / "other").err
    assert cli("check", parent / "other").err == f"note: {lost}\n"
    assert json.loads(cli("check", parent / "other", "--json").out)["notices"] == [lost]


def test_the_next_run_puts_the_old_one_back(cli: Cli, torn: Path, tmp_path: Path) -> None:
    """It says so; without --overwrite it then refuses to replace it, and leaves nothing else behind."""
    parent = Path(shutil.copytree(torn, tmp_path / "parent"))
    before = {path.name: path.read_bytes() for path in next(parent.glob("*-old")).iterdir()}
    outcome = cli("normalize", parent / "source", parent / "out")
    assert outcome.code == 4
    assert outcome.err.endswith(
        f"note: {parent}/out: was put back, since a run was killed while it replaced it\n"
    )
    assert {path.name: path.read_bytes() for path in (parent / "out").iterdir()} == before
    assert sorted(path.name for path in parent.iterdir()) == ["out", "source"]


def test_the_command_puts_the_old_one_back(torn: Path, tmp_path: Path) -> None:
    """What the message says can be pasted into a shell, whatever the names are."""
    parent = Path(shutil.copytree(torn, tmp_path / "it's a $HOME"))
    (lost,) = interrupted_replacements(parent)
    subprocess.run(lost.rpartition("so does: ")[2], shell=True, check=True)
    assert (parent / "out" / "config.json").exists()
    assert list(interrupted_replacements(parent)) == []


def test_a_stage_beside_an_output_is_named(cli: Cli, tmp_path: Path) -> None:
    """`check` says what a killed run left beside an output that is whole."""
    write_output(tmp_path / "out")
    stage = tmp_path / ".out.ckptconv-01234567"
    stage.mkdir()
    outcome = cli("check", tmp_path / "out")
    assert (
        outcome.code,
        outcome.err.startswith(f"note: {stage}: is left of a run that was killed"),
    ) == (
        0,
        True,
    )


@pytest.mark.parametrize(
    "name",
    [
        "x",
        ".out.ckptconv-lock",
        ".out.ckptconv-0123abcg",
        "out.ckptconv-0123abcd",
        ".ckptconv-0123abcd",
    ],
)
def test_other_names_are_no_stages(tmp_path: Path, name: str) -> None:
    """Only a hidden name with eight hexadecimal digits is one."""
    (tmp_path / name).mkdir()
    assert leftovers(tmp_path) == []
