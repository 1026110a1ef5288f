"""What the watch sees, and what it lets pass."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ckptconv.trials.watch import Watch


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        (lambda inside, outside: (outside / "a").write_text(""), "open "),
        (lambda inside, outside: (inside / "out" / "a").write_text(""), "open "),
        (lambda inside, outside: os.close(os.open(os.fsencode(outside), os.O_RDONLY)), "open "),
        (lambda inside, outside: (outside / "made").mkdir(), "os.mkdir "),
        (
            lambda inside, outside: __import__("this_module_is_not_there"),
            "import 'this_module_is_not_there'",
        ),
        (lambda inside, outside: eval("1 + 1"), "compile "),
        (lambda inside, outside: os.system("true"), "os.system b'true'"),
        (lambda inside, outside: subprocess.run(["true"], check=True), "subprocess.Popen 'true'"),
        (lambda inside, outside: socket.socket().close(), "socket.__new__ "),
    ],
)
def test_seen(tmp_path: Path, act: Callable[[Path, Path], object], seen: str) -> None:
    """Files outside, links out of the folder, imports, code, processes and sockets are seen."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "out").symlink_to(outside)
    with Watch(inside, children=True) as watch, suppress(ImportError):
        act(inside, outside)

    assert [event for event in watch.events if event.startswith(seen)]


@pytest.mark.thorough
def test_passed(tmp_path: Path) -> None:
    """Files inside, descriptors, names below a directory's descriptor, and asked-for Pythons pass."""
    (tmp_path / "a").write_text("text")
    with Watch(tmp_path, children=True) as watch:
        assert (tmp_path / "a").read_text() == "text"
        (tmp_path / "b").mkdir()
        folder = os.open(tmp_path, os.O_RDONLY)
        os.close(os.open("a", os.O_RDONLY, dir_fd=folder))
        os.close(folder)
        subprocess.run([sys.executable, "-c", ""], check=True)

    assert watch.events == []


@pytest.mark.thorough
def test_outside_the_block(tmp_path: Path) -> None:
    """Nothing is noted before or after, and a Python that was not asked for is."""
    with Watch(tmp_path) as watch:
        subprocess.run([sys.executable, "-c", ""], check=True)
    (tmp_path.parent / "later").write_text("")

    assert watch.events == [f"subprocess.Popen {sys.executable!r}"]
