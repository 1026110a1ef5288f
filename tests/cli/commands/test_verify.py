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
    outcome = cli("verify", dates, dates, "--level", "weights", f"--tolerance={value}")
    assert outcome.code == 2
    assert "is not ATOL or ATOL,RTOL, such as 1e-4 or 1e-5,1e-3" in outcome.err


def test_inputs_are_read_before_anything_runs(
    cli: Cli, dates: Path, converted_tf: Path, tmp_path: Path
) -> None:
    """A file of inputs that cannot be used is refused, with exit code 3."""
    (tmp_path / "inputs.jsonl").write_text('{"txt": "one"}\n')
    outcome = cli("verify", dates, converted_tf, "--inputs", tmp_path / "inputs.jsonl")
    assert (outcome.code, outcome.out) == (3, "")
    assert 'inputs.jsonl: line 1: expected {"text": "...", "target": "..."}' in outcome.err


def test_weights_of_tf_against_flax(cli: Cli, converted_tf: Path, converted_flax: Path) -> None:
    """Neither side has to be PyTorch's: what was healed for Flax is undone on the way."""
    outcome = cli("verify", converted_tf, converted_flax, "--level", "weights")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "MATCH: bert -> bert, flax msgpack against tf, weights"
    back = cli("verify", converted_flax, converted_tf, "--level", "weights")
    assert back.out.splitlines()[-1] == "MATCH: bert -> bert, tf hdf5 against flax, weights"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("dates",), "Missing argument 'TARGET'"),
        (("--trace", "file", "dates", "tf"), "--trace replaces SOURCE"),
        (("--trace", "file", "tf", "--text", "one"), "--trace replaces SOURCE"),
        (("--trace", "file", "tf", "--save-trace", "other"), "--trace replaces SOURCE"),
        (
            ("dates", "tf", "--level", "weights", "--min-coverage", "50"),
            "--level weights runs no model",
        ),
        (("dates", "--level", "weights", "--save-trace", "file"), "--level weights runs no model"),
        (
            ("dates", "--save-trace", "file", "--min-coverage", "5"),
            "without TARGET nothing is compared",
        ),
        (
            ("dates", "--save-trace", "file", "--junit", "other"),
            "without TARGET nothing is compared",
        ),
        (("dates", "tf", "--min-coverage", "101"), "101.0 is not in the range 0<=x<=100"),
    ],
)
def test_options_that_contradict_each_other(
    cli: Cli, dates: Path, converted_tf: Path, tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    """Wrong usage is said before anything is read."""
    paths = {
        "dates": dates,
        "tf": converted_tf,
        "file": tmp_path / "a.trace",
        "other": tmp_path / "b",
    }
    outcome = cli("verify", *(paths.get(word, word) for word in args))
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_a_trace_that_is_none(cli: Cli, dates: Path, converted_tf: Path) -> None:
    """A file of weights is refused as a trace, and says what makes one."""
    outcome = cli("verify", "--trace", dates / "model.safetensors", converted_tf)
    assert outcome.code == 3
    assert "not a trace; `ckptconv verify SOURCE --save-trace FILE` writes one." in outcome.err
    assert cli("verify", "--trace", dates / "none", converted_tf).code == 3
