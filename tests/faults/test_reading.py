"""Every call that reads a source, or asks what lies there, fails in turn: no answer is made of what was not read."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.trials.faults import Tree, tree
from ckptconv.trials.injection import Ended, Fault, Injected
from ckptconv.trials.pair import write_pair

if TYPE_CHECKING:
    from conftest import Counted

POINTS = int(os.environ.get("CKPTCONV_FAULTS", "720")) // 4
"""For each command; all of the calls are fewer."""
SOURCE, WRITTEN, TF, FLAX, TARGET = "source", "written", "tf", "flax", "out"
MADE = {WRITTEN: ("normalize", "--max-shard-size", "4KB"), TF: ("pt2tf",), FLAX: ("pt2flax",)}
"""Made of the source beforehand: shards, HDF5, msgpack."""
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "pt2flax": (SOURCE, TARGET, "--quiet"),
    "pt2tf": (SOURCE, TARGET, "--quiet"),
    "split": (SOURCE, TARGET, "--quiet"),
    "tf2pt": (TF, TARGET, "--quiet"),
    "flax2pt": (FLAX, TARGET, "--quiet"),
    "inspect": (SOURCE,),
    "diff": (SOURCE, WRITTEN),
    "verify": (SOURCE, WRITTEN, "--level", "weights"),
    "check": (WRITTEN,),
}
REFUSED = (2, 3, 4)
"""2: Click itself finds that the source may not be read. 4: in `pt2tf`, the call served the output as well."""


@dataclass(frozen=True)
class Bench:
    """A checkpoint, one that ckptconv wrote, and a warm process."""

    folder: Path
    runs: Injected

    def words(self, command: str) -> list[str]:
        """Return a command with the paths of this bench."""
        places = {name: str(self.folder / name) for name in (SOURCE, *MADE, TARGET)}
        return [command, *(places.get(word, word) for word in COMMANDS[command])]

    def run(
        self, command: str, fault: Fault | None = None, at: tuple[Path, ...] = ()
    ) -> tuple[Ended, Tree | None]:
        """Run a command where nothing has the target's name; return how it ended and what it wrote."""
        shutil.rmtree(self.folder / TARGET, ignore_errors=True)
        ended = self.runs.run(self.words(command), fault, at=at)
        return ended, tree(self.folder / TARGET)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Return a bench whose source has companions, also in a folder of its own."""
    folder = tmp_path_factory.mktemp("bench")
    source = write_pair(folder / SOURCE)
    (source / "generation_config.json").write_text("{}")
    (source / "sub").mkdir()
    (source / "sub" / "tokenizer_config.json").write_text("{}")
    with Injected("strace", folder) as runs:
        made = Bench(folder, runs)
        for name, (command, *options) in MADE.items():
            assert runs.run([command, str(source), str(folder / name), *options]).code == 0
        yield made


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("command", COMMANDS)
def test_no_answer_without_reading(bench: Bench, command: str, counted: Counted) -> None:
    """A command whose source cannot be read, listed or looked at refuses, or answers as if nothing had happened."""
    below = bench.folder / COMMANDS[command][0]
    at = tuple(bench.runs.paths(bench.words(command), below))
    bench.run(command)
    shutil.rmtree(bench.folder / TARGET, ignore_errors=True)
    every = bench.runs.reads(bench.words(command), at)
    calls = random.Random(0).sample(every, min(len(every), POINTS))
    usual = bench.run(command)
    refused = (*REFUSED, 1) if command == "check" else REFUSED  # there it is a finding
    wrong, refusals = [], 0
    for call in calls:
        fault = Fault(call, "EIO", onwards=False)
        ended, left = bench.run(command, fault, at)
        refusals += ended.code != usual[0].code
        if (ended, left) != usual and (ended.code not in refused or left or "Trace" in ended.said):
            wrong.append(f"{fault}: {ended.code}, {sorted(left or ())}: {ended.said.strip()}")
    counted(
        f"reads: {command}: {len(calls)} of {len(every)} calls failed in turn, {refusals} refusals"
    )
    assert wrong == []
    assert refusals > len(calls) / 2


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_old_output_or_the_new(bench: Bench, counted: Counted) -> None:
    """A run that cannot look at the output that it replaces, or beside it, leaves the old one or the new one, whole."""
    parent = bench.folder / "parent"
    target, old = parent / TARGET, bench.folder / TF
    command = ["pt2flax", str(bench.folder / SOURCE), str(target), "--overwrite", "--quiet"]

    def prepare() -> None:
        shutil.rmtree(parent, ignore_errors=True)
        parent.mkdir()
        shutil.copytree(old, target)

    prepare()
    at = tuple(bench.runs.paths(command, parent))
    prepare()
    every = bench.runs.reads(command, at)
    calls = random.Random(0).sample(every, min(len(every), POINTS))
    ends = {"old": 0, "new": 0}
    trees, wrong = {"old": tree(old), "new": tree(target)}, []
    for call in calls:
        prepare()
        ended = bench.runs.run(command, Fault(call, "EIO", onwards=False), at=at)
        name = "new" if tree(target) == trees["new"] else "old"
        ends[name] += 1
        whole = tree(target) == trees[name]
        if not whole or ended.code not in ((0, 4) if name == "new" else REFUSED):
            wrong.append(f"{call}: {ended.code}, {name}, {whole}: {ended.said.strip()}")
    counted(f"reads: overwrite: {len(calls)} of {len(every)} calls failed in turn, {ends}")
    assert wrong == []
    assert all(ends.values())
