"""Reading untrusted bytes onward in small blocks, and how a refusal of them is worded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FETCH, FileReader, limits, more

RESAVE = "Where you trust the file, save it once more: torch.save(model.state_dict(), path)."

BLOCK_BYTES = 1 << 16
"""Read at a time: enough for most pickles of a shard, and small beside any tensor."""
SHOWN = 200
"""Characters of untrusted text that a message may carry."""


def save_weights_alone(path: Path, what: str, keys: Sequence[str] = ()) -> str:
    """Return the advice for what a training script saved: what it is, and two lines that save its weights; or "".

    They save into a new directory, since the file that is read may have the very name that weights have.

    Args: what: with its article; empty where nothing tells. keys: under which the weights are; () for the usual one.
    """
    if not what:
        return ""
    usual = "model_state_dict" if what == "a training checkpoint" else "state_dict"
    below = "".join(f"[{key!r}]" for key in keys or (usual,))
    return (
        f"It is {what}. Where you trust it, save its weights alone, and copy config.json beside them:\n"
        "  import os, torch; os.mkdir('weights')\n"
        f"  torch.save(torch.load({path.name!r}, weights_only=False){below}, 'weights/pytorch_model.bin')"
    )


class Malformed(ValueError):
    """Bytes that break a rule; whoever knows the file and the position makes a SourceError of it."""

    def __init__(self, what: str, advice: str = RESAVE) -> None:
        self.advice = advice
        super().__init__(what)


def shown(text: str | bytes) -> str:
    """Return untrusted text as a message may carry it: printable ASCII in quotes, and cut."""
    quoted = ascii(text if isinstance(text, str) else text.decode("latin-1"))
    return quoted if len(quoted) <= SHOWN else quoted[:SHOWN] + "..."


def with_article(value: object) -> str:
    """Return what a value of a pickle is, for a message: `a list`, `an int`."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def refusal(path: Path, what: str, *, at: int | None = None, advice: str = RESAVE) -> SourceError:
    """Return the error to raise: file, what is wrong, where [bytes from the file's start], what to do."""
    return SourceError(
        f"{path}: {what}{'' if at is None else f', at byte {at} of the file'}.\n{advice}"
    )


class Stream:
    """Bytes `start` to `end` of a file, read onward; holds one block at a time."""

    __slots__ = ("_block", "_end", "_file", "_last", "_next", "_position", "at")

    def __init__(self, file: FileReader, start: int, end: int) -> None:
        self._file = file
        self._block = b""
        self._position = 0
        self._next = start
        self._end = end
        self._last = start + limits().pickle_bytes
        self.at = start
        """Where the item that is being read begins [bytes from the file's start]."""

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def offset(self) -> int:
        """Where the next byte lies [bytes from the file's start]."""
        return self._next - len(self._block) + self._position

    def take(self, nbytes: int) -> bytes:
        """Return the next `nbytes` bytes. Raises Malformed: fewer are left."""
        stop = self._position + nbytes
        if stop > len(self._block):
            if nbytes > self._end - self.offset:
                raise Malformed(
                    f"{nbytes} bytes are announced, {self._end - self.offset} are left", FETCH
                )
            self._fill(nbytes)
            stop = nbytes
        piece = self._block[self._position : stop]
        self._position = stop
        return piece

    def code(self) -> int:
        """Begin the next item: return its first byte, and remember where it stands."""
        self.at = self._next - len(self._block) + self._position
        if self.at == self._end:
            raise Malformed("it ends too early", FETCH)
        return self.take(1)[0]

    def line(self, longest: int) -> bytes:
        """Return the bytes up to a newline, without it. Raises Malformed: none within `longest` bytes."""
        if len(self._block) - self._position <= longest:
            self._fill(min(longest + 1, self._end - self.offset))
        stop = self._block.find(b"\n", self._position, self._position + longest + 1)
        if stop < 0:
            raise Malformed(f"no newline within {longest} bytes")
        piece = self._block[self._position : stop]
        self._position = stop + 1
        return piece

    def _fill(self, nbytes: int) -> None:
        """Have at least `nbytes` bytes in the block, where the stream still has them."""
        if self._next > self._last:
            raise Malformed(
                f"a pickle of more than {limits().pickle_bytes} bytes", more("pickle_bytes")
            )
        rest = self._block[self._position :]
        amount = min(max(nbytes - len(rest), BLOCK_BYTES), self._end - self._next)
        self._block = rest + self._file.read(self._next, amount)
        self._position = 0
        self._next += amount
