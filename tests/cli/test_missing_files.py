"""A file or a directory that is not there: whatever names it, the refusal says what to give instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from ckptconv.cli.main import cli as group

if TYPE_CHECKING:
    from conftest import Cli

WRITTEN = {"html", "junit", "save_trace", "records"}
"""Options that name what a command writes; so does TARGET of every command but `verify`."""
LATE = {"bridge"}
"""Opened as ENCODER is, once it is known that the two need one."""
NEXT_STEP = re.compile(r"Did you mean|[Gg]ive |records a trace|create it first|Inputs are lines")


def path_arguments() -> Iterator[tuple[str, ...]]:
    """Return, for every path that a command reads, a command line in which that path leads nowhere."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        paths = [param for param in command.params if isinstance(param.type, click.Path)]
        arguments = [param for param in paths if isinstance(param, click.Argument)]
        for missing in paths:
            if missing.name in WRITTEN | LATE or (missing.name == "target" and name != "verify"):
                continue
            values = {param.name: "dates" for param in arguments}
            values |= {} if name == "verify" else {"target": "out"} if "target" in values else {}
            if missing in arguments:
                values[missing.name] = "nowhere.safetensors"
                yield (name, *values.values())
            elif missing.name == "trace":
                yield name, "--trace", "nowhere.jsonl", "dates"
            else:
                yield name, *values.values(), missing.opts[0], "nowhere.jsonl"


@pytest.mark.parametrize("args", path_arguments(), ids=" ".join)
def test_the_refusal_has_a_next_step(
    cli: Cli, dates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    """Every argument and option that is read, of every command: what is missing, and what to give."""
    (tmp_path / "dates").symlink_to(dates)
    monkeypatch.chdir(tmp_path)
    outcome = cli(*args, *(["--level", "weights"] if args[0] == "verify" else []))
    message = outcome.err.splitlines()[-1]
    assert outcome.code in (2, 3)
    assert re.search(r"nowhere\.\w+: no such (file|directory)", message), message
    assert NEXT_STEP.search(message.partition("no such")[2]), message
    assert [path.name for path in tmp_path.iterdir()] == ["dates"]


@pytest.mark.parametrize(
    ("args", "near"),
    [
        ("inspect dates/modl.safetensors", "dates/model.safetensors"),
        ("inspect datse", "dates"),
        ("check datse", "dates"),
        ("batch plam.toml", "plan.toml"),
        ("verify dates dates --level weights --inputs inputs.jsonk", "inputs.jsonl"),
        ("verify --trace dates.tracee dates", "dates.trace"),
    ],
)
def test_a_neighbour_is_offered(
    cli: Cli, dates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: str, near: str
) -> None:
    """What is spelt nearly so, and of the right kind, was probably meant."""
    (tmp_path / "dates").symlink_to(dates)
    for name in ("plan.toml", "inputs.jsonl", "dates.trace"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    outcome = cli(*args.split())
    assert (outcome.code, outcome.err.endswith(f". Did you mean {near}?\n")) == (3, True)
