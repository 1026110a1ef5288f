"""PyTorch's zip form: what is ambiguous, is no state_dict or passes a limit is refused, and the message says why."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import limited
from ckptconv.stores.formats.torch_zip import read
from pickling import text
from zipping import DATA, MEMBERS, PICKLE, VERSION, container, pickled


@pytest.mark.frameworks
def test_refused_objects(tmp_path: Path) -> None:
    """What is no flat state_dict is refused by name, with a hint where the state_dict is further in."""
    import torch

    path = tmp_path / "model.bin"
    sparse = torch.eye(2).to_sparse()
    cases = {
        "'epoch' is an int": {"epoch": 3},
        "tensors lie under 'ema': which": {"ema": {"a": torch.ones(1)}},
        "a list": [torch.ones(1)],
        "a Tensor": torch.ones(1),
        "is empty, too long, or not printable": {0: torch.ones(1)},
        "but a tuple": {(0,): torch.ones(1)},
        "'x' is expanded": {"x": torch.ones(1).expand(9)},
        "ComplexFloat": {"c": torch.ones(1, dtype=torch.complex64)},
        "_rebuild_sparse_tensor": {"s": sparse},
        "_rebuild_tensor_v3": {"q": torch.ones(1).to(torch.float8_e5m2)},
        "torch.nn.modules.linear": torch.nn.Linear(1, 1),
        "not printable": {"a\x1b[31m": torch.ones(1)},
        "is empty": {"": torch.ones(1)},
        "metadata": {"n": torch._neg_view(torch.ones(2))},
        "meta": {"m": torch.ones(1, device="meta")},
        "_rebuild_from_type_v2": {"b": torch.nn.Buffer(torch.ones(1))},
        "UntypedStorage": {"s": torch.ones(1).untyped_storage()},
    }
    for said, value in cases.items():
        torch.save(value, path)
        with pytest.raises(SourceError) as refused:
            read(path)
        assert said in str(refused.value)
        assert any(way in str(refused.value) for way in ("torch.save", "model.dequantize()"))
    torch.save({"a": torch.ones(1)}, path, pickle_protocol=4)
    with pytest.raises(SourceError, match="protocol 2 or 3"):
        read(path)


@pytest.mark.frameworks
def test_torchscript(tmp_path: Path) -> None:
    """A TorchScript archive is refused as what it is."""
    import torch

    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "model.bin")

    with pytest.raises(SourceError, match="TorchScript"):
        read(tmp_path / "model.bin")


def replaced(raw: bytes, *places: int, value: bytes) -> bytes:
    """Return `raw` with `value` at each of `places`."""
    for place in places:
        raw = raw[:place] + value + raw[place + len(value) :]
    return raw


RAW = container()
LOCAL, CENTRAL = RAW.index(b"PK\3\4", 1), RAW.index(b"PK\1\2")
END = len(RAW) - 22
GAP = RAW[:CENTRAL] + b"gap!" + RAW[CENTRAL:]
WIDE = container(zip64=True)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (container(method=8), "compressed (method 8)"),
        (container((*MEMBERS, DATA)), "duplicate zip member"),
        (container((*MEMBERS, ("M/data/1", b""))), "outside the one root"),
        (container((*MEMBERS, ("m/DATA/0", b""))), "'m/DATA/0' is not one"),
        (container((*MEMBERS, ("m/data/x", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("m/data/", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("m/../data/1", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("/data/1", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("data.pkl", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("m/data.pkl\0x", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("m/" + "\x1b" * 600, b""))), "a name of odd length"),
        (container((*MEMBERS, ("m/code/__torch__.py", b""))), "TorchScript"),
        (container((*MEMBERS, ("m/constants.pkl", b""))), "TorchScript"),
        (
            container((*MEMBERS, ("m/data/1", b"abcd"))),
            "storage '1' is in the file but no tensor uses it",
        ),
        (container((PICKLE, VERSION)), "storage '0' has no data"),
        (container((PICKLE, DATA)), "no member 'version'"),
        (
            container((PICKLE, DATA, ("m/version", b"11\n"))),
            "format version is '11\\n', expected 1 to 10",
        ),
        (container((PICKLE, DATA, ("m/version", b"3" * 99))), "format version is '333"),
        (container((DATA, VERSION)), "no member 'data.pkl'"),
        (container(()), "expected the zip form"),
        (container((PICKLE, DATA, VERSION, ("m/byteorder", b"big"))), "byte order is 'big'"),
        (container((PICKLE, DATA, VERSION, ("m/byteorder", b"little\n"))), "byte order"),
        (container((PICKLE, DATA, VERSION, ("m/byteorder", b"little" * 9))), "byte order"),
        (container((PICKLE, VERSION, ("m/data/0", b"\0" * 23))), "takes 24 bytes, the file has 23"),
        (container((PICKLE, VERSION, ("m/data/0", b"\0" * 28))), "takes 24 bytes, the file has 28"),
        (
            container((("m/data.pkl", pickled() + b"N."), DATA, VERSION)),
            "2 bytes behind the pickle",
        ),
        (container((("m/data.pkl", pickled(5)), DATA, VERSION)), "takes 20 bytes, the file has 24"),
        (
            container((("m/data.pkl", pickled(offset=1)), DATA, VERSION)),
            "elements 1 to 7 of a storage of 6",
        ),
        (
            container((("m/data.pkl", pickled(stride="(K\x04K\x01t")), DATA, VERSION)),
            "elements 0 to 7",
        ),
        (
            container((("m/data.pkl", pickled(stride="(K\x00K\x01t")), DATA, VERSION)),
            "expanded: 6 elements of which 3",
        ),
        (
            container((("m/data.pkl", pickled(stride="(K\x01K\x01t")), DATA, VERSION)),
            "expanded: 6 elements of which 4",
        ),
        (
            container(
                (
                    ("m/data.pkl", pickled(offset=7, shape="K\0\x85", stride="K\x01\x85")),
                    DATA,
                    VERSION,
                )
            ),
            "elements 7 to 7",
        ),
        (
            container((("m/data.pkl", pickled(shape="(J\xff\xff\xff\x7fK\x03t")), DATA, VERSION)),
            "of a storage of 6",
        ),
        (b"PK\3\4" + RAW, "contradict"),
        (b"PK\3\4" + replaced(RAW, END + 16, value=struct.pack("<L", CENTRAL + 4)), "disagree"),
        (replaced(RAW, CENTRAL + 42, value=b"\1"), "should begin where"),
        (RAW + b"\0", "no zip end record"),
        (RAW + RAW, "contradict"),
        (RAW[:-2] + b"\1\0x", "no zip end record"),
        (GAP, "contradict"),
        (replaced(GAP, END + 4 + 16, value=struct.pack("<L", CENTRAL + 4)), "belong to no"),
        (replaced(RAW, END + 4, value=b"\1"), "contradict"),
        (replaced(RAW, END + 8, value=b"\3"), "contradict"),
        (replaced(RAW, END + 8, END + 10, value=b"\3"), "bytes behind the last"),
        (replaced(RAW, END + 8, END + 10, value=b"\5"), "not a zip directory entry"),
        (replaced(RAW, END + 8, END + 10, value=b"\0"), "bytes behind the last"),
        (replaced(RAW, LOCAL, value=b"XX"), "disagree"),
        (replaced(RAW, LOCAL + 6, value=b"\1"), "disagree"),
        (replaced(RAW, LOCAL + 8, value=b"\10"), "disagree"),
        (replaced(RAW, LOCAL + 14, value=b"\1\2\3\4"), "disagree"),
        (replaced(RAW, LOCAL + 18, value=b"\7"), "disagree"),
        (replaced(RAW, LOCAL + 22, value=b"\7"), "disagree"),
        (replaced(RAW, LOCAL + 30, value=b"n"), "disagree"),
        (replaced(RAW, LOCAL + 28, value=b"\1"), "should begin where"),
        (replaced(RAW, CENTRAL + 8, value=b"\1"), "flags 0x1"),
        (replaced(RAW, CENTRAL + 20, value=b"\7"), "long, but stored in 7"),
        (replaced(RAW, CENTRAL + 24, value=b"\7"), "bytes long, but stored"),
        (replaced(RAW, CENTRAL + 30, value=b"\4"), "extra field"),
        (replaced(RAW, CENTRAL + 32, value=b"\1"), "a comment"),
        (replaced(RAW, CENTRAL + 34, value=b"\1"), "a comment"),
        (replaced(RAW, CENTRAL + 42, value=b"\xff" * 4), "extra field"),
        (replaced(RAW, CENTRAL + 38, value=b"\x10"), "marked as a directory"),
        (
            container(
                (("m/data.pkl", pickled().replace(text("cpu"), text("meta"))), DATA, VERSION)
            ),
            "on the meta device",
        ),
        (replaced(WIDE, len(WIDE) - 22 + 16, value=b"\7"), "contradict"),
        (replaced(WIDE, len(WIDE) - 42 + 8, value=b"\7"), "contradict"),
        (replaced(WIDE, len(WIDE) - 42 + 16, value=b"\2"), "contradict"),
        (replaced(WIDE, len(WIDE) - 98 + 4, value=b"\x2d"), "contradict"),
        (replaced(WIDE, len(WIDE) - 98, value=b"X"), "contradict"),
        (
            replaced(container(flags=8), container(flags=8).index(b"PK\7\10"), value=b"X"),
            "no data descriptor",
        ),
        (
            replaced(container(flags=8), container(flags=8).index(b"PK\7\10") + 4, value=b"abc"),
            "no data descriptor",
        ),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "before PyTorch 1.6"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "expected the zip form"),
        (b"PK", "expected the zip form"),
        (b"<html>", "found a page of HTML"),
    ],
)
def test_refused(model: Path, raw: bytes, said: str) -> None:
    """Each breach of the container, the records or the geometry is refused, and says what it found."""
    model.write_bytes(raw)

    with pytest.raises(SourceError) as refused:
        read(model)

    message = str(refused.value)
    assert said in message
    assert message.startswith(f"{model}: ")
    assert message.isascii()
    assert len(message) < 900


def test_no_regular_file(tmp_path: Path) -> None:
    """An absent file, a directory and a FIFO end in a SourceError, and do not hang."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "fifo"):
        with pytest.raises(SourceError):
            read(path)


def test_names_that_share_a_storage(model: Path) -> None:
    """Thousands of names for one storage, far more data than the file holds, are refused."""
    storage = (
        b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + text("cpu")
        + b"M\x00\x40tQ"
    )
    one = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K\x00M\x00\x40\x85K\x01\x85\x89}tRq\x00"
    )
    names = b"".join(text(str(number)) + b"h\x00s" for number in range(5))
    pickle = b"\x80\x02}" + text("a") + one + b"s" + names + b"."
    model.write_bytes(container((("m/data.pkl", pickle), VERSION, ("m/data/0", b"\0" * 0x10000))))
    with pytest.raises(SourceError, match="tensors take 393216 bytes together"):
        read(model)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tensors": 3}, "a zip directory of 4 members"),
        ({"header_bytes": 99}, "a zip directory of 4 members"),
        ({"pickle_bytes": 100}, "zip member 'data.pkl' of 114 bytes, more than 100"),
        ({"expansion": 0}, "tensors take 24 bytes together"),
        ({"pickle_operations": 9}, "more than 9 opcodes"),
    ],
)
def test_limits(model: Path, changed: dict[str, int], said: str) -> None:
    """Each limit is asked for when a file is read, and its refusal says how to lift it."""
    model.write_bytes(container())
    read(model)
    with limited(**changed), pytest.raises(SourceError, match=said) as refused:
        read(model)
    assert f"--limit {next(iter(changed))}=N" in str(refused.value)


def test_tensors_limit(model: Path) -> None:
    """Names of one storage are counted too, which no member of the container is."""
    names = b"".join(text(str(number)) + b"h\x00s" for number in range(5))
    pickle = pickled()[:-2] + b"q\x00s" + names + b"."
    model.write_bytes(container((("m/data.pkl", pickle), ("m/data/0", b"\0" * 24), VERSION)))
    assert len(read(model).tensors) == 6
    with limited(tensors=5), pytest.raises(SourceError, match="6 tensors, more than 5"):
        read(model)
