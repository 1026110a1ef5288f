"""Files written in whole segments, past the page cache or through it: the same bytes, and no thread waits for ever."""

from __future__ import annotations

import errno
import os
import signal
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ckptconv.base.errors import DestinationError, Interrupted
from ckptconv.base.workers import SIGNALS, Workers, finish, install, signals_blocked, workers
from ckptconv.binding.bind import bind
from ckptconv.binding.plan import Plan, make_plan
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.checkpoint import read_weights
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.tensor import Extent
from ckptconv.transfer import loop, segments
from ckptconv.transfer.loop import ReadingBack, digests_of, write_weights
from ckptconv.transfer.manifest import Stopped
from ckptconv.transfer.segments import (
    ALIGNMENT,
    DirectFile,
    Segments,
    aligned_buffer,
    runs_of,
)

if TYPE_CHECKING:
    from conftest import Pair

T = TypeVar("T")
WAYS: Sequence[tuple[NamingName, str]] = [
    ("tf", "hdf5"),
    ("flax", "msgpack"),
    ("pytorch", "safetensors"),
]


def plan_of(pair: Pair, folder: Path, naming: NamingName) -> Plan:
    """Write the pair and plan its conversion."""
    tensors = read_weights(pair.write(folder)).tensors
    return make_plan(bind(pair.rows, tensors, "pytorch"), naming, what="here")


def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make segments of a page, and pass the page cache however small a file is."""
    monkeypatch.setattr(segments, "DIRECT_BYTES", 0)
    for module in (segments, loop):
        monkeypatch.setattr(module, "SEGMENT_BYTES", ALIGNMENT)


@pytest.mark.parametrize("refuses", ["nothing", "the flag", "the first write"])
@pytest.mark.parametrize(("naming", "form"), WAYS)
def test_past_the_page_cache(
    pair: Pair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    naming: NamingName,
    form: str,
    refuses: str,
) -> None:
    """Whatever the file system refuses, files have the bytes and the digests that they have when written as usual."""
    plan = plan_of(pair, tmp_path / "source", naming)
    for folder in ("usual", "direct"):
        (tmp_path / folder).mkdir()
    usual = write_weights(plan, FORMATS[form], naming, tmp_path / "usual")
    small_segments(monkeypatch)
    if refuses == "the flag":
        monkeypatch.delattr(os, "O_DIRECT", raising=False)
    elif refuses == "the first write":
        real, descriptors = segments.write_at, set()

        def refuse(fd: int, offset: int, data: memoryview) -> None:
            if not descriptors:
                descriptors.add(fd)
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            real(fd, offset, data)

        monkeypatch.setattr(segments, "write_at", refuse)
    written = write_weights(plan, FORMATS[form], naming, tmp_path / "direct")
    assert written.files[0].read_bytes() == usual.files[0].read_bytes()
    assert written.digests == usual.digests
    assert usual.files[0].stat().st_size > 2 * ALIGNMENT


def test_a_full_disk_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error other than that there is no such way is raised, and nothing is tried again."""
    small_segments(monkeypatch)
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * ALIGNMENT))

    def full(fd: int, offset: int, data: memoryview) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(segments, "write_at", full)
    with (
        closing(DirectFile(path, os.O_RDWR)) as file,
        pytest.raises(OSError, match="No space left"),
    ):
        file.write(0, aligned_buffer(ALIGNMENT))


def test_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes put from the end to the start, some at a time, are all there, between what lay there before."""
    small_segments(monkeypatch)
    path = tmp_path / "file"
    data = bytes(range(251)) * 41
    path.write_bytes(b"\xff" * 7 + bytes(9000) + b"\xee" * 9 + bytes(len(data) - 9016))
    runs = runs_of({"a": (Extent(7, 9000),), "b": (Extent(9016, len(data) - 9016),)})
    with closing(Segments(path, runs)) as target:
        for first, stop in zip(reversed(runs.starts), reversed(runs.stops), strict=True):
            for start in reversed(range(first, stop, 1000)):
                assert not target.is_whole
                target.put(start, memoryview(data)[start : min(start + 1000, stop)])
        assert target.is_whole
    assert path.read_bytes() == b"\xff" * 7 + data[7:9007] + b"\xee" * 9 + data[9016:]


def test_who_waits_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run ends early, whoever reads what was never written ends too, and nothing more is taken."""
    small_segments(monkeypatch)
    path, places = tmp_path / "file", {"a": (Extent(0, 9000),)}
    path.write_bytes(bytes(9000))
    with closing(Segments(path, runs_of(places))) as target, workers(2) as pool:
        result = digests_of(ReadingBack(path, places, target.wait_for), pool, lambda nbytes: None)
        target.put(0, memoryview(bytes(ALIGNMENT)))
        target.give_up()
        with pytest.raises(Stopped):
            result()
        with pytest.raises(Stopped):
            finish([pool.submit(target.put, ALIGNMENT, memoryview(b"a"))])


def test_a_file_that_was_cut(tmp_path: Path) -> None:
    """A file that lost its end between two reads is refused, not taken for a shorter one."""
    path, places = tmp_path / "file", {"a": (Extent(0, 9000),)}
    path.write_bytes(bytes(9000))

    def cut(index: int) -> None:
        os.truncate(path, 100)

    with workers(2) as pool, pytest.raises(DestinationError) as refusal:
        digests_of(ReadingBack(path, places, cut), pool, lambda nbytes: None)()
    assert str(refusal.value).startswith(
        "file: read-back check failed: the file ends at byte 100, 9000 were written; nothing was published."
    )


def test_places_that_share_bytes(tmp_path: Path) -> None:
    """Two tensors never have one place: one would be written over the other after it was read back."""
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    for extents in ((Extent(0, 60), Extent(59, 10)), (Extent(0, 60), Extent(60, 41))):
        with pytest.raises(AssertionError):
            Segments(path, runs_of({str(extent.offset): (extent,) for extent in extents}))


def test_memory_of_files_that_are_done(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files a run writes, it holds the segments of no more than one of them."""
    plan, memory = plan_of(pair, tmp_path / "source", "flax"), []
    alive: list[int] = []

    def noted(nbytes: int) -> memoryview:
        buffer = aligned_buffer(nbytes)
        memory.append(weakref.ref(buffer.obj))
        alive.append(sum(reference() is not None for reference in memory))
        return buffer

    monkeypatch.setattr(segments, "aligned_buffer", noted)
    (tmp_path / "target").mkdir()
    written = write_weights(plan, FORMATS["msgpack"], "flax", tmp_path / "target", 1)
    assert len(written.files) > 10
    assert max(alive) <= 2


def test_a_signal_between_two_readers(tmp_path: Path) -> None:
    """Who sums waits for who reads: a signal that comes while they are begun finds both at work, or none."""
    path, places = tmp_path / "file", {"a": (Extent(0, 9000),)}
    path.write_bytes(bytes(9000))
    begun: list[object] = []

    class Struck(Workers):
        def submit(self, work: Callable[..., T], /, *args: Any, **more: Any) -> Future[T]:
            with signals_blocked():
                begun.append(work)
                signal.raise_signal(signal.SIGTERM)
                return super().submit(work, *args, **more)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    install()
    try:
        with Struck(2) as pool:
            reading = ReadingBack(path, places)
            with pytest.raises(Interrupted):
                digests_of(reading, pool, lambda nbytes: None)
            if len(begun) == 1:
                pool.submit(reading.tensors, lambda nbytes: None)  # or this test never ends
                pytest.fail("who sums waits for ever")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
