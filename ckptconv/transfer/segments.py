"""A file written in whole segments, from the bytes of its tensors in whatever order they come, and read on its heels.

Tensors begin and end anywhere, but what passes the page cache is written in aligned blocks, see below. So their
bytes are gathered in segments of the file, and a segment is written once, when all of it is there. What lies between
tensors was written when the file was laid out.

What was written is read back while the rest is still being written: the digests of the file take longer than anything
else, and so do not wait. It is read in long runs, so that a disk with a head has few ways to go.

To copy a gigabyte into the page cache takes a core 0.3 to 1 s, more where memory is short (measured, ext4, Linux 6.18);
to hand aligned memory to the disk takes 0.05 s, and to read it back 0.06 s. What is read back so comes from the disk,
and not from the memory that it was written to. That has a price: with a disk that reads 1.3 GB/s, `split` of a gigabyte
takes 2.0 s, where it would take 1.5 with the page cache, and 0.35 s more of a processor.

Whether a file system can is tried and not guessed: one refuses the flag, another the first call, and macOS has no flag.
Both ways may be mixed in one file: the kernel keeps the page cache and the disk in step.
"""

from __future__ import annotations

import errno
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from threading import Condition

import numpy as np
from numpy.typing import NDArray

from ckptconv.base.files import write_at
from ckptconv.stores.tensor import Extent
from ckptconv.transfer.manifest import Stopped
from ckptconv.transfer.publish.stage import begin_write_back

ALIGNMENT = 4096
"""Of offsets, lengths and memory [bytes]: what a page is, and the largest block of common disks. Where a disk asks for
more, the kernel refuses, and the file is written as usual."""
DIRECT_BYTES = 16 << 20
"""Smaller files are written as usual: they fit into any cache, and every call past it waits for the disk."""
EARLY_BYTES = 1 << 20
"""The system is asked to put runs of this length on the disk at once: while the processor works, the disk does."""
REFUSED = (errno.EINVAL, errno.EOPNOTSUPP)
FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def aligned_buffer(nbytes: int) -> memoryview:
    """Return zeroed memory that begins at a page."""
    return memoryview(mmap(-1, nbytes))


class DirectFile:
    """A file that exists, open for positioned reads, and for writes where `flags` say so, until it is closed."""

    def __init__(self, path: Path, flags: int = os.O_RDONLY) -> None:
        """Open it. Raises OSError."""
        self._fd = os.open(path, flags | FLAGS)
        self._direct: int | None = None
        self._refused = False
        self.size = os.fstat(self._fd).st_size
        """When it was opened [bytes]."""
        try:
            if self.size >= DIRECT_BYTES:
                self._direct = _open_direct(path, flags)
        except OSError:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Close it; no thread may be reading or writing. A second time it does nothing."""
        descriptors = (self._fd, self._direct)
        self._fd, self._direct = -1, None
        for fd in descriptors:
            if fd is not None and fd >= 0:
                os.close(fd)

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data`, from an aligned buffer, at an aligned offset; an odd end goes the usual way.

        Raises: OSError.
        """
        done = 0
        if self._direct is not None and not self._refused:
            whole = len(data) - len(data) % ALIGNMENT
            try:
                write_at(self._direct, offset, data[:whole])
                done = whole
            except OSError as error:
                self._note(error)
        if done < len(data):
            write_at(self._fd, offset + done, data[done:])
            if len(data) - done >= EARLY_BYTES:
                begin_write_back(self._fd, offset + done, len(data) - done)

    def read_into(self, offset: int, room: memoryview) -> int:
        """Fill `room`, an aligned buffer, from an aligned offset, as far as the file goes; return how far.

        Raises: OSError.
        """
        done = 0
        while done < len(room):
            count = self._read(offset + done, room[done:])
            if not count:
                break
            done += count
        return done

    def read_as_usual(self, offset: int, room: memoryview) -> None:
        """Fill `room` from any offset, through the page cache. Raises OSError; EIO where the file ends before."""
        done = 0
        while done < len(room):
            count = os.preadv(self._fd, [room[done:]], offset + done)
            if not count:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += count

    def _read(self, offset: int, room: memoryview) -> int:
        if self._direct is not None and not self._refused and not offset % ALIGNMENT:
            try:
                return os.preadv(self._direct, [room], offset)
            except OSError as error:
                self._note(error)
        return os.preadv(self._fd, [room], offset)

    def _note(self, error: OSError) -> None:
        """Go the usual way from here on. Raises the error where it is another one."""
        if error.errno not in REFUSED:
            raise error
        self._refused = True


def _open_direct(path: Path, flags: int) -> int | None:
    """Return a descriptor that passes the page cache; None where there is no such way. Raises OSError."""
    direct: int | None = getattr(os, "O_DIRECT", None)  # macOS has none
    if direct is None:
        return None
    try:
        return os.open(path, flags | FLAGS | direct)
    except OSError as error:
        if error.errno in REFUSED:
            return None
        raise


SEGMENT_BYTES = 1 << 20
"""Fits into the cache of a core between gathering and writing, and between reading and summing."""
LAG_SEGMENTS = 16
"""Read back at a time."""


@dataclass(frozen=True, slots=True)
class TensorRuns:
    """The runs of bytes of a file that belong to tensors, in the order of the file: 24 bytes each."""

    starts: array[int]
    stops: array[int]
    tensors: tuple[str, ...]
    """Whose each run is."""

    def __len__(self) -> int:
        return len(self.tensors)


def runs_of(places: Mapping[str, Iterable[Extent]]) -> TensorRuns:
    """Return where tensors lie."""
    runs = sorted(
        (extent.offset, extent.offset + extent.nbytes, name)
        for name, extents in places.items()
        for extent in extents
        if extent.nbytes
    )
    starts = array("q", (start for start, _, _ in runs))
    stops = array("q", (stop for _, stop, _ in runs))
    return TensorRuns(starts, stops, tuple(name for _, _, name in runs))


@dataclass(slots=True)
class _Segment:
    """A segment that is being gathered."""

    room: memoryview
    bytes: NDArray[np.uint8]
    """The same memory."""
    missing: int
    """How many bytes of tensors are not there yet."""


class Segments:
    """A file that several threads write, to be closed when none of them works any more."""

    def __init__(self, path: Path, runs: TensorRuns) -> None:
        """Open a file that was laid out. Raises OSError."""
        for number, (stop, start) in enumerate(zip(runs.stops, runs.starts[1:], strict=False)):
            if stop > start:
                names = " and ".join(runs.tensors[number : number + 2])
                raise AssertionError(f"{names} share bytes of {path}")
        self._runs = runs
        self._file = DirectFile(path, os.O_RDWR)
        if runs and runs.stops[-1] > self._file.size:
            raise AssertionError(f"{runs.tensors[-1]} ends behind the end of {path}")
        self._count = -(-self._file.size // SEGMENT_BYTES)
        self._changed = Condition()
        self._gathered: dict[int, _Segment] = {}
        self._free: list[memoryview] = []
        self._written: set[int] = set()
        """Behind the frontier."""
        self._frontier = 0
        """Up to here everything is written [segments]."""
        self._ended = False
        with self._changed:
            self._advance()

    def close(self) -> None:
        """Close the file, and let its memory go; no thread may be writing. A second time it does nothing."""
        self._file.close()
        self._free.clear()
        self._gathered.clear()

    def give_up(self) -> None:
        """Let nobody wait, and write no more: who writes or waits gets Stopped."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def put(self, offset: int, data: memoryview) -> None:
        """Take bytes of a tensor. Raises OSError. Stopped: the run ends."""
        items = np.frombuffer(data, np.uint8)
        while len(items):
            room = self.room(offset)
            count = min(len(items), len(room))
            np.copyto(room[:count], items[:count])
            self.fill(offset, count)
            items, offset = items[count:], offset + count

    def room(self, offset: int) -> NDArray[np.uint8]:
        """Return memory for bytes of tensors from `offset` to the end of a segment; `fill` says that they are there.

        Raises OSError. Stopped: the run ends.
        """
        index, start = divmod(offset, SEGMENT_BYTES)
        return self._segment(index).bytes[start:]

    def fill(self, offset: int, nbytes: int) -> None:
        """Take what was put into the room that begins at `offset`. Raises OSError. Stopped: the run ends."""
        index = offset // SEGMENT_BYTES
        segment = self._segment(index)
        with self._changed:
            segment.missing -= nbytes
            whole = not segment.missing
            if whole:
                del self._gathered[index]
        if whole:
            self._write(index, segment)

    def wait_for(self, index: int) -> None:
        """Wait until a segment can be read back, and some beyond it. Raises Stopped: the run ends."""
        until = min(index + LAG_SEGMENTS, self._count)
        with self._changed:
            while self._frontier < until and not self._ended:
                self._changed.wait()
            if self._ended:
                raise Stopped

    def _segment(self, index: int) -> _Segment:
        """Return a segment that tensors are put into. Raises OSError. Stopped: the run ends."""
        with self._changed:
            if self._ended:
                raise Stopped
            segment = self._gathered.get(index)
            if segment is None:
                room = self._free.pop() if self._free else aligned_buffer(SEGMENT_BYTES)
                missing = self._fill_gaps(index, room)
                segment = _Segment(room, np.frombuffer(room, np.uint8), missing)
                self._gathered[index] = segment
            return segment

    def _fill_gaps(self, index: int, room: memoryview) -> int:
        """Read what of a segment belongs to no tensor; return how many bytes do."""
        at = index * SEGMENT_BYTES
        end, missing = min(at + SEGMENT_BYTES, self._file.size), 0
        first = at
        for start, stop in self._covered(at, end):
            self._file.read_as_usual(at, room[at - first : start - first])
            missing += stop - start
            at = stop
        self._file.read_as_usual(at, room[at - first : end - first])
        return missing

    def _covered(self, at: int, end: int) -> Iterator[tuple[int, int]]:
        """Return the parts of a run of the file that belong to tensors."""
        starts, stops = self._runs.starts, self._runs.stops
        for number in range(max(0, bisect_right(starts, at) - 1), len(starts)):
            if starts[number] >= end:
                return
            if stops[number] > at:
                yield max(starts[number], at), min(stops[number], end)

    def _write(self, index: int, segment: _Segment) -> None:
        offset = index * SEGMENT_BYTES
        self._file.write(offset, segment.room[: min(SEGMENT_BYTES, self._file.size - offset)])
        with self._changed:
            self._free.append(segment.room)
            self._written.add(index)
            before = self._frontier
            self._advance()
            if before // LAG_SEGMENTS != self._frontier // LAG_SEGMENTS or self.is_whole:
                self._changed.notify_all()

    def _advance(self) -> None:
        """Move the frontier over what is written, and over segments that hold nothing of any tensor."""
        while self._frontier < self._count:
            if self._frontier in self._written:
                self._written.remove(self._frontier)
            else:
                at = self._frontier * SEGMENT_BYTES
                if any(True for _ in self._covered(at, at + SEGMENT_BYTES)):
                    return
            self._frontier += 1

    @property
    def is_whole(self) -> bool:
        """True where every byte of every tensor was written."""
        return self._frontier == self._count
