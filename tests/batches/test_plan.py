"""A plan says what a batch does; whatever is wrong with it is said at once, and nothing is begun."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptconv.base.errors import UsageError
from ckptconv.batches.evidence import shaping_options, states
from ckptconv.batches.plan import COMMANDS, pattern_plan, read_plan
from ckptconv.batches.task import Task
from ckptconv.cli.commands import batch as command
from ckptconv.cli.commands.batch import COMMANDS as OFFERED

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
    'command = "pt2tf"\nsource = "a"\ntarget = "b"\nseed = true': "seed = true is not an integer",
    'command = "pt2tf"\nsource = "a"\ntarget = "b"\ntexts = "x"': "is not a list of strings",
    'command = "pt2tf"\nsource = "a"\ntarget = "b"\nlevel = "output"': "'output' is not one of",
    'command = "pt2tf"\nsource = "nosuch*"\ntarget = "{name}"': "matches no directory",
    'command = "pt2tf"\nsource = "models/*"\ntarget = "b"': "2 checkpoints and one target",
}

VALUES = {
    'dtype = "fp16"': "dtype: 'fp16' is not one of 'keep', 'float32'",
    "max_shard_bytes = 0": "max_shard_bytes: 0 is not at least 1",
    'format = "msgpack"': "format: 'msgpack' is not one of 'hdf5', 'safetensors'",
    'command = "pt2flax"\nformat = "hdf5"': "format: 'hdf5' is not one of 'msgpack', 'safetensors'",
    'command = "flax2pt"\npositions = "pytorch"': "positions: 'pytorch' is not one of",
    'command = "verify"\npositions = "pytorch"': "positions: 'pytorch' is not one of",
    "seed = -1": "seed: -1 is not at least 0",
    "seed = 9223372036854775808": "is not at most 9223372036854775807",
    "min_coverage = 101": "min_coverage: 101 is not from 0 to 100",
    "min_coverage = nan": "min_coverage: nan is not a number",
    'min_coverage = 50\nlevel = "weights"': "level 'weights' runs no model",
    "timeout = 0": "timeout: 0 is not a time",
    f"seed = 0x{'f' * 6000}": "seed: an integer of thousands of digits is not at most",
    f"timeout = 0x{'f' * 6000}": "timeout: an integer of thousands of digits is not from 0 to",
    f"min_coverage = 1{'0' * 400}": "00 is not from 0 to 100",
    f"level = 0x{'f' * 6000}": "level = an integer of thousands of digits is not a string",
    "seed = 1979-05-27": "seed = datetime.date(1979, 5, 27) is not an integer",
    "timeout = inf": "timeout: inf is not a number",
    'inputs = "nosuch.jsonl"': "inputs: nosuch.jsonl: no such file",
    'inputs = "models"': "inputs: models: is a directory, not a file",
    'target = ""': "target = '' is empty",
    'target = "s3://bucket/a"': "target: s3://bucket/a: an address can be read, not written",
    'source = "a\\u0000b"': "is not a name",
    'command = "tf2pt"\nforward_only = true': "no key 'forward_only'",
}
"""What has the right type, and is yet none that the verb takes -> what is said of it."""


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
        'command = "normalize"\nsource = "models/a"\ntarget = "back/parts"',
        'command = "normalize"\nsource = "back/parts"\ntarget = "last"',
    ]
    (models / "plan.toml").write_text("".join(f"[[conversion]]\n{entry}\n" for entry in entries))
    with pytest.raises(UsageError) as error:
        read_plan(Path("plan.toml"))
    assert "./out: is the target of two conversions" in str(error.value)
    assert "out: is read by one conversion and written by another" in str(error.value)
    assert "back/parts: lies in back, which another conversion writes" in str(error.value)
    assert "back/parts: is read by one conversion and written" in str(error.value)


def test_the_command_line_offers_the_commands_of_a_plan() -> None:
    """They stand there in full, so that help imports no verb."""
    assert OFFERED == COMMANDS


def test_a_pattern_is_a_plan(models: Path) -> None:
    """Every checkpoint that it matches, and nothing else that lies there."""
    tasks = pattern_plan("models/*", "out/{name}", "pt2flax", "weights")
    assert [(task.source, task.target) for task in tasks] == [
        ("models/a", "out/a"),
        ("models/b", "out/b"),
    ]


def test_every_value_is_checked_before_the_first_conversion(models: Path) -> None:
    """A value that the verb would refuse is refused with the plan, wherever in it, all of them at once."""
    entries = []
    for number, wrong in enumerate(VALUES):
        keys = {"command": '"pt2tf"', "source": '"models/a"', "target": f'"out/{number}"'}
        keys |= dict(line.split(" = ", 1) for line in wrong.split("\n"))
        entries.append("\n".join(f"{key} = {value}" for key, value in keys.items()))
    good = [
        f'command = "pt2flax"\nsource = "models/a"\ntarget = "good/{number}"\nforward_only = true'
        for number in range(200)
    ]
    plan = "".join(f"[[conversion]]\n{entry}\n" for entry in (*good, *entries))
    (models / "plan.toml").write_text(plan)
    with pytest.raises(UsageError) as error:
        read_plan(Path("plan.toml"))
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == len(VALUES)
    for number, (line, said) in enumerate(zip(lines, VALUES.values(), strict=True), 201):
        assert line.startswith(f"  conversion {number}: ")
        assert said in line


def test_the_command_line_names_every_command() -> None:
    """What a plan may do, a pattern may too."""
    assert command.COMMANDS == COMMANDS


def test_options_are_those_of_the_manifest() -> None:
    """What shapes an output and is left out of a plan has the default of its command."""
    options = shaping_options(Task("pt2flax", "a", "b", options={"forward_only": True}))
    assert options == {
        "dtype": "keep",
        "max_shard_bytes": None,
        "allow_overflow": False,
        "format": "msgpack",
        "heal": True,
        "forward_only": True,
    }


def test_a_file_that_was_written_to_is_another(tmp_path: Path) -> None:
    """Behind a link too, and where its size and its time are what they were."""
    (tmp_path / "blob").write_bytes(b"before")
    (tmp_path / "model" / "below").mkdir(parents=True)
    (tmp_path / "model" / "below" / "weights").symlink_to(tmp_path / "blob")
    before, status = states(tmp_path / "model"), (tmp_path / "blob").stat()
    assert states(tmp_path / "model") == before
    (tmp_path / "new").write_bytes(b"later!")
    os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "new").replace(tmp_path / "blob")
    assert states(tmp_path / "model") != before
