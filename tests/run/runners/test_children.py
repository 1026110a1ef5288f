"""`frameworks`: what runs in a child, and how children that fail are reported and reaped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckptconv.base.errors import FrameworkError, SourceError
from ckptconv.run import children
from ckptconv.run.children import Job, _shared_cores, _threads, environment, run_children
from ckptconv.run.early import SMALL_BYTES
from ckptconv.run.modalities import Example
from ckptconv.run.runners import RUNNERS
from ckptconv.run.runners.pytorch import PyTorch
from ckptconv.run.runners.tf import TensorFlow
from ckptconv.schema.tensors import NAMING_NAMES
from processes import gone, wait_for

PROBES = {"full.input_ids": np.ones((1, 2), np.int64)}


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> Job:
    """Return a job for a PyTorch whose `import torch` runs `code` instead."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Job("pytorch", tmp_path, PROBES)


def test_every_naming_has_a_runner_and_no_framework_is_imported() -> None:
    """Each naming can be run, and asking which runners there are imports no framework."""
    assert set(RUNNERS) >= set(NAMING_NAMES)
    assert all(name == runner.name for name, runner in RUNNERS.items())
    code = "import sys; from ckptconv.run.runners import RUNNERS; [*RUNNERS]; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "tensorflow", "jax", "flax", "transformers"} & set(run.stdout.split())


@pytest.mark.parametrize("name", NAMING_NAMES)
def test_environment_switches_the_other_frameworks_off(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child sees its own framework alone, is offline, and keeps a platform that the user chose."""
    switches = {"pytorch": "USE_TORCH", "tf": "USE_TF", "flax": "USE_FLAX"}
    monkeypatch.setenv("USE_TF", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert environment(name)["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert environment(name)["OMP_WAIT_POLICY"] == "PASSIVE"
    result = environment(name)
    assert result["MALLOC_ARENA_MAX"] == "1"
    assert {switch for switch in switches.values() if result[switch] == "1"} == {switches[name]}
    assert (result["HF_HUB_OFFLINE"], result["JAX_PLATFORMS"]) == ("1", "tpu")
    monkeypatch.delenv("JAX_PLATFORMS")
    assert environment(name)["JAX_PLATFORMS"] == "cpu"


def test_missing_framework_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that fails says which extra to install, with exit code 5."""
    job = fake(tmp_path, monkeypatch, "raise ImportError('no torch here')")
    with pytest.raises(
        FrameworkError, match=r"no torch here[\s\S]*pip install .*\[pytorch\]'"
    ) as caught:
        run_children([job])
    assert caught.value.exit_code == 5


@pytest.mark.thorough
def test_killed_child_is_named_with_its_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that the system kills is reported with the signal and the likely reason."""
    job = fake(tmp_path, monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(FrameworkError, match=r"pytorch: .*SIGKILL, perhaps for lack of memory"):
        run_children([job])


@pytest.mark.thorough
def test_failed_child_shows_the_end_of_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line gives the reason, and the last 15 lines of the output follow."""
    code = "for n in range(30): print('line', n, flush=True)\nraise RuntimeError('no luck today')"
    with pytest.raises(FrameworkError) as caught:
        run_children([fake(tmp_path, monkeypatch, code)])
    first, *rest = str(caught.value).splitlines()
    assert first.endswith("(exit code 1): RuntimeError: no luck today")
    assert len(rest) == 16
    assert "line 5" not in "".join(rest)


@pytest.mark.thorough
def test_examples_that_cannot_be_read_refuse_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a tokenizer says of its files is one line of an exit with code 3, without the end of any output."""
    job = fake(tmp_path, monkeypatch, "")
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers" / "__init__.py").write_text(
        "class AutoTokenizer:\n"
        "    def from_pretrained(*folder, **options): raise OSError('no tokenizer.json\\nnor more')"
    )
    examples = [Example("3 May 1999")]
    with pytest.raises(SourceError) as caught:
        run_children([replace(job, model_class="AutoTokenizer", examples=examples)])
    assert caught.value.exit_code == 3
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: transformers cannot load its tokenizer (OSError: no tokenizer.json)",
        "Without it, give --inputs arrays instead: .npz or .safetensors.",
    ]


@pytest.mark.thorough
def test_timeout_kills_every_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that takes too long is killed with those that it started itself."""
    code = (
        "import os, pathlib, subprocess, time\n"
        f"child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(tmp_path / 'pids')!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    with pytest.raises(FrameworkError, match="no answer within 8 s"):
        run_children([fake(tmp_path, monkeypatch, code)], timeout=8)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    # Only the child itself is waited for: the kernel may still be at the end of what the child had started.
    wait_for(lambda: all(gone(pid) for pid in pids))


def test_first_failure_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one child fails, the others are not waited for."""
    code = (
        "import os, time\n"
        f"marker = {str(tmp_path / 'first')!r}\n"
        "try: os.close(os.open(marker, os.O_CREAT | os.O_EXCL))\n"
        "except FileExistsError: raise RuntimeError('second')\n"
        "time.sleep(600)"
    )
    job = fake(tmp_path, monkeypatch, code)
    started = time.monotonic()
    with pytest.raises(FrameworkError, match="second"):
        run_children([job, job])
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("size", "seconds", "frugal", "expected"),
    [
        (1, 60, False, "ii++--"),
        (SMALL_BYTES, 60, True, "ii++--"),
        (SMALL_BYTES, 1, False, "ii+-+-"),
    ],
)
@pytest.mark.thorough
def test_large_models_run_in_turn(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    seconds: int,
    frugal: bool,
    expected: str,
) -> None:
    """All frameworks are imported at once; small models run at once too, large ones where memory allows it."""
    code = (
        "import os, pathlib, time\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "note = lambda mark: log.open('a').write(mark)\n"
        "def until(marks, seconds):\n"
        "    deadline = time.monotonic() + seconds\n"
        "    while marks not in log.read_text() and time.monotonic() < deadline: time.sleep(0.05)\n"
        "note('i')\n"
        "until('ii', 60)\n"
        "def __getattr__(name):\n"  # the first that a model which is loaded asks for
        "    note('+')\n"
        f"    until('++', {seconds})\n"
        "    note('-')\n"
        "    os._exit(0)"
    )
    runner = PyTorch()
    runner.process = replace(runner.process, frugal=frugal)
    monkeypatch.setattr(children, "RUNNERS", {**RUNNERS, "pytorch": runner})
    job = fake(tmp_path, monkeypatch, code)
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers" / "__init__.py").write_text("def __getattr__(name): return None")
    (tmp_path / "weights").touch()
    os.truncate(tmp_path / "weights", size)
    with pytest.raises(FrameworkError, match="ended without an answer"):
        run_children([job, job])
    assert (tmp_path / "log").read_text() == expected


def test_what_is_not_installed_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second side may come an hour after the first: a framework that is not there is told at the start."""
    job = fake(tmp_path, monkeypatch, f"open({str(tmp_path / 'ran')!r}, 'w')")
    missing = TensorFlow()
    missing.process = replace(missing.process, modules=("tensorflow_of_another_machine",))
    monkeypatch.setattr(children, "RUNNERS", {**RUNNERS, "tf": missing})
    with pytest.raises(
        FrameworkError,
        match=r"No module named 'tensorflow_of_another_machine'\n.*pip install .*\[tf\]",
    ):
        run_children([job, Job("tf", tmp_path, PROBES)])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.thorough
def test_children_do_not_outlive_the_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Even where the parent is killed, its children end, and remove the folder that it could not."""
    pid_file = tmp_path / "pid"
    code = (
        f"import os, time; open({str(pid_file)!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(600)"
    )
    fake(tmp_path, monkeypatch, code)
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # else ignored in the background
        "import numpy as np; from pathlib import Path\n"
        "from ckptconv.run.children import Job\n"
        "from ckptconv.run.children import run_children\n"
        "run_children([Job('pytorch', Path('.'), {'full.input_ids': np.ones((1, 2), np.int64)})])"
    )
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_for(lambda: pid_file.exists() and pid_file.read_text().endswith(" "))
    parent.send_signal(number)
    assert parent.wait() != 0
    pid = int(pid_file.read_text())
    wait_for(lambda: gone(pid))
    assert list(tmp_path.glob("ckptconv-*")) == []


def test_a_module_in_the_working_directory_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint's folder that holds a `torch.py` cannot run code by being the working directory."""
    (tmp_path / "numpy.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    result = environment("pytorch")
    run = subprocess.run([sys.executable, "-P", "-c", "import numpy"], env=result, check=False)
    assert run.returncode == 0
    assert not (tmp_path / "ran").exists()


def test_answers_are_json(tmp_path: Path) -> None:
    """A job is plain JSON, so a child needs nothing of the parent but a folder."""
    job = Job("tf", tmp_path, PROBES, generate={"greedy": {"eos_token_id": 2}}, texts=["one"])
    assert json.loads(json.dumps([job.generate, list(job.texts)])) == [
        {"greedy": {"eos_token_id": 2}},
        ["one"],
    ]


def test_small_models_get_one_thread(tmp_path: Path) -> None:
    """Of a large checkpoint the frameworks choose themselves; what the user sets wins in any case."""
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    (tmp_path / "small" / "weights").write_bytes(b"1")
    with (tmp_path / "large" / "weights").open("wb") as file:
        file.truncate(SMALL_BYTES)
    small, large = (_threads([Job("tf", tmp_path / name, {})]) for name in ("small", "large"))
    assert small == {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    assert large == {}


@pytest.mark.parametrize(
    ("runners", "size", "cores", "count"),
    [
        (("pytorch", "tf"), SMALL_BYTES, 2, 1),
        (("pytorch", "tf"), SMALL_BYTES, 1, 1),
        (("tf", "pytorch"), SMALL_BYTES, 9, 4),
        (("pytorch", "tf"), 1, 2, None),
        (("pytorch", "flax"), SMALL_BYTES, 2, None),
        (("tf",), SMALL_BYTES, 2, None),
    ],
)
def test_two_large_models_share_the_cores(
    runners: tuple[str, ...],
    size: int,
    cores: int,
    count: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of them each where both run at once; what runs by itself, or is small, has what it has of itself."""
    monkeypatch.setattr(children, "core_count", lambda: cores)
    (tmp_path / "weights").touch()
    os.truncate(tmp_path / "weights", size)
    assert _shared_cores([[Job(runner, tmp_path, {})] for runner in runners]) == count
