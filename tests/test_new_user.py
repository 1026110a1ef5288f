"""A machine with the core alone: what needs no framework works, and the rest says what to install."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.environment import install_command
from machine import machine

if TYPE_CHECKING:
    from conftest import Cli

OPTIONAL = "torch transformers safetensors tensorflow tf-keras jax jaxlib flax huggingface_hub jinja2 plotly"


@pytest.mark.thorough
def test_all_but_outputs_works_without_frameworks(run: Cli, dates: Path, tmp_path: Path) -> None:
    """Every way there and back, the proof of the weights, and the look into both."""
    env = machine(tmp_path / "machine", without=OPTIONAL)
    for args in (
        ("split", dates, tmp_path / "parts"),
        ("join", tmp_path / "parts/encoder", tmp_path / "parts/decoder", tmp_path / "joined"),
        ("pt2tf", dates, tmp_path / "tf"),
        ("pt2flax", dates, tmp_path / "flax"),
        ("tf2pt", tmp_path / "tf", tmp_path / "back"),
        ("flax2pt", tmp_path / "flax", tmp_path / "again"),
        ("inspect", tmp_path / "tf", "--json"),
        ("diff", tmp_path / "tf", tmp_path / "flax"),
        ("verify", dates, tmp_path / "tf", "--level", "weights"),
    ):
        process = run(*args, env=env)
        assert (args[0], process.code, "Error" in process.err) == (args[0], 0, False)


@pytest.mark.thorough
def test_what_needs_a_framework_says_how_to_get_it(
    run: Cli, dates: Path, converted_tf: Path, tmp_path: Path
) -> None:
    """`verify` of outputs ends with what to install, and with what can be had at once."""
    process = run(
        "verify", dates, converted_tf, env=machine(tmp_path / "machine", without=OPTIONAL)
    )
    assert (process.code, process.out) == (5, "")
    first, *rest = process.err.splitlines()
    extra = first.removeprefix("Error: ").partition(" ")[0]
    assert extra in ("pytorch", "tf")
    assert " cannot be imported here: " in first
    assert rest == [
        f"Install it with: {install_command(extra)}",
        "`ckptconv doctor` shows what works here; `verify --level weights` needs no framework.",
    ]
