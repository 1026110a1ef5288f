"""The closed pickle interpreter: no pickle takes much time or memory, and the limits hold exactly."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader, Limits, limited
from ckptconv.stores.parsers.pickle_machine import MAX_STRING_BYTES, MAX_TEXT_BYTES, load
from ckptconv.stores.parsers.stream import Stream
from ckptconv.stores.parsers.torch_pickle import NAMES
from pickling import START, Load, interpreter, text

run = pytest.fixture(interpreter)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("opcodes", b"N" * (Limits().pickle_operations + 10)),
        ("lists", b"]" * 300_000 + b"."),
        ("marks", b"(" * 300_000 + b"."),
        ("nested tuples", b")" + b"\x85" * 300_000 + b"0"),
        ("doubled tuples", b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(200)) + b"Q."),
        ("one long string", text("a" * (MAX_STRING_BYTES + 1)) + b"."),
        (
            "many strings",
            text("a" * MAX_STRING_BYTES) * (MAX_TEXT_BYTES // MAX_STRING_BYTES + 1) + b".",
        ),
        ("long message", b"c" + b"\x1b" * 255 + b"\n" + b"\n" * 3),
    ],
)
@pytest.mark.thorough
def test_exhaustion(run: Load, name: str, data: bytes) -> None:
    """A pickle made to eat time or memory is refused within 4 seconds and 200 MiB, in a short message."""
    began = time.process_time()
    with pytest.raises(SourceError) as refused:
        run(START + data)

    assert time.process_time() - began < 4, name
    assert len(str(refused.value)) < 600
    assert str(refused.value).isascii()
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("wasteful", "opcodes"),
    [
        (b"}", 1),
        (b"]", 1),
        (b"(", 1),
        (b"N\x85", 2),
        (b"G" + b"1" * 8, 1),
        (b"}h\x00)s", 4),
        (b"]]a", 3),
        (b"ccollections\nOrderedDict\n)R", 3),
    ],
)
@pytest.mark.thorough
def test_memory(tmp_path: Path, wasteful: bytes, opcodes: int) -> None:
    """No opcode takes so much memory that a pickle within the limits passes 200 MiB."""
    count = 30_000 // opcodes
    path = tmp_path / "pickle"
    path.write_bytes(START + text("a") + b"q\x00" + wasteful * count)
    tracemalloc.start()
    with FileReader(path) as file, pytest.raises(SourceError):
        load(Stream(file, 0, file.size), NAMES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak * Limits().pickle_operations / (count * opcodes) < 200 << 20


def test_limits(run: Load) -> None:
    """The limits on opcodes and on bytes hold exactly, can be moved, and the message says how."""
    nulls = START + b"(" + b"N" * 100 + b"t."
    with limited(pickle_operations=103):
        assert run(nulls) == (None,) * 100
    with (
        limited(pickle_operations=102),
        pytest.raises(SourceError, match="more than 102 opcodes") as refused,
    ):
        run(nulls)
    assert "--limit pickle_operations=N" in str(refused.value)

    long = START + b"(" + text("a" * 60_000) * 5 + b"t."
    assert len(run(long)) == 5  # type: ignore[arg-type]
    with (
        limited(pickle_bytes=100_000),
        pytest.raises(SourceError, match="pickle of more than 100000 bytes") as refused,
    ):
        run(long)
    assert "--limit pickle_bytes=N" in str(refused.value)
