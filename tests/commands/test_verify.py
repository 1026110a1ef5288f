"""`verify`: its options, as the command line takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Cli


@pytest.mark.parametrize("value", ["", "a", "1,2,3", "-1", "nan", "1e-3,inf"])
def test_a_tolerance_is_one_or_two_numbers(cli: Cli, dates: Path, value: str) -> None:
    """Anything else is wrong usage, and says how it is written."""
    done = cli("verify", dates, dates, "--level", "weights", f"--tolerance={value}")
    assert done.code == 2
    assert "is not ATOL or ATOL,RTOL, such as 1e-4 or 1e-5,1e-3" in done.err


def test_inputs_are_read_before_anything_runs(cli: Cli, dates: Path, converted_tf: Path, tmp_path: Path) -> None:
    """A file of inputs that cannot be used is refused, with exit code 3."""
    (tmp_path / "inputs.jsonl").write_text('{"txt": "one"}\n')
    done = cli("verify", dates, converted_tf, "--inputs", tmp_path / "inputs.jsonl")
    assert (done.code, done.out) == (3, "")
    assert 'inputs.jsonl: line 1: expected {"text": "...", "target": "..."}' in done.err


def test_weights_of_tf_against_flax(cli: Cli, converted_tf: Path, converted_flax: Path) -> None:
    """Neither side has to be PyTorch's: what was healed for Flax is undone on the way."""
    done = cli("verify", converted_tf, converted_flax, "--level", "weights")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "MATCH: bert -> bert, flax msgpack against tf, weights"
    back = cli("verify", converted_flax, converted_tf, "--level", "weights")
    assert back.out.splitlines()[-1] == "MATCH: bert -> bert, tf hdf5 against flax, weights"
