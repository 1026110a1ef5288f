"""The closed pickle interpreter: what it accepts, and that everything else ends in a SourceError."""

from __future__ import annotations

import struct
import sys

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.stores.parsers.torch_pickle import Storage, Tensor
from covering import over
from pickling import START, Load, interpreter, text

ALLOWED = b"(qrhjN\x88\x89JKM\x8aGX)t\x85\x86\x87]ae}sucRbQ.\x80"


def storage(key: str = "0", kind: str = "FloatStorage", numel: bytes = b"K\x06") -> bytes:
    """Return the opcodes that push a storage, as the zip form has it."""
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text(key)
        + text("cpu")
        + numel
        + b"tQ"
    )


def tensor(view: bytes, extra: bytes = b"\x89}") -> bytes:
    """Return the opcodes that push a tensor: `view` pushes offset, size and stride."""
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + view + extra + b"tR"


MATRIX = b"K\x00K\x02K\x03\x86K\x03K\x01\x86"

run = pytest.fixture(interpreter)


@over(
    ("data", "expected"),
    [
        (b"N", None),
        (b"\x88", True),
        (b"\x89", False),
        (b"K\xff", 255),
        (b"M\xff\xff", 65535),
        (b"J\xff\xff\xff\xff", -1),
        (b"\x8a\x00", 0),
        (b"\x8a\x09" + b"\xff" * 8 + b"\0", 2**64 - 1),
        (b"G" + struct.pack(">d", 1.5), 1.5),
        (text("é"), "é"),
        (b")", ()),
        (b"(K\x01K\x02t", (1, 2)),
        (b"K\x01\x85", (1,)),
        (b"K\x01N\x86", (1, None)),
        (b"K\x01NN\x87", (1, None, None)),
        (b"]K\x01a(K\x02K\x03e", [1, 2, 3]),
        (b"}" + text("a") + b"Ks" + b"s", {"a": 115}),
        (b"}(" + text("a") + b"N" + text("b") + b"Nu", {"a": None, "b": None}),
    ],
)
def test_values(run: Load, data: bytes, expected: object) -> None:
    """Each opcode pushes what the pickle module would push."""
    assert expected == run(START + data + b".")


def test_memo_shares(run: Load) -> None:
    """What the memo gives back is the value itself, even a list within itself: never copied or walked."""
    value = run(START + b"]q\x00r\x01\x00\x00\x00j\x01\x00\x00\x00a.")

    assert isinstance(value, list)
    assert value[0] is value


def test_tensor(run: Load) -> None:
    """A tensor is a record of its storage and its view; a parameter is the tensor in it."""
    expected = Tensor(Storage("float32", "0", 6), 0, (2, 3), (3, 1))
    parameter = b"ctorch._utils\n_rebuild_parameter\n" + tensor(MATRIX) + b"\x88}\x87R"
    oldest = b"ctorch._utils\n_rebuild_tensor\n(" + storage() + MATRIX + b"tR"

    for data in (tensor(MATRIX), tensor(MATRIX, b"\x88}N"), parameter, oldest):
        assert expected == run(START + data + b".")


def test_module_state_is_discarded(run: Load) -> None:
    """The state of an OrderedDict, where nn.Module keeps versions, is read and forgotten."""
    state = b"}" + text("_metadata") + b"}" + text("") + b"}" + text("version") + b"K\x01sss"

    assert run(START + b"ccollections\nOrderedDict\n)R" + state + b"b.") == {}


def test_every_first_opcode(run: Load) -> None:
    """Of all 256 bytes, exactly the 31 opcodes are known; the others are refused by number and position."""
    names = set()
    for code in range(256):
        with pytest.raises(SourceError) as refused:
            run(START + bytes([code]))
        if "is not read" not in str(refused.value):
            names.add(code)
        else:
            assert f"opcode {code:#04x}" in str(refused.value)
            assert "at byte 2 of the file" in str(refused.value)

    assert len(set(ALLOWED)) == 31
    assert set(ALLOWED) - {0x80} == names


GLOBALS = (
    "os system",
    "posix system",
    "builtins eval",
    "builtins exec",
    "builtins getattr",
    "__builtin__ eval",
    "subprocess Popen",
    "torch load",
    "torch.jit load",
    "torch._utils _rebuild_sparse_tensor",
    "torch._utils _rebuild_qtensor",
    "torch._utils _rebuild_wrapper_subclass",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_meta_tensor_no_storage",
    "torch._utils _rebuild_device_tensor_from_numpy",
    "torch._utils _rebuild_nested_tensor",
    "torch._tensor _rebuild_from_type_v2",
    "torch.storage UntypedStorage",
    "torch ComplexFloatStorage",
    "torch QInt8Storage",
    "torch Size",
    "torch FloatTensor",
    "torch.FloatStorage x",
    "torch floatstorage",
    "torch FloatStorage ",
    " torch FloatStorage",
    "torch  FloatStorage",
    "collections ",
    "collections OrderedDict.fromkeys",
    "collections.OrderedDict ",
    "numpy.core.multiarray scalar",
    "numpy.core.multiarray _reconstruct",
    "_codecs encode",
    "copyreg _reconstructor",
    "functools partial",
    "argparse Namespace",
    "transformers.training_args TrainingArguments",
    "runpy run_path",
    "a" * 200 + " b",
)


@over("name", GLOBALS)
def test_other_globals(run: Load, name: str) -> None:
    """A global outside the table is refused by its name, whatever the opcode that asks for it."""
    module, _, attribute = name.partition(" ")
    with pytest.raises(SourceError, match="has no place in a state_dict") as refused:
        run(START + f"c{module}\n{attribute}\n)R.".encode())
    assert name[:190] in str(refused.value)
    for data in (
        f"({module}".encode(),
        f"i{module}\n{attribute}\n".encode(),
        b"\x82\x01",
        b"\x84\1\0\0\0",
    ):
        with pytest.raises(SourceError):
            run(START + data + b")R.")
    with pytest.raises(SourceError, match="STACK_GLOBAL"):
        run(START + text(module) + text(attribute) + b"\x93)R.")


@pytest.mark.thorough
def test_a_thousand_globals(run: Load) -> None:
    """Of every module of Python's own, and of the libraries beside it, no name is looked up."""
    libraries = (
        "torch",
        "numpy",
        "transformers",
        "tensorflow",
        "jax",
        "flax",
        "h5py",
        "pip",
        "setuptools",
    )
    names = ("system", "load", "eval", "OrderedDict", "__init__")
    pairs = {(module, name) for module in (*sys.stdlib_module_names, *libraries) for name in names}
    assert len(pairs) > 1_000
    for module, name in pairs - {("collections", "OrderedDict")}:
        with pytest.raises(SourceError, match=f"'{module} {name}' has no place"):
            run(START + f"c{module}\n{name}\n)R.".encode())


@over(
    "data",
    [
        b"q\x00",
        b"Nq\x01",
        b"Nr\x00\x00\x00\x01",
        b"Nr\xff\xff\xff\xff",
        b"Nq\x00q\x00",
        b"h\x00",
        b"Nq\x00h\x01",
        b"j\xff\xff\xff\xff",
        b"(q\x00",
        b"N(q\x00t",
    ],
)
def test_memo_tricks(run: Load, data: bytes) -> None:
    """Memo indices are those that a pickler numbers: none far off, twice, ahead, or of an absent value."""
    with pytest.raises(SourceError):
        run(START + data + b".")


@over(
    "data",
    [
        b"X\xff\xff\xff\xff",
        b"X\x05\x00\x00\x00abc.",
        b"X\x00\x00",
        b"\x8a\x0b" + b"\0" * 11,
        b"\x8a\xff",
        b"\x8a",
        b"K",
        b"M\x00",
        b"J\0\0\0",
        b"G\0\0\0\0",
        b"cos",
        b"cos\n",
        b"cos\nsystem",
        b"c" + b"a" * 300 + b"\nb\n",
        b"\x8b\xff\xff\xff\x7f",
        b"B\xff\xff\xff\x7f",
        b"\x8d" + b"\xff" * 8,
        b"\x96" + b"\xff" * 8,
        b"\x95" + b"\xff" * 8,
        b"q",
        b"r\0\0\0",
        b"h",
        b"j\0",
        text(b"\xff\xfe"),
        text(b"\xed\xa0\x80"),
    ],
)
def test_lengths(run: Load, data: bytes) -> None:
    """A length beyond the end, a short argument, or text that is not UTF-8 is refused without a slice."""
    with pytest.raises(SourceError):
        run(START + data)


@over(
    "data",
    [
        b".",
        b"NN.",
        b"(.",
        b"N(.",
        b"t.",
        b"e.",
        b"u.",
        b"a.",
        b"]a.",
        b"s.",
        b"R.",
        b"N\x86.",
        b"Q.",
        b"b.",
        b"]b.",
        b"NNa.",
        b"N" + text("a") + b"Ns.",
        b"}(Nu.",
        b"}G" + bytes(8) + b"Ns.",
        b"})Ns.",
        b"}" + text("a") + b"Ns" + text("a") + b"Ns.",
        b"N)R.",
        b"]]R.",
        text("os") + b")R.",
        b"ctorch\nFloatStorage\n)R.",
        b"ccollections\nOrderedDict\nNR.",
        b"ccollections\nOrderedDict\n]\x85R.",
        b"}}b.",
        b"]}b.",
        b"ccollections\nOrderedDict\n}b.",
        b"ccollections\nOrderedDict\n)R]b.",
        b"ccollections\nOrderedDict\n)RNb.",
        b"\x80\x02N.",
        b"NQ.",
        b")Q.",
        storage("") + b".",
        storage("../data") + b".",
        storage("1" * 21) + b".",
        storage("٣") + b".",
        storage(numel=b"J\xff\xff\xff\xff") + b".",
        storage(numel=b"\x88") + b".",
        storage(numel=b"N") + b".",
        storage(numel=b"\x8a\x09" + b"\0" * 7 + b"\x80\0") + b".",
        storage() + storage(kind="HalfStorage") + b".",
        storage() + storage(numel=b"K\x07") + b".",
        tensor(b"N" * 3) + b".",
        tensor(b"K\x00]]") + b".",
        tensor(b"K\x00K\x02\x85)") + b".",
        tensor(b"K\x00\x88\x85K\x01\x85") + b".",
        tensor(b"J\xff\xff\xff\xffK\x02\x85K\x01\x85") + b".",
        tensor(b"K\x00J\xff\xff\xff\xff\x85K\x01\x85") + b".",
        tensor(b"K\x00K\x02\x85J\xff\xff\xff\xff\x85") + b".",
        tensor(b"K\x00(" + b"K\x01" * 33 + b"t(" + b"K\x01" * 33 + b"t") + b".",
        tensor(MATRIX, b"") + b".",
        tensor(MATRIX, b"N}") + b".",
        tensor(MATRIX, b"\x89}}}") + b".",
        tensor(MATRIX, b"\x89}" + text("a") + b"Ns") + b".",
        tensor(MATRIX, b"\x89}}" + text("neg") + b"\x88s") + b".",
        b"ctorch._utils\n_rebuild_parameter\nN\x88}\x87R.",
        b"ctorch._utils\n_rebuild_parameter\n)R.",
    ],
)
def test_malformed(run: Load, data: bytes) -> None:
    """A pickle that breaks a rule of the stack, of a call, of a storage or of a tensor is refused."""
    with pytest.raises(SourceError) as refused:
        run(START + data)

    assert "refused pickle" in str(refused.value)
    assert "torch.save" in str(refused.value) or "fetch" in str(refused.value)


@over("data", [b"", b"\x80", b"N.", b"\x80\x00N.", b"\x80\x01N.", b"\x80\x04N.", b"\x80\x05N."])
def test_other_protocols(run: Load, data: bytes) -> None:
    """Only protocols 2 and 3, which torch.save writes, are read."""
    with pytest.raises(SourceError):
        run(data)


def test_every_prefix(run: Load) -> None:
    """A pickle cut at any byte is refused."""
    whole = START + b"}" + text("a") + tensor(MATRIX) + b"s."
    for length in range(len(whole)):
        with pytest.raises(SourceError):
            run(whole[:length])
    assert list(run(whole)) == ["a"]  # type: ignore[call-overload]
