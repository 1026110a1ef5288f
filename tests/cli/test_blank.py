"""A blank value is wrong usage: a variable that was never set is no working directory, and no option left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import ckptconv
from ckptconv.base.errors import UsageError
from ckptconv.cli.main import cli as group
from ckptconv.run.inputs import read_inputs
from ckptconv.stores.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Cli


def blank_values() -> Iterator[tuple[str, ...]]:
    """Return, for every argument and option that takes a value, a command line that gives a blank one."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        arguments = [param for param in command.params if isinstance(param, click.Argument)]
        for param in command.params:
            for value in ("", " \t"):
                values = [value if own is param else "dates" for own in arguments]
                if param in arguments:
                    yield (name, *values)
                elif isinstance(param, click.Option) and not param.is_flag:
                    yield name, *values, param.opts[0], value


@pytest.mark.parametrize("args", blank_values(), ids=repr)
def test_a_blank_value_is_wrong_usage(
    cli: Cli, dates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    """Exit code 2, before anything is read or written; also in a directory that is a checkpoint itself."""
    folder = tmp_path / "dates"
    folder.symlink_to(dates)
    monkeypatch.chdir(folder)
    outcome = cli(*args)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Error: Invalid value for" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["dates"]


@pytest.mark.parametrize(
    "call",
    [
        ckptconv.inspect,
        ckptconv.check,
        ckptconv.demo,
        lambda blank: ckptconv.diff(blank, "dates"),
        lambda blank: ckptconv.verify("dates", blank),
        lambda blank: ckptconv.verify("dates", "dates", texts=["a", blank]),
        lambda blank: ckptconv.pt2tf(blank, "out"),
        lambda blank: ckptconv.split("dates", blank),
    ],
)
@pytest.mark.parametrize("blank", ["", " "])
def test_in_python(
    dates: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], object], blank: str
) -> None:
    """The functions refuse the same."""
    monkeypatch.chdir(dates.parent)
    with pytest.raises(UsageError, match="empty"):
        call(blank)


def test_in_a_file_of_inputs(dates: Path, tmp_path: Path) -> None:
    """A text of a data set may be blank: it is there, and both models answer it."""
    file = tmp_path / "inputs.jsonl"
    file.write_text('{"text": "the 1st of May"}\n{"text": " "}\n{"text": ""}\n')
    from ckptconv.schema.model import read_model

    model = read_model(open_checkpoint(dates).config)
    assert [example.source for example in read_inputs(file, model).examples] == [
        "the 1st of May",
        " ",
        "",
    ]
