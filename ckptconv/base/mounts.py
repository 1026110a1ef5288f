"""Mount points, so that what is removed is never another file system's, nor another directory's by a bind mount."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
ESCAPE = re.compile(rb"\\([0-7]{3})")


def mount_points() -> frozenset[bytes]:
    """Return the path of every mount point that this process sees; none where /proc is missing.

    A bind mount of the same file system has the device number of its surroundings, so that only this list tells it.
    Source: proc_pid_mountinfo(5): the fifth field, with space, tab, newline and backslash in octal.
    """
    try:
        lines = MOUNTINFO.read_bytes().splitlines()
    except OSError:
        return frozenset()
    fields = (line.split(b" ") for line in lines)
    return frozenset(
        ESCAPE.sub(lambda octal: bytes([int(octal[1], 8)]), parts[4])
        for parts in fields
        if len(parts) > 4
    )


def is_mount_point(path: Path, points: frozenset[bytes]) -> bool:
    """Tell whether something is mounted at a path.

    Args:
        path: it and its parents may be reached through links; the entry itself is not followed.
        points: what `mount_points` returned.
    Raises: OSError: it is not there.
    """
    real = Path(os.path.realpath(path.parent), path.name)
    return os.fsencode(real) in points or path.lstat().st_dev != path.parent.stat().st_dev
