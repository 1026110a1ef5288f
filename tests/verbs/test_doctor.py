"""`doctor` on machines of every kind: what works, what does not, why, and what to install."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv import __version__
from ckptconv.base.environment import install_command
from machine import machine

if TYPE_CHECKING:
    from conftest import Cli

ALL = (
    "torch transformers safetensors tensorflow tf-keras jax jaxlib flax huggingface_hub jinja2 plotly"
    " fsspec aiohttp s3fs gcsfs adlfs distributed"
)
BARE = f"""\
ckptconv {__version__}, Python X

core     works     convert, split, join, inspect, diff, verify --level weights
                   blake3 X, click X, h5py X, numpy X, packaging X, tabulate X, tqdm X
pytorch  missing   verify: runs PyTorch models
                   not installed: torch, transformers, safetensors
                   Install it with: {install_command("pytorch")}
tf       missing   verify: runs TensorFlow models
                   h5py X
                   not installed: tensorflow, tf-keras, transformers
                   Install it with: {install_command("tf")}
flax     missing   verify: runs Flax models
                   not installed: jax, jaxlib, flax, transformers
                   Install it with: {install_command("flax")}
hub      missing   reads checkpoints from the Hugging Face hub: org/name
                   not installed: huggingface_hub
                   Install it with: {install_command("hub")}
html     missing   HTML reports: --html
                   not installed: jinja2, plotly
                   Install it with: {install_command("html")}
remote   missing   reads checkpoints from a web server, by ranges: https://
                   not installed: fsspec, aiohttp
                   Install it with: {install_command("remote")}
s3       missing   reads checkpoints from S3: s3://
                   not installed: fsspec, s3fs
                   Install it with: {install_command("s3")}
gs       missing   reads checkpoints from Google Cloud Storage: gs://
                   not installed: fsspec, gcsfs
                   Install it with: {install_command("gs")}
az       missing   reads checkpoints from Azure: az://
                   not installed: fsspec, adlfs
                   Install it with: {install_command("az")}
dask     missing   runs batch on a Dask cluster: --dask
                   not installed: distributed
                   Install it with: {install_command("dask")}

machine  N, N of memory, disk: N free in HERE, N free in TEMP
"""


def components(text: str) -> dict[str, tuple[str, str]]:
    """Return component -> state and reason."""
    return {
        component["name"]: (component["state"], component["reason"])
        for component in json.loads(text)["components"]
    }


@pytest.mark.thorough
def test_a_machine_with_the_core_alone(run: Cli, tmp_path: Path) -> None:
    """What is optional and missing is named with what to install, and the exit code is 0."""
    outcome = run("doctor", env=machine(tmp_path / "m", without=ALL))
    text = re.sub(
        r"(?<=, Python )[\w.]+|(?<=(?:ake3|h5py|lick|umpy|ging|late|tqdm) )\d[\w.+]+",
        "X",
        outcome.out,
    )
    text = re.sub(r"X,\s+(tabulate|tqdm)", r"X, \1", text)
    text = re.sub(r"machine  \d+ cores?, [\d.]+ GB", "machine  N, N", text)
    text = re.sub(
        r"disk: \S+ \S+ free in .*, \S+ \S+ free in .*",
        "disk: N free in HERE, N free in TEMP",
        text,
    )
    assert (outcome.code, text, outcome.err) == (0, BARE, "")


@pytest.mark.thorough
def test_machines_that_are_broken(run: Cli, tmp_path: Path) -> None:
    """Old versions, transformers without the class, a library that dies or hangs: each is told apart."""
    modules = {
        "torch": "",
        "transformers": "EncoderDecoderModel = 1\n",
        "safetensors": "",
        "tensorflow": "",
        "tf_keras": "",
        "jax": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n",
        "flax": "",
        "jinja2": "import time; time.sleep(60)\n",
        "huggingface_hub": "raise ImportError('libssl is \\x1b[31m not there')\n",
    }
    versions = {"torch": "1.13.1+cpu", "transformers": "5.1.0"}
    env = machine(tmp_path / "m", modules=modules, versions=versions)
    outcome = run("doctor", "--json", "--timeout", "2", env=env)
    result = components(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    assert result.pop("core") == ("works", "")
    for name in ("remote", "s3", "gs", "az", "dask"):
        del result[name]
    assert result == {
        "pytorch": (
            "untested",
            "torch 1.13.1+cpu: tested with >=2.6",
        ),
        "tf": (
            "broken",
            "transformers has no class TFEncoderDecoderModel; 4.57 is the last line that has them all",
        ),
        "flax": ("broken", "the process that imported it was killed by SIGSEGV"),
        "hub": ("broken", "ImportError: libssl is \x1b[31m not there"),
        "html": ("broken", "no answer within 2 s"),
    }
    shown = run("doctor", "--timeout", "2", env=env).out
    assert "\\x1b[31m not there" in shown
    assert "transformers 5.1.0 has no TF or Flax classes; installing [tf] here would" in shown
    assert "\x1b" not in shown


@pytest.mark.thorough
def test_a_core_that_does_not_work(run: Cli, tmp_path: Path) -> None:
    """Without numpy nothing else is asked, and the exit code is 5."""
    outcome = run(
        "doctor",
        env=machine(tmp_path / "m", modules={"numpy": "raise ImportError('wrong processor')\n"}),
    )
    assert (outcome.code, outcome.err) == (5, "")
    lines = [line.strip() for line in outcome.out.splitlines()]
    assert lines[2].startswith("core     broken    convert, split")
    assert lines[-4:-2] == [
        "ImportError: wrong processor",
        f"Install it with: {install_command('')}",
    ]
    assert lines[-1].startswith("machine ")


@pytest.mark.thorough
@pytest.mark.frameworks
def test_this_machine(run: Cli) -> None:
    """Here everything is installed and works; the JSON has versions, and the machine in numbers."""
    outcome = run("doctor", "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    states = components(outcome.out)
    stores = {name: states.pop(name)[0] for name in ("s3", "gs", "az")}
    assert set(stores.values()) <= {"works", "missing"}
    assert states == dict.fromkeys(
        ("core", "pytorch", "tf", "flax", "hub", "html", "remote", "dask"), ("works", "")
    )
    assert all(
        version
        for component in document["components"]
        if component["name"] in states
        for version in component["versions"].values()
    )
    assert document["works"] is True
    assert document["cores"] > 0
    assert document["memory_bytes"] > 1 << 30
    assert all(free > 0 for free in document["free_bytes"].values())
