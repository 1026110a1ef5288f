"""A `.bin` that carries checksums: no conversion and no comparison uses a flipped bit of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.trials.corpus._model import WEIGHTS, shapes, write
from ckptconv.trials.corpus._pickled import entries, state_dict, storage, tensor, view
from ckptconv.trials.corpus._zipped import Part, parts, zipped

NAMES = tuple(shapes())
DROPPED = "encoder.embeddings.position_ids"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a checkpoint with a `.bin`, one buffer in it that no conversion uses."""
    (tmp_path / "source").mkdir()
    ids = tensor(storage("900", 7, kind="LongStorage"), view((1, 7)))
    result = parts(state_dict({**entries(), DROPPED: ids}))
    result.append(Part("m/data/900", b"".join(n.to_bytes(8, "little") for n in range(7))))
    write(tmp_path / "source", zipped(result))
    return tmp_path / "source"


def flip(source: Path, member: str) -> None:
    """Change one bit of a member's first byte."""
    raw = bytearray((source / WEIGHTS).read_bytes())
    name = f"m/data/{member}".encode()
    raw[raw.index(name) + len(name)] ^= 1
    (source / WEIGHTS).write_bytes(raw)


VERBS = (ckptconv.pt2tf, ckptconv.pt2flax, ckptconv.normalize, ckptconv.split)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("member", ["0", str(len(NAMES) - 1), "900"])
def test_conversions(
    source: Path, tmp_path: Path, verb: Callable[[Path, Path], object], member: str
) -> None:
    """Whether a tensor is moved, permuted or left out: the bit is found, the member named, nothing published."""
    (tmp_path / "out").mkdir()
    flip(source, member)

    with pytest.raises(SourceError, match=f"zip member 'data/{member}' has the CRC-32") as refused:
        verb(source, tmp_path / "out" / "target")

    assert refused.value.exit_code == 3
    assert list((tmp_path / "out").iterdir()) == []


def test_join(source: Path, tmp_path: Path) -> None:
    """Of the parts from which a whole is made, each is checked."""
    ckptconv.split(source, tmp_path / "parts")
    for side in ("encoder", "decoder"):
        of_side = {
            name.removeprefix(f"{side}."): code
            for name, code in entries().items()
            if name.startswith(side)
        }
        folder = tmp_path / "parts" / side
        (folder / "model.safetensors").unlink()
        keys = [str(at) for at, name in enumerate(NAMES) if name.startswith(side)]
        data = [part for part in parts(state_dict(of_side)) if part.name.rpartition("/")[2] in keys]
        head = [part for part in parts(state_dict(of_side)) if not part.name.startswith("m/data/")]
        (folder / WEIGHTS).write_bytes(zipped([*head, *data]))
    ckptconv.join(
        tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder", tmp_path / "sound"
    )
    flip(tmp_path / "parts" / "decoder", str(len(NAMES) - 1))

    with pytest.raises(SourceError, match="has the CRC-32"):
        ckptconv.join(
            tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder", tmp_path / "joined"
        )
    assert not (tmp_path / "joined").exists()


@pytest.mark.parametrize("member", ["0", "900"])
def test_verify(source: Path, tmp_path: Path, member: str) -> None:
    """Comparing weights refuses the source, or the target, instead of calling it a difference."""
    ckptconv.pt2tf(source, tmp_path / "tf")
    (tmp_path / "copy").mkdir()
    write(tmp_path / "copy", (source / WEIGHTS).read_bytes())
    assert ckptconv.verify(source, tmp_path / "tf", "weights").matches
    flip(source, member)

    with pytest.raises(SourceError, match=f"'data/{member}' has the CRC-32"):
        ckptconv.verify(source, tmp_path / "tf", "weights")
    with pytest.raises(SourceError, match=f"'data/{member}' has the CRC-32"):
        ckptconv.verify(tmp_path / "copy", source, "weights")


def test_reading_values(source: Path, tmp_path: Path) -> None:
    """Figures and differences are not told of a file that contradicts itself; names and shapes are."""
    (tmp_path / "copy").mkdir()
    write(tmp_path / "copy", (source / WEIGHTS).read_bytes())
    assert ckptconv.diff(source, tmp_path / "copy").matches
    assert ckptconv.inspect(source, stats=True).measured
    flip(source, "0")

    with pytest.raises(SourceError, match="'data/0' has the CRC-32"):
        ckptconv.inspect(source, stats=True)
    with pytest.raises(SourceError, match="'data/0' has the CRC-32"):
        ckptconv.diff(tmp_path / "copy", source)
    assert not ckptconv.inspect(source).measured
