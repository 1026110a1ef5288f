"""What the frameworks are at: told by a child, read by its parent, and shown with the time that is left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ckptconv
from ckptconv.run.phases import FILE, Phase, Phases, Teller, listening, tell_phases
from terminal import on_terminal


def test_a_child_tells_and_its_parent_reads(tmp_path: Path) -> None:
    """The step, its precision and the share that is done; a file that is cut, or not there, is no news."""
    heard: list[Phases] = []
    teller = Teller(tmp_path)
    teller.expect(2, 0, ("float32",))
    teller.begin("float32", "probe first", 1.0)
    teller.begin("float32", "probe last", 1.0)
    with listening(heard.append):
        tell_phases([("pytorch", tmp_path), ("tf", tmp_path / "none")], 1, 3, 30.0)
        (tmp_path / FILE).write_text("{")
        tell_phases([("pytorch", tmp_path)], 0, 1, 1.0)
    tell_phases([("pytorch", tmp_path)], 0, 1, 1.0)
    expected = Phase("pytorch", "float32", "probe last", "", 0.5)
    assert [phases.running for phases in heard] == [
        (expected, Phase("tf")),
        (Phase("pytorch"),),
    ]
    assert str(heard[0]) == ("PyTorch float32: probe last; TensorFlow: loading; about 00:30 left")
    assert heard[1].left is None


def test_a_bar_for_python(dates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It moves with the bytes, to the end."""
    with ckptconv.progress_bar("writing") as bar:
        ckptconv.pt2tf(dates, tmp_path / "tf", options=ckptconv.WriteOptions(progress=bar))
    shown = capsys.readouterr().err
    assert "writing: 100%" in shown
    assert "3.32M/3.32M" in shown


@pytest.mark.frameworks
def test_frameworks_tell_what_they_run(dates: Path, tmp_path: Path) -> None:
    """The framework's name while it loads, then precision and probe or search, however quick the models are."""
    ckptconv.normalize(dates, tmp_path / "same")
    heard: list[Phases] = []
    with listening(heard.append):
        assert ckptconv.verify(dates, tmp_path / "same").matches
    steps = [phase for phases in heard for phase in phases.running]
    assert str(steps[0]) == "PyTorch: loading"
    assert re.fullmatch(r"PyTorch float(32|64): (probe|search) .+", str(steps[-1]))


BAR = """
import sys, time
from pathlib import Path
from ckptconv.cli import speech
from ckptconv.run.phases import Teller, tell_phases
speech.DELAY_SECONDS, speech.TICK_SECONDS = 0.0, 0.05
folder = Path(sys.argv[1])
with speech.progress("running the models", models=True):
    for step in ("", "probe padded " * 9):
        if step:
            Teller(folder).begin("float64", step, 1.0)
        tell_phases([("pytorch", folder)], 0, 1, 1.0)
        time.sleep(0.5)
"""


def test_a_terminal_shows_what_is_run(tmp_path: Path) -> None:
    """What is told stands in the place of the label, cut to the terminal, and nothing of it stays."""
    shown = on_terminal("-c", BAR, str(tmp_path), columns=72)
    assert shown.code == 0, shown.err
    lines = [line.rstrip() for line in shown.err.split("\r")]
    assert any(line.startswith("running the models: PyTorch: loading: 00:0") for line in lines)
    assert any(
        line.startswith("running the models: PyTorch float64: probe padded") for line in lines
    )
    assert max(map(len, lines)) < 72
    assert not lines[-1]
