"""`trials.faults`: it sees what is wrong, and strikes where it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptconv.trials import faults
from ckptconv.trials.faults import Violation, tree
from ckptconv.trials.injection import SYSCALLS, Call, Ended, Fault, _logged

OLD, NEW, HALF = {"a": "1"}, {"a": "2"}, {"a": "3"}
LOG = """\
71 openat(AT_FDCWD, "/etc/x", O_RDONLY|O_CLOEXEC) = 3
71 openat(AT_FDCWD, "out", O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0666) = 3
71 pwrite64(3, "abc", 3, 0) = 3
72 pwrite64(3, "def", 3, 3 <unfinished ...>
71 fsync(3) = 0
72 <... pwrite64 resumed>) = 3
71 pwrite64(3, "ghi", 3, 6) = 3
71 +++ exited with 0 +++
"""


def fault(kind: str, name: str = "fsync", *, onwards: bool = False) -> Fault:
    """Return a fault at the second call of a name."""
    return Fault(Call(name, 2), kind, onwards)


def judged(
    kind: str, code: int, found: dict[str, str] | None, said: str = "", old: bool = True
) -> list[str]:
    """Return what is found wrong after a fault."""
    scenario = faults._Scenario("any", OLD if old else None, NEW, ())
    return list(faults._judge(scenario, fault(kind), Ended(code, said), found))


def test_calls_are_counted_by_thread() -> None:
    """Each thread counts for itself, what is resumed is not another call, and reading is none."""
    assert sorted(set(_logged(LOG.splitlines(), SYSCALLS))) == [
        Call("fsync", 1),
        Call("openat", 2),
        Call("pwrite64", 1),
        Call("pwrite64", 2),
    ]


@pytest.mark.parametrize(
    ("kind", "code", "found", "said", "old"),
    [
        ("EIO", 4, OLD, "Error: nothing was published.", True),
        ("EIO", 4, None, "nothing was published", False),
        ("SIGKILL", -9, NEW, "", True),
        ("SIGKILL", -9, None, "", False),
        ("SIGINT", 130, OLD, "nothing was written", True),
        ("SIGINT", 130, NEW, "interrupted, but out is published and whole", True),
        ("ENOSPC", 0, NEW, "", False),
    ],
)
def test_what_is_right(
    kind: str, code: int, found: dict[str, str] | None, said: str, old: bool
) -> None:
    """Old, absent or new, with an exit code and a message that fit."""
    assert judged(kind, code, found, said, old) == []


@pytest.mark.parametrize(
    ("kind", "code", "found", "said", "wrong"),
    [
        ("EIO", 4, HALF, "", "the target is neither what it was nor new: ['a']"),
        ("EIO", 4, None, "", "the target is neither what it was nor new: []"),
        ("EIO", 0, OLD, "", "success, but the target is not new"),
        ("SIGTERM", 143, NEW, "nothing was written", "published, but it said: nothing was written"),
        ("SIGTERM", 130, OLD, "", "ended with 130: "),
        ("ENOSPC", 1, OLD, "why", "ended with 1: why"),
        ("EIO", 4, OLD, "Traceback (most recent", "a traceback: Traceback (most recent"),
    ],
)
def test_what_is_wrong(
    kind: str, code: int, found: dict[str, str] | None, said: str, wrong: str
) -> None:
    """A half output, one lost, a false success, a false word, a wrong exit code and a traceback are each seen."""
    assert judged(kind, code, found, said) == [wrong]


def test_what_could_not_be_removed_is_named(tmp_path: Path) -> None:
    """A directory beside the target that the run does not name is seen; the target and files are none."""
    for name in ("out", ".out.ckptconv-1-old"):
        (tmp_path / name).mkdir()
    (tmp_path / ".out.ckptconv-lock").touch()
    silent, outspoken = Ended(0, "written"), Ended(0, ".out.ckptconv-1-old: could not be removed")
    assert list(faults._unnamed(tmp_path / "out", silent)) == [
        "left behind without a word: .out.ckptconv-1-old"
    ]
    assert list(faults._unnamed(tmp_path / "out", outspoken)) == []
    stays = [
        faults._stays(fault(kind, name))
        for kind, name in (
            ("EIO", "unlinkat"),
            ("EIO", "rmdir"),
            ("SIGTERM", "rmdir"),
            ("EIO", "fsync"),
        )
    ]
    assert stays == [True, True, False, False]


def test_the_first_points_are_of_every_kind() -> None:
    """As many points as calls strike each call once; nine times as many are every fault at every call."""
    calls = tuple(
        Call(name, nth)
        for name, count in (("fsync", 3), ("pwrite64", 40))
        for nth in range(1, count + 1)
    )
    turns = [one for _, one in faults._turns([faults._Scenario("any", None, NEW, calls)])]
    assert {turn.call.name for turn in turns[:2]} == {"fsync", "pwrite64"}
    assert {turn.call for turn in turns[:43]} == set(calls)
    assert len(set(turns)) == len(turns) == 9 * 43


def test_a_tree_is_names_and_content(tmp_path: Path) -> None:
    """Two directories are the same where names and bytes are; none is None."""
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "file").write_text("same")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert sorted(tree(tmp_path / "one") or {}) == ["sub", "sub/file"]
    assert tree(tmp_path / "none") is None


def test_a_violation_says_where() -> None:
    """Scenario, fault and call stand before what is wrong."""
    one = Violation("split", fault("EIO", onwards=True), "success, but the target is absent")
    assert str(one) == "split: EIO at fsync 2 and all later: success, but the target is absent"
