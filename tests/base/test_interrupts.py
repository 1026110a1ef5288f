"""Signals become exceptions, and wait while they are held."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import click
import pytest

from ckptconv.base.errors import Interrupted
from ckptconv.base.workers import (
    SIGNALS,
    install,
    note_published,
    note_until_published,
    signals_blocked,
)
from ckptconv.cli.main import cli as group

UNWRITTEN = ": nothing was written"


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Install the handlers for one test, and put the old ones back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_exception(number: signal.Signals) -> None:
    """The exception knows its signal, for the exit code."""
    with pytest.raises(Interrupted) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.signal_number == number


def nested(done: list[str]) -> None:
    """Note what was done while a signal was held, in a block within a block."""
    with signals_blocked():
        with signals_blocked():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("inner")
        done.append("outer")


def failing() -> None:
    """Fail in a block in which a signal came."""
    with signals_blocked():
        os.kill(os.getpid(), signal.SIGTERM)
        raise KeyError


def test_a_held_signal_comes_when_the_block_ends() -> None:
    """What stands in the blocks is done; then the signal is raised, once."""
    outcomes: list[str] = []
    with pytest.raises(Interrupted):
        nested(outcomes)
    with signals_blocked():
        outcomes.append("after")
    assert outcomes == ["inner", "outer", "after"]


def test_an_error_in_the_block_is_not_hidden() -> None:
    """An exception of the block's own goes on; the signal that came meanwhile is raised by the next block."""
    with pytest.raises(KeyError):
        failing()
    with pytest.raises(Interrupted), signals_blocked():
        pass


@pytest.mark.parametrize("number", SIGNALS)
def test_only_the_first_signal_counts(number: signal.Signals) -> None:
    """What is cleared up after a signal is not disturbed by another."""
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), number)


def test_what_was_published_is_said() -> None:
    """After a target exists no interruption says that nothing was written; a new command line begins anew."""
    note_published("out")
    with pytest.raises(Interrupted) as caught:
        os.kill(os.getpid(), signal.SIGTERM)
    assert str(caught.value) == "interrupted, but out is published and whole"
    install()
    with pytest.raises(Interrupted) as caught:
        os.kill(os.getpid(), signal.SIGTERM)
    assert str(caught.value) == "interrupted"


COMMANDS = {
    "check a": "",
    "diff a b": "",
    "inspect a": "",
    "verify a b": "",
    "verify a b --push org/name": "",
    "demo a": UNWRITTEN,
    "export a b": UNWRITTEN,
    "flax2pt a b": UNWRITTEN,
    "join a b c": UNWRITTEN,
    "normalize a b": UNWRITTEN,
    "pt2flax a b": UNWRITTEN,
    "pt2tf a b --dry-run": UNWRITTEN,
    "split a b": UNWRITTEN,
    "tf2pt a b": UNWRITTEN,
}


@pytest.mark.parametrize(("line", "otherwise"), COMMANDS.items())
def test_an_interruption_says_what_is_true_of_the_command(line: str, otherwise: str) -> None:
    """What writes says that nothing was written, until its target is there; what only reads says nothing of that."""
    name, *args = line.split()
    context = click.Context(group)
    command = group.get_command(context, name)
    assert command is not None
    with (
        command.make_context(name, args, parent=context),
        pytest.raises(Interrupted) as caught,
    ):
        os.kill(os.getpid(), signal.SIGINT)
    assert str(caught.value) == f"interrupted{otherwise}"


def test_while_something_is_uploaded() -> None:
    """Nobody here knows whether the hub took it, so the interruption says where to look."""
    note_until_published("the upload may be on the hub or not; look at org/name")
    with pytest.raises(Interrupted, match=r"^interrupted: the upload may be .* look at org/name$"):
        os.kill(os.getpid(), signal.SIGTERM)
