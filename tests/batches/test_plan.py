"""A plan says what a batch does; whatever is wrong with it is said at once, and nothing is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptconv.base.errors import UsageError
from ckptconv.batches.plan import pattern_plan, read_plan

GOOD = """
[defaults]
command = "pt2tf"
level = "weights"
heal = false

[[conversion]]
source = "models/*"
target = "out/{name}-tf"
format = "safetensors"

[[conversion]]
command = "verify"
level = "outputs"
source = "org/name"
target = "models/a"
texts = ["a", "b"]
"""
WRONG = {
    'command = "pt2tf"\nsource = "a"': "conversion 1: has no target",
    'command = "convert"\nsource = "a"\ntarget = "b"': "'convert' is not one of pt2tf",
    'command = "pt2tf"\nsource = "a"\ntarget = "b"\nlevle = "weights"': "did you mean level?",
    'command = "pt2tf"\nsource = "a"\ntarget = "b"\nheal = true': "no key 'heal'",
    'command = "pt2tf"\nsource = "a"\ntarget = "b"\nseed = true': "seed = True is not an integer",
    'command = "pt2tf"\nsource = "a"\ntarget = "b"\ntexts = "x"': "is not a list of strings",
    'command = "pt2tf"\nsource = "a"\ntarget = "b"\nlevel = "output"': "'output' is not one of",
    'command = "pt2tf"\nsource = "nosuch*"\ntarget = "{name}"': "matches no directory",
    'command = "pt2tf"\nsource = "models/*"\ntarget = "b"': "2 checkpoints and one target",
}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory, the working one, with two checkpoints and a folder that is none."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "notes"):
        (tmp_path / "models" / name).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "models" / name / "config.json").write_text("{}")
    return tmp_path


def test_a_plan_is_read(models: Path) -> None:
    """A pattern stands for its checkpoints; a default that a command does not take is not its own."""
    (models / "plan.toml").write_text(GOOD)
    tasks = read_plan(Path("plan.toml"))
    assert [str(task) for task in tasks] == [
        "pt2tf models/a out/a-tf",
        "pt2tf models/b out/b-tf",
        "verify org/name models/a",
    ]
    assert tasks[0].options == {"format": "safetensors"}
    assert (tasks[2].level, tasks[2].options) == ("outputs", {"texts": ["a", "b"]})


@pytest.mark.parametrize(("entry", "problem"), WRONG.items())
def test_what_is_wrong_is_said(models: Path, entry: str, problem: str) -> None:
    """Each mistake has its sentence."""
    (models / "plan.toml").write_text(f"[[conversion]]\n{entry}\n")
    with pytest.raises(UsageError, match="nothing was converted") as error:
        read_plan(Path("plan.toml"))
    assert problem in str(error.value)


def test_all_mistakes_are_said_together(models: Path) -> None:
    """Whoever mends the first does not find the second in the next run."""
    (models / "plan.toml").write_text("".join(f"[[conversion]]\n{entry}\n" for entry in WRONG))
    with pytest.raises(UsageError) as error:
        read_plan(Path("plan.toml"))
    assert [problem for problem in WRONG.values() if problem not in str(error.value)] == []


def test_conversions_are_apart(models: Path) -> None:
    """No two write one target, and none reads what another writes: a batch has no order."""
    entries = [
        'command = "pt2tf"\nsource = "models/a"\ntarget = "out"',
        'command = "pt2flax"\nsource = "models/b"\ntarget = "./out"',
        'command = "tf2pt"\nsource = "out"\ntarget = "back"',
    ]
    (models / "plan.toml").write_text("".join(f"[[conversion]]\n{entry}\n" for entry in entries))
    with pytest.raises(UsageError) as error:
        read_plan(Path("plan.toml"))
    assert "./out: is the target of two conversions" in str(error.value)
    assert "out: is read by one conversion and written by another" in str(error.value)


def test_a_pattern_is_a_plan(models: Path) -> None:
    """Every checkpoint that it matches, and nothing else that lies there."""
    tasks = pattern_plan("models/*", "out/{name}", "pt2flax", "weights")
    assert [(task.source, task.target) for task in tasks] == [
        ("models/a", "out/a"),
        ("models/b", "out/b"),
    ]
