"""Hostile and broken pickles in a sound zip container: programs, bombs, and views that lie about their storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ckptconv.trials.case import MalformedCase
from ckptconv.trials.corpus._model import case, shapes
from ckptconv.trials.corpus._pickled import (
    ORDERED,
    PROTO,
    REBUILD,
    copied,
    entries,
    number,
    state_dict,
    storage,
    tensor,
    text,
    view,
    with_first,
)
from ckptconv.trials.corpus._zipped import parts, zipped

_FIRST = next(iter(shapes().values()))
_NUMEL = _FIRST[0] * _FIRST[1]
_SOUND = view(_FIRST)
_STORED = storage("0", _NUMEL)

# Name -> the opcode and its argument, in front of a tensor that a reader who passes over it would accept.
_OPCODES = {
    "POP": b"N0",
    "POP_MARK": b"(1",
    "DUP": b"N2",
    "FLOAT": b"F1.5\n",
    "INT": b"I01\n",
    "LONG": b"L1L\n",
    "PERSID": b"Pevil\n",
    "STRING": b"S'a'\n",
    "BINSTRING": b"T\1\0\0\0a",
    "SHORT_BINSTRING": b"U\1a",
    "UNICODE": b"Va\n",
    "BINBYTES": b"B\1\0\0\0a",
    "SHORT_BINBYTES": b"C\1a",
    "DICT": b"(d",
    "GET": b"g0\n",
    "INST": b"(ios\nsystem\n",
    "LIST": b"(l",
    "OBJ": b"(" + ORDERED[:-2] + b"o",
    "PUT": b"p0\n",
    "PROTO": b"\x80\2",
    "NEWOBJ": ORDERED[:-2] + b")\x81",
    "EXT1": b"\x82\1",
    "EXT2": b"\x83\1\0",
    "EXT4": b"\x84\1\0\0\0",
    "LONG4": b"\x8b\1\0\0\0\1",
    "SHORT_BINUNICODE": b"\x8c\1a",
    "BINUNICODE8": b"\x8d\1" + b"\0" * 7 + b"a",
    "BINBYTES8": b"\x8e\1" + b"\0" * 7 + b"a",
    "EMPTY_SET": b"\x8f",
    "ADDITEMS": b"}(N\x90",
    "FROZENSET": b"(N\x91",
    "NEWOBJ_EX": ORDERED[:-2] + b")}\x92",
    "STACK_GLOBAL": text("os") + text("system") + b"\x93",
    "MEMOIZE": b"N\x94",
    "FRAME": b"\x95\1" + b"\0" * 7,
    "BYTEARRAY8": b"\x96\1" + b"\0" * 7 + b"a",
    "NEXT_BUFFER": b"\x97",
    "READONLY_BUFFER": b"N\x98",
}
_GLOBALS = (
    "os system",
    "posix system",
    "nt system",
    "subprocess Popen",
    "builtins eval",
    "builtins exec",
    "builtins getattr",
    "__builtin__ eval",
    "runpy run_path",
    "importlib import_module",
    "pickle loads",
    "marshal loads",
    "shutil rmtree",
    "socket create_connection",
    "urllib.request urlopen",
    "webbrowser open",
    "functools partial",
    "operator attrgetter",
    "numpy load",
    "numpy.core.multiarray _reconstruct",
    "torch load",
    "torch.hub load",
    "torch.jit load",
    "transformers.training_args TrainingArguments",
    "collections defaultdict",
    "collections OrderedDict.fromkeys",
)
_REBUILDERS = (
    "_rebuild_sparse_tensor",
    "_rebuild_sparse_csr_tensor",
    "_rebuild_qtensor",
    "_rebuild_wrapper_subclass",
    "_rebuild_meta_tensor_no_storage",
    "_rebuild_device_tensor_from_numpy",
    "_rebuild_device_tensor_from_cpu_tensor",
    "_rebuild_xla_tensor",
    "_rebuild_nested_tensor",
    "_rebuild_tensor_v3",
    "_rebuild_parameter_with_state",
)
_STORAGES = (
    "QInt8Storage",
    "QUInt8Storage",
    "QInt32Storage",
    "ComplexFloatStorage",
    "ComplexDoubleStorage",
)

_DOUBLED = b")" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(200))
# name, what a reader that does not look would do, what the refusal says, opcodes in the place of the first tensor
_VALUES: tuple[tuple[str, str, str, bytes], ...] = (
    # The memo, the stack and the marks.
    ("memo-index-huge", "16 GiB of memo", "memo index 4294967295, expected", b"Nr\xff\xff\xff\xff"),
    ("memo-index-skips", "a memo with holes", "memo index 7, expected 0", b"Nq\7"),
    ("memo-index-again", "a value exchanged later", "memo index 0, expected 1", b"Nq\0q\0"),
    ("memo-get-of-nothing", "reads what was never put", "memo index 9 of 0", b"h\x09"),
    ("memo-get-huge", "reads past the memo", "memo index 4294967295 of 0", b"j\xff\xff\xff\xff"),
    ("memo-put-of-nothing", "reads below the stack", "on an empty stack", b"(q\0t"),
    ("tuple-from-nothing", "reads below the stack", "from an empty stack", b"(N\x87"),
    ("reduce-of-nothing", "reads below the stack", "from an empty stack", b"(R"),
    ("mark-of-nothing", "reads below the stack", "a mark that was never set|sets .* of a", b"tt"),
    ("mark-left", "a value from nowhere", "values of None", b"N(" + b"N"),
    ("append-to-a-dict", "writes into another type", "appends to a dict", b"}Na"),
    (
        "append-to-a-tensor",
        "writes into another type",
        "appends to a Tensor",
        tensor(_STORED, _SOUND) + b"Na",
    ),
    ("set-in-a-list", "writes into another type", "of a list", b"]" + text("a") + b"Ns"),
    (
        "set-in-a-tensor",
        "writes into another type",
        "of a Tensor",
        tensor(_STORED, _SOUND) + text("a") + b"Ns",
    ),
    (
        "set-odd",
        "reads below the stack",
        "sets 3 keys and values",
        b"}(" + text("a") + b"N" + text("b") + b"u",
    ),
    (
        "key-is-a-tuple",
        "hashes that take for ever",
        "neither text nor a number but a tuple",
        b"}" + _DOUBLED + b"Ns",
    ),
    (
        "key-is-a-float",
        "a name that is none",
        "neither text nor a number but a float",
        b"}G" + bytes(8) + b"Ns",
    ),
    ("key-is-a-list", "a key that changes", "neither text nor a number but a list", b"}]Ns"),
    (
        "key-stands-twice",
        "readers take the first or the last",
        "duplicate dict key 'a'",
        b"}" + (text("a") + b"Ns") * 2,
    ),
    ("call-a-string", "a call by name", "it calls a str", text("os.system") + b")R"),
    (
        "call-a-storage-type",
        "a storage of any size",
        "it calls a StorageType",
        b"ctorch\nFloatStorage\n)R",
    ),
    ("call-a-tensor", "a call of a value", "it calls a Tensor", tensor(_STORED, _SOUND) + b")R"),
    ("call-with-a-list", "arguments that change", "with a list", b"ccollections\nOrderedDict\n]R"),
    (
        "ordered-dict-of-items",
        "a dict that nobody checked",
        "made with arguments",
        ORDERED[:-2] + b"]\x85R",
    ),
    ("state-of-a-dict", "sets attributes", "gives a dict a state", b"}}b"),
    (
        "state-of-a-tensor",
        "sets attributes",
        "gives a Tensor a state",
        tensor(_STORED, _SOUND) + b"}b",
    ),
    ("state-is-a-tuple", "sets slots", "gives an OrderedDict a state", ORDERED + b"N}\x86b"),
    (
        "state-is-ordered",
        "a state with a state",
        "gives an OrderedDict a state",
        ORDERED + ORDERED + b"b",
    ),
    # Lengths.
    (
        "string-longer-than-the-file",
        "2 GiB of memory",
        "more than any name needs",
        b"X\xff\xff\xff\x7f",
    ),
    ("string-a-little-too-long", "reads past the end", "are announced", b"X\0\xff\0\0"),
    ("string-of-64-kib", "memory", "more than any name needs", text("a" * 65537)),
    ("string-not-utf8", "a name with many readings", "not UTF-8", text(b"\xff\xfe")),
    (
        "string-with-surrogates",
        "a name that no terminal writes",
        "not UTF-8",
        text(b"\xed\xa0\x80"),
    ),
    ("string-overlong", "a slash that is none", "not UTF-8", text(b"\xc0\xaf")),
    (
        "integer-of-255-bytes",
        "arithmetic without bounds",
        "an integer of 255 bytes",
        b"\x8a\xff" + b"\1" * 255,
    ),
    ("integer-past-the-end", "2 GiB of memory", "LONG4 is not read", b"\x8b\xff\xff\xff\x7f"),
    ("bytes-past-the-end", "memory of any size", "BINBYTES8 is not read", b"\x8e" + b"\xff" * 8),
    ("global-without-end", "reads for ever", "no newline within 255", b"c" + b"a" * 4000),
    ("global-of-escapes", "writes to the terminal", r"'\\x1b\[2J", b"c\x1b[2J\nb\n"),
    ("global-half", "reads past the line", "no newline within 255", b"cos\n" + b"b" * 300),
    ("doubled-tuples", "2^200 values", "is a tuple, not a tensor", _DOUBLED),
    ("list-in-itself", "a walk without end", "is a list, not a tensor", b"]q\0h\0a"),
    (
        "dict-in-itself",
        "a walk without end",
        "is a dict, not a tensor",
        b"}q\0" + text("a") + b"h\0s",
    ),
    # Storages.
    (
        "key-with-dots",
        "a file outside",
        "whose key is no number",
        tensor(storage("../../etc/passwd", _NUMEL), _SOUND),
    ),
    ("key-empty", "no record", "whose key is no number", tensor(storage("", _NUMEL), _SOUND)),
    (
        "key-of-arabic-digits",
        "one number, two spellings",
        "whose key is no number",
        tensor(storage("\u0660", _NUMEL), _SOUND),
    ),
    (
        "key-without-record",
        "memory that was never filled",
        "'999' has no data",
        tensor(storage("999", _NUMEL), _SOUND),
    ),
    (
        "key-with-zero",
        "one number, two spellings",
        "'00' has no data",
        tensor(storage("00", _NUMEL), _SOUND),
    ),
    (
        "storage-of-meta",
        "memory that was never filled",
        "the meta device",
        tensor(storage("0", _NUMEL, place="meta"), _SOUND),
    ),
    (
        "storage-of-long-device",
        "memory",
        "whose device is no short string",
        tensor(storage("0", _NUMEL, place="c" * 99), _SOUND),
    ),
    (
        "storage-negative",
        "writes before its memory",
        "not that of a storage",
        tensor(storage("0", -1), _SOUND),
    ),
    (
        "storage-of-2-to-the-63",
        "an overflow",
        "not that of a storage",
        tensor(storage("0", 1 << 63), _SOUND),
    ),
    (
        "storage-of-2-to-the-62",
        "4 EiB of memory",
        "takes 18446744073709551616 bytes",
        tensor(storage("0", 1 << 62), _SOUND),
    ),
    (
        "storage-of-true",
        "a number that is none",
        "not that of a storage",
        tensor(storage("0", b"\x88"), _SOUND),
    ),
    (
        "storage-of-none",
        "a number that is none",
        "not that of a storage",
        tensor(storage("0", b"N"), _SOUND),
    ),
    (
        "storage-with-two-dtypes",
        "bytes read as another type",
        "has two dtypes or two lengths",
        storage("1", 2, kind="HalfStorage") + b"\x85" + tensor(_STORED, _SOUND),
    ),
    (
        "storage-one-too-long",
        "reads past the record",
        "takes 404 bytes, the file has 400",
        tensor(storage("0", _NUMEL + 1), _SOUND),
    ),
    (
        "storage-of-bytes",
        "bytes read as another type",
        "takes 100 bytes, the file has 400",
        tensor(storage("0", _NUMEL, kind="ByteStorage"), _SOUND),
    ),
    (
        "storage-with-a-view",
        "a second offset",
        "not that of a storage",
        tensor(storage("0", _NUMEL, more=b"N"), _SOUND),
    ),
    ("persistent-string", "a path", "not that of a storage", text("/etc/passwd") + b"Q"),
    (
        "persistent-module",
        "a class to import",
        "not that of a storage",
        b"(" + text("module") + text("os") + text("a") + text("b") + b"NtQ",
    ),
    ("storage-alone", "no tensor", "is a Storage, not a tensor", _STORED),
    # Views, and what is no tensor.
    (
        "offset-negative",
        "reads before its storage",
        "offset, size or stride is none",
        tensor(_STORED, view(_FIRST, offset=-1)),
    ),
    (
        "offset-past-the-storage",
        "reads past its storage",
        "elements 1 to 101 of a storage of 100",
        tensor(_STORED, view(_FIRST, offset=1)),
    ),
    (
        "offset-overflows",
        "reads before its storage",
        "of a storage of 100",
        tensor(_STORED, view(_FIRST, offset=(1 << 63) - 1)),
    ),
    (
        "size-negative",
        "an overflow",
        "offset, size or stride is none",
        tensor(_STORED, view((-1, 2), (2, 1))),
    ),
    (
        "size-too-large",
        "reads past its storage",
        "of a storage of 100",
        tensor(_STORED, view((51, 2))),
    ),
    (
        "size-overflows",
        "a product of 0 modulo 2^64",
        "of a storage of 100",
        tensor(_STORED, view((1 << 32, 1 << 32))),
    ),
    (
        "size-of-true",
        "a number that is none",
        "offset, size or stride is none",
        tensor(_STORED, number(0) + b"\x88K\2\x86K\2K\1\x86"),
    ),
    (
        "size-is-a-list",
        "a size that changes",
        "offset, size or stride is none",
        tensor(_STORED, number(0) + b"]]"),
    ),
    (
        "stride-negative",
        "reads before its storage",
        "offset, size or stride is none",
        tensor(_STORED, view(_FIRST, (-2, 1))),
    ),
    (
        "stride-too-large",
        "reads past its storage",
        "of a storage of 100",
        tensor(_STORED, view(_FIRST, (3, 1))),
    ),
    (
        "stride-overflows",
        "reads anywhere",
        "of a storage of 100",
        tensor(_STORED, view(_FIRST, ((1 << 63) - 1, 1))),
    ),
    (
        "stride-zero",
        "5 EiB from one number",
        "is expanded",
        tensor(_STORED, view((1 << 30, 1 << 30), (0, 0))),
    ),
    (
        "stride-overlapping",
        "one number many times",
        "is expanded",
        tensor(_STORED, view((5, 4), (1, 1))),
    ),
    (
        "strides-fewer-than-sizes",
        "reads below the strides",
        "2 sizes but 1 strides",
        tensor(_STORED, number(0) + b"K\5K\2\x86K\1\x85"),
    ),
    (
        "rank-33",
        "no array library goes so far",
        "offset, size or stride is none",
        tensor(_STORED, view((1,) * 33)),
    ),
    (
        "arguments-missing",
        "reads below the arguments",
        "a tensor of 4 arguments",
        tensor(_STORED, _SOUND, b""),
    ),
    (
        "arguments-too-many",
        "an argument that nobody reads",
        "a tensor of 8 arguments",
        tensor(_STORED, _SOUND, b"\x89}}}"),
    ),
    (
        "hooks",
        "functions to call",
        "hooks or metadata",
        tensor(_STORED, _SOUND, b"\x89}" + text("a") + b"Ns"),
    ),
    (
        "metadata-negates",
        "values with another sign",
        "hooks or metadata",
        tensor(_STORED, _SOUND, b"\x89}}" + text("neg") + b"\x88s"),
    ),
    (
        "storage-of-a-tensor",
        "bytes read as another type",
        "offset, size or stride is none",
        tensor(tensor(_STORED, _SOUND), _SOUND),
    ),
    (
        "parameter-of-nothing",
        "no tensor",
        "a parameter that is no tensor",
        b"ctorch._utils\n_rebuild_parameter\nN\x88}\x87R",
    ),
    (
        "parameter-with-hooks",
        "functions to call",
        "a parameter with hooks",
        b"ctorch._utils\n_rebuild_parameter\n"
        + tensor(_STORED, _SOUND)
        + b"\x88}"
        + text("a")
        + b"Ns\x87R",
    ),
    ("value-is-an-integer", "no tensor", "is an int, not a tensor", b"K\3"),
    ("value-is-a-dict", "no tensor", "is a dict, not a tensor", b"}"),
    ("function-alone", "no tensor", "is a Function, not a tensor", REBUILD),
)
_ODD = {
    "empty": ("''", ""),
    "escape": (r"x1b\[31m", "\x1b[31mred"),
    "bell": ("x07", "a\x07"),
    "newline": (r"\\n", "a\nb"),
    "nul": ("x00", "a\0b"),
    "right-to-left": ("u202e", "\u202eabc"),
    "zero-width": ("u200b", "a\u200bb"),
    "too-long": ("'aaaa", "a" * 513),
    "carriage-return": (r"\\r", "a\rb"),
}


# The same, of opcodes that are repeated: made when the case is built, since they take memory.
_BOMBS: tuple[tuple[str, str, str, bytes, bytes, int], ...] = (
    ("a-million-opcodes", "time", "more than 1000000 opcodes", b"", b"N", 1_000_000),
    ("a-million-lists", "memory", "more than 1000000 opcodes", b"", b"]", 1_000_000),
    ("a-million-dicts", "memory", "more than 1000000 opcodes", b"", b"}", 1_000_000),
    ("a-million-marks", "recursion", "more than 1000000 opcodes", b"", b"(", 1_000_000),
    (
        "a-million-copies",
        "a walk without end",
        "more than 1000000 opcodes",
        b")q\0",
        b"h\0h\0\x86",
        400_000,
    ),
    ("nested-tuples", "recursion", "is a tuple, not a tensor", b")", b"\x85", 200_000),
    ("nested-lists", "recursion", "sets 100113 keys and values", b"", b"]", 100_000),
    ("strings-of-20-mib", "memory", "more than any name needs", b"", text("a" * 65536), 320),
    ("globals-of-8-mib", "time", "the global 'aaaa", b"", b"c" + b"a" * 255 + b"\na\n", 32_000),
)


def _values() -> Iterator[tuple[str, str, str, bytes]]:
    """Yield name, threat, what the refusal says, and the opcodes in the place of the first tensor."""
    sound = tensor(_STORED, _SOUND)
    for name, opcodes in _OPCODES.items():
        yield (
            f"opcode-{name}",
            "a value that differs, or code that runs",
            f"0x.. {name} is not read",
            opcodes + sound,
        )
    for code in (0x00, 0x7F, 0x99, 0xFF):
        yield f"opcode-{code:02x}", "no opcode", f"{code:#04x} .unknown.", bytes([code]) + sound
    for callable_name in _GLOBALS:
        call = f"c{callable_name}\n".replace(" ", "\n").encode() + text("id") + b"\x85R"
        yield (
            f"global-{callable_name.replace(' ', '.')}",
            "runs code",
            f"'{callable_name}' has no place",
            call,
        )
    for name in _REBUILDERS:
        call = f"ctorch._utils\n{name}\n".encode() + b")R"
        yield f"rebuild-{name}", "memory read as it should not be", f"{name}' has no place", call
    for name in _STORAGES:
        quantized = tensor(storage(kind=name), _SOUND)
        yield f"kind-{name}", "a dtype with more than values", f"{name}' has no place", quantized
    yield from _VALUES


def _wholes() -> Iterator[tuple[str, str, str, bytes]]:
    """Yield what is wrong with a pickle as a whole: name, threat, what the refusal says, data.pkl."""
    whole, sound = state_dict(entries()), tensor(_STORED, _SOUND)
    for name, (says, key) in _ODD.items():
        named = state_dict({**entries(), key: sound})
        yield f"name-{name}", "text that writes to a terminal", f"tensor name .*{says}", named
    for protocol in (0, 1, 4, 5, 255):
        yield (
            f"protocol-{protocol}",
            "other opcodes",
            "protocol 2 or 3",
            bytes([0x80, protocol]) + whole[2:],
        )
    yield "protocol-absent", "text that is read as opcodes", "protocol 2 or 3", whole[2:]
    yield "empty", "no value", "ends too early", b""
    yield "cut", "a value in the making", "are announced|ends too early|no newline", whole[:3000]
    yield "no-stop", "reads on", "ends too early", whole[:-1]
    yield "bytes-behind", "a second pickle", "4 bytes behind the pickle", whole + PROTO + b"N."
    yield (
        "two-values",
        "a value that nobody sees",
        "more or less than one value",
        PROTO + b"N" + whole[2:],
    )
    yield "no-value", "reads below the stack", "more or less than one value", PROTO + b"."
    yield from _strange_contents()


def _strange_contents() -> Iterator[tuple[str, str, str, bytes]]:
    """Yield pickles that are sound, and hold no state_dict, or more than one."""
    whole, sound = state_dict(entries()), tensor(_STORED, _SOUND)
    yield "a-list", "no state_dict", "holds a list", PROTO + b"]" + whole[2:-1] + b"a."
    yield "a-tensor", "no state_dict", "holds a Tensor", PROTO + sound + b"."
    inner = PROTO + b"}" + text("model") + whole[2:-1] + b"s."
    twice = inner[:-1] + text("ema") + whole[2:-1] + b"s."
    yield "two-in-a-dict", "which of two is not certain", "tensors lie under 'model', 'ema'", twice
    nested = PROTO + b"}" + text("model") + b"}" + text("state_dict") + whole[2:-1] + b"s" + b"s"
    yield (
        "two-at-depth",
        "which of two is not certain",
        "tensors lie under 'ema', 'model'.'state_dict': which",
        nested + text("ema") + whole[2:-1] + b"s.",
    )
    yield (
        "under-another-key",
        "averaged weights for the model's",
        "tensors lie under 'ema': which",
        PROTO + b"}" + text("ema") + whole[2:-1] + b"s.",
    )
    yield (
        "within-itself",
        "an endless walk",
        "'model' is a dict, not a tensor",
        PROTO + b"}q\0" + text("model") + b"h\0s.",
    )
    yield "epoch", "no tensor", "'epoch' is an int", state_dict({**entries(), "epoch": b"K\3"})
    yield (
        "optimizer",
        "no tensor",
        "'lr' is a float",
        state_dict({**entries(), "lr": b"G" + bytes(8)}),
    )
    yield (
        "one-tensor-under-many-names",
        "a small file with much data",
        "tensors take .* bytes together",
        copied(2_000),
    )


def _case(name: str, threat: str, says: str, pickle: Callable[[], bytes]) -> MalformedCase:
    return case(f"pickle-{name}", threat, says, lambda: zipped(parts(pickle())))


CASES: tuple[MalformedCase, ...] = (
    *(
        _case(name, threat, says, partial(with_first, opcodes))
        for name, threat, says, opcodes in _values()
    ),
    *(
        _case(name, threat, says, partial(bytes, pickle))
        for name, threat, says, pickle in _wholes()
    ),
    *(
        _case(
            name,
            threat,
            says,
            lambda head=head, unit=unit, times=times: with_first(head + unit * times),  # type: ignore[misc]
        )
        for name, threat, says, head, unit, times in _BOMBS
    ),
)
