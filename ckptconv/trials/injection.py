"""Runs of the command line in which a chosen call to the system fails or kills."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

from ckptconv.base.errors import FrameworkError

Injector: TypeAlias = Literal["strace", "shim"]
FAULTS = ("SIGKILL", "EIO", "SIGTERM", "ENOSPC", "SIGINT")
SYSCALLS = (
    "openat",
    "write",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "sendfile",
    "copy_file_range",
    "truncate",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "flock",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "utimensat",
)
"""What changes a disk. Of `openat` only the calls that write count."""
READING = (
    "access",
    "fstat",
    "getdents64",
    "lseek",
    "newfstatat",
    "openat",
    "pread64",
    "preadv",
    "read",
    "readlink",
    "stat",
    "lstat",
    "statx",
)
"""What reads a file or a directory, or asks what lies at a path."""
CALL = re.compile(r"^(\d+) +(\w+)\((.*)")
WRITING = re.compile(r"O_CREAT|O_WRONLY|O_RDWR")
NAMED = re.compile(r'"(/[^"]*)"')


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """The nth call of one name, in each thread of its own under strace."""

    name: str
    nth: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at a call."""

    call: Call
    kind: str
    """An error's name, or a signal's."""
    onwards: bool
    """At every later call of this name, too."""

    def __str__(self) -> str:
        return f"{self.kind} at {self.call.name} {self.call.nth}{' and all later' if self.onwards else ''}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: exit code, or minus the signal; and what it printed."""

    code: int
    said: str


class Injected:
    """A warm process that runs the command line, with faults; a context manager."""

    def __init__(self, injector: Injector, scratch: Path) -> None:
        """Take which way to inject, and an empty directory for notes."""
        self.exchanges = True
        """Whether the system of the runs can exchange two directories in one step."""
        self._injector = injector
        self._note = scratch / "calls"
        command = [sys.executable, "-P", "-m", "ckptconv.trials.warm"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Injected:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(
        self, args: Sequence[str], fault: Fault | None = None, *, at: Sequence[Path] = ()
    ) -> Ended:
        """Run the command line.

        Args: at: paths; only calls that concern one of them count. Empty: all. For strace alone.
        Raises: FrameworkError: this system does not let its processes be traced.
        """
        if fault is None:
            return self._ask({"args": args})
        if self._injector == "shim":
            spec = {
                "call": fault.call.name,
                "when": fault.call.nth,
                "fault": fault.kind,
                "onwards": fault.onwards,
            }
            return self._ask({"args": args, "shim": spec})
        what = f"signal={fault.kind}" if fault.kind.startswith("SIG") else f"error={fault.kind}"
        when = f"{fault.call.nth}{'+' if fault.onwards else ''}"
        trace = [
            "-e",
            f"trace={fault.call.name}",
            "-e",
            f"inject={fault.call.name}:{what}:when={when}",
        ]
        return self._ask({"args": args, "strace": [*trace, *_concerning(at), "-o", "/dev/null"]})

    def paths(self, args: Sequence[str], below: Path) -> list[Path]:
        """Run the command line undisturbed and return what it asks for at and below a directory, also in vain."""
        quiet = ["-e", "trace=%file", "-e", "signal=none", "-s", "4096"]
        self._ask({"args": args, "strace": [*quiet, "-o", str(self._note)]})
        named = NAMED.findall(self._note.read_text(errors="replace"))
        return sorted({Path(name) for name in named if Path(name).is_relative_to(below)})

    def reads(self, args: Sequence[str], at: Sequence[Path]) -> list[Call]:
        """Run the command line undisturbed and return every call that reads, or asks for, one of some paths, sorted."""
        return self._traced(args, READING, _concerning(at))

    def calls(self, args: Sequence[str]) -> list[Call]:
        """Run the command line undisturbed and return every call that changes the disk, sorted."""
        if self._injector == "shim":
            self._ask({"args": args, "shim": {"counts": str(self._note)}})
            counts: dict[str, int] = json.loads(self._note.read_text())
            return sorted(
                Call(name, nth) for name, count in counts.items() for nth in range(1, count + 1)
            )
        return self._traced(args, SYSCALLS, [])

    def _traced(
        self, args: Sequence[str], names: Sequence[str], words: Sequence[str]
    ) -> list[Call]:
        """Run the command line under strace and return the calls of these names, sorted."""
        traced = "trace=" + ",".join(f"?{name}" for name in names)
        quiet = ["-e", "signal=none", "-o", str(self._note)]
        self._ask({"args": args, "strace": ["-e", traced, *quiet, *words]})
        lines = self._note.read_text(errors="replace").splitlines()
        return sorted(set(_logged(lines, names)))

    def _ask(self, request: dict[str, Any]) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**request, "exchanges": self.exchanges}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(
            self._process.stdout.readline() or '{"unavailable": "its process ended"}'
        )
        if "unavailable" in answer:
            raise FrameworkError(
                f"faults cannot be injected with {self._injector} here: {answer['unavailable']}"
            )
        return Ended(answer["code"], answer["said"])


def _concerning(paths: Sequence[Path]) -> list[str]:
    """Return the words by which strace counts calls that concern one of some paths alone."""
    return [word for path in paths for word in ("-P", str(path))]


def _logged(lines: Sequence[str], names: Sequence[str]) -> Iterator[Call]:
    """Return the calls in a log of strace; it counts the calls of each thread for themselves."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        if not (match := CALL.match(line)):
            continue
        thread, name, rest = match.groups()
        counts[thread, name] += 1
        if names is READING or name != "openat" or WRITING.search(rest):
            yield Call(name, counts[thread, name])


def injector_here() -> Injector:
    """Return strace where it is installed and may trace, else the shim."""
    if shutil.which("strace") is None:
        return "shim"
    try:
        with Injected("strace", Path()) as runs:
            runs.run(["--version"], Fault(Call("fsync", 1), "EIO", onwards=False))
    except FrameworkError:
        return "shim"
    return "strace"
