"""A batch on a Dask cluster that is there already: scheduler and workers in processes of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import ckptconv
from batch_runs import MakeModels, Start, finished, killed_again_and_again, require_whole
from conftest import ROOT, Counted

PLAN = """
[[conversion]]
command = "pt2tf"
level = "weights"
source = "models/*"
target = "out/{name}"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[int]]]:
    """Return the scheduler's address, and the process ids of three workers' nannies."""
    pytest.importorskip("distributed")
    result = tmp_path / "scheduler.json"
    scheduler = [
        "distributed.cli.dask_scheduler",
        "--host=127.0.0.1",
        "--port=0",
        "--no-dashboard",
        f"--scheduler-file={result}",
    ]
    worker = [
        "distributed.cli.dask_worker",
        f"--scheduler-file={result}",
        "--nworkers=1",
        "--nthreads=1",
        "--no-dashboard",
        f"--local-directory={tmp_path / 'dask'}",
    ]
    processes = []
    for arguments in (scheduler, worker, worker, worker):
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        while not result.exists():
            time.sleep(0.1)
    time.sleep(0.5)
    yield json.loads(result.read_text())["address"], [process.pid for process in processes[1:]]
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _kill_a_worker(nannies: list[int], moments: random.Random) -> None:
    """Kill the process that a nanny watches; it starts another one."""
    nanny = moments.choice(nannies)
    children = Path(f"/proc/{nanny}/task/{nanny}/children").read_text().split()
    with suppress(ProcessLookupError):
        os.kill(int(moments.choice(children)), signal.SIGKILL)


def _on_a_cluster(
    folder: Path, start: Start, cluster: tuple[str, list[int]], count: int, longest: float
) -> int:
    address, nannies = cluster
    (folder / "plan.toml").write_text(PLAN)
    arguments = ("plan.toml", "--dask", address, "--quiet")
    kills = killed_again_and_again(start, arguments, folder, longest, seed=count)
    moments = random.Random(count)
    process = start(*arguments)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=moments.uniform(2, 5))
    if process.poll() is None:
        _kill_a_worker(nannies, moments)
        process.communicate(timeout=600)
    code, report, _ = finished(start, *arguments)
    problems = [entry for entry in report["conversions"] if entry["verdict"] != "match"]
    assert (code, problems) == (0, [])
    assert require_whole(folder / "out") == len(report["conversions"]) == count
    for number in range(0, count, 7):
        name = f"m{number:03}"
        assert ckptconv.verify(folder / "models" / name, folder / "out" / name, "weights").matches
    return kills


@pytest.mark.thorough
def test_a_few_on_a_cluster(
    make_models: MakeModels, start: Start, cluster: tuple[str, list[int]]
) -> None:
    """Three workers share three checkpoints, and the report is that of one machine."""
    folder = make_models(3)
    (folder / "plan.toml").write_text(PLAN)
    code, report, _ = finished(start, "plan.toml", "--dask", cluster[0], "--quiet")
    problems = [entry for entry in report["conversions"] if entry["verdict"] != "match"]
    assert (code, problems) == (0, [])
    assert require_whole(folder / "out") == len(report["conversions"]) == 3


@pytest.mark.soak
def test_two_hundred_on_a_cluster(
    make_models: MakeModels, start: Start, cluster: tuple[str, list[int]], counted: Counted
) -> None:
    """Two hundred, runs and a worker killed at random points: every output is whole, and the report is true."""
    kills = _on_a_cluster(make_models(200), start, cluster, 200, 25.0)
    counted(f"batch on a cluster: {kills} runs of 200 checkpoints killed, resumed to the end")


IMPATIENT = """
from ckptconv.batches import engines
from ckptconv.cli.main import main
engines.CONNECT_SECONDS = 1
main()
"""


@pytest.mark.thorough
def test_no_cluster_is_a_sentence(make_models: MakeModels) -> None:
    """An address where nobody answers is exit code 5, and nothing is converted."""
    pytest.importorskip("distributed")
    folder = make_models(1)
    (folder / "plan.toml").write_text(PLAN)
    process = subprocess.run(
        [sys.executable, "-c", IMPATIENT, "batch", "plan.toml", "--dask", "tcp://127.0.0.1:9"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 5, process.stderr
    assert b"no Dask scheduler answers" in process.stderr
    assert not (folder / "out").exists()
