"""A number that is none, or out of its range, is wrong usage: of every option of every verb that takes a number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import pytest

import ckptconv
from ckptconv.base.errors import UsageError
from ckptconv.cli.main import FilledText
from ckptconv.cli.main import cli as group

if TYPE_CHECKING:
    from conftest import Cli

TEXTUAL = (
    click.Path,
    click.Choice,
    FilledText,
    click.types.StringParamType,
    click.types.BoolParamType,
)
NO_NUMBERS = ("nan", "inf", "-inf", "-1", "x", "", "0x10", "1e999", "1 0")
EXAMPLES = {
    ("verify", "--seed"),
    ("verify", "--min-coverage"),
    ("verify", "--timeout"),
    ("verify", "--tolerance"),
    ("join", "--seed"),
    ("export", "--timeout"),
    ("export", "--max-length"),
    ("doctor", "--timeout"),
    ("batch", "--jobs"),
    ("pt2tf", "--max-shard-size"),
}
"""What is at least found."""


def number_options() -> Iterator[tuple[str, str]]:
    """Return verb and option of everything on the command line that takes a number."""
    context = click.Context(group)
    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not isinstance(parameter.type, TEXTUAL):
                yield verb, parameter.opts[0]


def test_what_is_no_number_is_wrong_usage(cli: Cli) -> None:
    """Exit code 2 with the option's name, before any work, and nothing on standard output."""
    options = set(number_options())
    assert options >= EXAMPLES
    for verb, option in sorted(options):
        for value in NO_NUMBERS:
            outcome = cli(verb, option, value, "absent", "absent", "absent")
            assert (outcome.code, outcome.out) == (2, ""), (verb, option, value, outcome)
            assert f"Invalid value for '{option}'" in outcome.err, (verb, option, value, outcome)


def test_a_time_that_is_too_long_is_called_so(cli: Cli) -> None:
    """It is above zero, which is all that the help asks of it."""
    for verb in ("verify", "export", "doctor"):
        outcome = cli(verb, "--timeout", "1e10", "absent", "absent")
        assert "'1e10' is more than 9223372036, the longest time" in outcome.err, (verb, outcome)
    with pytest.raises(UsageError, match=r"timeout: 1000000000000.0 is not from 0 to 9"):
        ckptconv.doctor(timeout=1e12)
