"""Fuzzing a reader: thousands of seeded mutants of valid files, each read, each watched.

    @pytest.mark.fuzz
    def test_safetensors(tmp_path: Path, counted: Counted) -> None:
        counted(fuzz("safetensors", [VALID, OTHER], mutate, safetensors.read, tmp_path / "model.safetensors"))

`mutate(chance, seed)` returns the bytes of one mutant; `scrambled` is the one for bytes of any kind. A mutant is
made of the seeds and its number alone, so that `mutant(...)` gives one back that failed. Of each is required:

- it is read, or refused with a SourceError whose text is ASCII: no other exception;
- it takes less than SECONDS of CPU time, and the process grows by less than BYTES over all of them;
- it causes no audit event but opening the file itself: no import, no code, no process, no socket.

The environment variable CKPTCONV_FUZZ multiplies the number of mutants.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

from ckptconv.base.errors import SourceError
from ckptconv.trials.memory import Peak
from ckptconv.trials.watch import Watch

SECONDS = 2.0
"""CPU time that one mutant may take."""
BYTES = 200 << 20
"""By how much the process may grow."""
NASTY = (0, 1, 0x7F, 0x80, 0xFE, 0xFF, 0x22, 0x28, 0x2E, 0x52, 0x5B, 0x5D, 0x7B, 0x7D)
WORDS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
"""Integers at the edges of what fields hold."""

Mutate = Callable[[Random, bytes], bytes]


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """What became of the mutants."""

    name: str
    mutants: int
    refused: int
    seconds: float
    """CPU time that the slowest took."""
    grown: int
    """Peak of memory over what it was before [bytes]; 0 where the system does not tell."""

    def __str__(self) -> str:
        return (
            f"{self.mutants:,} mutants of {self.name}: {self.refused:,} refused, {self.mutants - self.refused:,} read, "
            f"the slowest {self.seconds * 1000:.0f} ms, memory +{self.grown / (1 << 20):.0f} MiB"
        )


def count(default: int = 20_000) -> int:
    """Return how many mutants to make: `default` times CKPTCONV_FUZZ."""
    return int(default * float(os.environ.get("CKPTCONV_FUZZ", "1")))


def mutant(name: str, seeds: Sequence[bytes], mutate: Mutate, number: int) -> bytes:
    """Return one mutant; the same for the same arguments, on every machine."""
    return mutate(Random(f"{name} {number}"), seeds[number % len(seeds)])


def fuzz(
    name: str,
    seeds: Sequence[bytes],
    mutate: Mutate,
    read: Callable[[Path], object],
    path: Path,
    *,
    mutants: int | None = None,
    children: bool = False,
) -> Fuzzed:
    """Write each mutant to `path` and read it. `children`: the reader may start Python processes.

    Raises: AssertionError: something that no mutant may do; the message says which mutant it was.
    """
    for seed in seeds:  # the controls; they also import what is imported late
        path.write_bytes(seed)
        read(path)
    total, refused, slowest = mutants or count(), 0, 0.0
    with (
        Peak() as peak,
        path.open("r+b", buffering=0) as file,
        Watch(path, children=children) as watch,
    ):
        before = peak.nbytes
        for number in range(total):
            raw = mutant(name, seeds, mutate, number)
            os.pwrite(file.fileno(), raw, 0)
            os.ftruncate(file.fileno(), len(raw))
            began = time.process_time()
            error = _error(read, path)
            slowest = max(slowest, seconds := time.process_time() - began)
            refused += error is not None
            wrong = _wrong(error, seconds, peak.nbytes - before, watch)
            assert not wrong, f"mutant {number} of {name}: {wrong}\n{raw[:4000]!r}"
        return Fuzzed(name, total, refused, slowest, peak.nbytes - before)


def _error(read: Callable[[Path], object], path: Path) -> BaseException | None:
    """Return what the reader raised; a reader that does not come back is stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still reading after {5 * SECONDS} s of CPU time")

    handler = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, 5 * SECONDS)
    try:
        read(path)
    except Exception as error:  # every kind is looked at
        return error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
    return None


def _wrong(error: BaseException | None, seconds: float, grown: int, watch: Watch) -> str:
    """Say what is wrong with how a mutant was read; empty where nothing is."""
    if error is not None and not isinstance(error, SourceError):
        return f"{type(error).__name__}: {error}"
    if error is not None and not str(error).isascii():
        return f"a message that is not ASCII: {error}"
    if seconds > SECONDS:
        return f"{seconds:.1f} s of CPU time"
    if grown > BYTES:
        return f"{grown >> 20} MiB more memory"
    return "; ".join(watch.events)


def scrambled(chance: Random, seed: bytes) -> bytes:
    """Return `seed` with one to four changes of its bytes: flipped, set, cut, doubled, moved, or a new length."""
    raw = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice(_CHANGES)(chance, raw)
    return bytes(raw)


def _flip(chance: Random, raw: bytearray) -> None:
    if raw:
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)


def _set(chance: Random, raw: bytearray) -> None:
    if raw:
        raw[chance.randrange(len(raw))] = chance.choice((*NASTY, chance.randrange(256)))


def _word(chance: Random, raw: bytearray) -> None:
    """Overwrite a little- or big-endian integer of 2, 4 or 8 bytes."""
    kind = chance.choice(("<H", "<I", "<Q", ">H", ">I", ">Q"))
    size = struct.calcsize(kind)
    at = chance.randrange(len(raw) + 1)
    raw[at : at + size] = struct.pack(kind, chance.choice(WORDS) & ((1 << 8 * size) - 1))


def _cut(chance: Random, raw: bytearray) -> None:
    at = chance.randrange(len(raw) + 1)
    del raw[at : at + chance.choice((1, 2, 4, 8, 64, 1 << 30))]


def _double(chance: Random, raw: bytearray) -> None:
    at, size = chance.randrange(len(raw) + 1), chance.choice((1, 2, 8, 64))
    raw[at:at] = raw[at : at + size] * chance.choice((1, 1, 3))


def _move(chance: Random, raw: bytearray) -> None:
    at, size, to = (
        chance.randrange(len(raw) + 1),
        chance.choice((1, 4, 16, 64)),
        chance.randrange(len(raw) + 1),
    )
    piece = raw[at : at + size]
    del raw[at : at + size]
    raw[to:to] = piece


def _fill(chance: Random, raw: bytearray) -> None:
    at = chance.randrange(len(raw) + 1)
    raw[at:at] = chance.randbytes(chance.choice((1, 4, 16)))


_CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (
    _flip,
    _flip,
    _set,
    _set,
    _word,
    _cut,
    _double,
    _move,
    _fill,
)
