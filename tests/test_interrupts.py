"""Signals become exceptions, and wait while they are held."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from ckptconv.errors import Interrupted
from ckptconv.interrupts import SIGNALS, held, install


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
    with held():
        with held():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("inner")
        done.append("outer")


def failing() -> None:
    """Fail in a block in which a signal came."""
    with held():
        os.kill(os.getpid(), signal.SIGTERM)
        raise KeyError


def test_a_held_signal_comes_when_the_block_ends() -> None:
    """What stands in the blocks is done; then the signal is raised, once."""
    done: list[str] = []
    with pytest.raises(Interrupted):
        nested(done)
    with held():
        done.append("after")
    assert done == ["inner", "outer", "after"]


def test_an_error_in_the_block_is_not_hidden() -> None:
    """An exception of the block's own goes on; the signal that came meanwhile is raised by the next block."""
    with pytest.raises(KeyError):
        failing()
    with pytest.raises(Interrupted), held():
        pass
