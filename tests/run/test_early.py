"""`early`: children that begin before their jobs are known answer them, or are ended with nothing left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckptconv.base.errors import FrameworkError
from ckptconv.run import early
from ckptconv.run.children import Job, run_children
from ckptconv.run.early import early_children, runner_of, take
from processes import gone, wait_for

PROBES = {"full.input_ids": np.ones((1, 2), np.int64)}


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file into which each child writes its number when it imports PyTorch, where it then stays."""
    code = f"import os, time; open({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(600)"
    (tmp_path / "fakes" / "torch").mkdir(parents=True)
    (tmp_path / "fakes" / "torch" / "__init__.py").write_text(code)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fakes"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path / "pids"


def checkpoint(path: Path, *names: str) -> Path:
    """Return a directory of empty files."""
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


def written(pids: Path) -> list[int]:
    """Return the numbers of the children that have begun."""
    return [int(pid) for pid in pids.read_text().split()] if pids.exists() else []


@pytest.mark.parametrize(
    ("names", "source", "target"),
    [
        (("config.json", "model.safetensors"), "pytorch", "pytorch"),
        (("config.json", "pytorch_model.bin.index.json"), "pytorch", "pytorch"),
        (("config.json", "tf_model.h5"), "tf", "tf"),
        (("config.json", "flax_model.msgpack"), "flax", "flax"),
        (("config.json", "model.safetensors", "tf_model.h5"), "pytorch", None),
        (("config.json", "tf_model.h5", "flax_model.msgpack"), None, None),
        (("config.json", "artefact.json", "model.safetensors"), None, None),
        (("config.json",), None, None),
        (("model.safetensors",), None, None),
    ],
)
def test_names_say_which_class_runs(
    names: tuple[str, ...], source: str | None, target: str | None, tmp_path: Path
) -> None:
    """A guess is made where one naming's files lie there alone; a source's PyTorch weights count beside others."""
    path = checkpoint(tmp_path / "checkpoint", *names)
    assert runner_of(path, prefers_pytorch=True) == source
    assert runner_of(path, prefers_pytorch=False) == target


@pytest.mark.parametrize(
    ("count", "first", "second", "runners"),
    [
        (1, "model.safetensors", "tf_model.h5", ["tf"]),
        (2, "model.safetensors", "flax_model.msgpack", ["flax"]),
        (3, "model.safetensors", "tf_model.h5", ["pytorch", "tf"]),
        (2, "tf_model.h5", "flax_model.msgpack", ["tf", "flax"]),
        (2, "pytorch_model.bin", "model.safetensors", ["pytorch", "pytorch"]),
    ],
)
def test_pytorch_begins_later_where_no_core_is_left(
    count: int,
    first: str,
    second: str,
    runners: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command has a core of its own; PyTorch's child, which has less to do than another's, waits for it."""
    source = checkpoint(tmp_path / "source", "config.json", first)
    target = checkpoint(tmp_path / "target", "config.json", second)
    monkeypatch.setattr(early, "core_count", lambda: count)
    begun: list[str] = []
    monkeypatch.setattr(early, "_start", lambda path, runner, waiting: begun.append(runner))
    with early_children(source, target, "no/such"):
        assert begun == runners


@pytest.mark.thorough
def test_children_that_nobody_needs_are_ended(pids: Path, tmp_path: Path) -> None:
    """However the block ends, no process and no folder is left; what is no checkpoint starts nothing."""
    source = checkpoint(tmp_path / "source", "config.json", "model.safetensors")

    def refused() -> None:
        with early_children(source, "no/such", "a\0b"):
            with early_children(source, source):  # within another it starts nothing
                wait_for(lambda: len(written(pids)) == 1)
            assert not gone(written(pids)[0])
            raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        refused()
    assert [gone(pid) for pid in written(pids)] == [True]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert take("pytorch") is None


@pytest.mark.thorough
def test_a_job_is_given_to_the_child_that_waits(pids: Path, tmp_path: Path) -> None:
    """A job of its runner is asked of the waiting child; those that guessed wrong end when the jobs begin."""
    source = checkpoint(tmp_path / "source", "config.json", "model.safetensors")
    with early_children(source, source):
        wait_for(lambda: len(written(pids)) == 2)
        with pytest.raises(FrameworkError, match=r"no answer within 0\.1 s"):
            run_children([Job("pytorch", source, PROBES)], timeout=0.1)
        assert [gone(pid) for pid in written(pids)] == [True, True]
        assert take("pytorch") is None
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("meanwhile", "proof"),
    [
        ("time.sleep(600)", "output"),
        ("run_children([Job('pytorch', Path(sys.argv[1]), {})])", "job.json"),
    ],
)
@pytest.mark.thorough
def test_early_children_do_not_outlive_a_parent_that_is_killed(
    meanwhile: str, proof: str, pids: Path, tmp_path: Path
) -> None:
    """Waiting or at work, they see that the parent's end of their stdin closed, and remove what it could not."""
    source = checkpoint(tmp_path / "source", "config.json", "model.safetensors")
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from ckptconv.run.children import Job, run_children\n"
        "from ckptconv.run.early import early_children\n"
        f"with early_children(sys.argv[1]): {meanwhile}"
    )
    temporary = tmp_path / "temporary"
    parent = subprocess.Popen([sys.executable, "-c", code, str(source)])
    wait_for(lambda: len(written(pids)) == 1 and any(temporary.rglob(proof)))
    parent.kill()
    parent.wait()
    wait_for(lambda: gone(written(pids)[0]))
    wait_for(lambda: list(temporary.iterdir()) == [])


@pytest.mark.thorough
def test_a_refused_source_leaves_nothing(pids: Path, tmp_path: Path) -> None:
    """`ckptconv verify` of what is no checkpoint is refused at once, whatever the children are at."""
    source = checkpoint(tmp_path / "source", "model.safetensors")
    (source / "config.json").write_text("{}")
    command = [sys.executable, "-m", "ckptconv", "verify", str(source), str(source)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 3, refused.stderr
    assert all(gone(pid) for pid in written(pids))
    assert list((tmp_path / "temporary").iterdir()) == []
