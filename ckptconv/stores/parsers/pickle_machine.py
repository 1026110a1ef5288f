"""A closed interpreter for the pickles that torch.save writes: 31 opcodes, a given list of names, no Python.

Nothing is imported, looked up or called but the functions of the caller's own table, so that a hostile
file can at worst be refused. Values are None, bool, int, float, str, tuple, list, dict, and what that
table makes. They are shared, never copied, walked, compared or printed, which keeps nested ones harmless.

Source: Lib/pickletools.py of CPython 3.11 for the opcodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from ckptconv.base.files import limits, more
from ckptconv.stores.parsers.stream import (
    Malformed,
    Stream,
    refusal,
    save_weights_alone,
    shown,
    with_article,
)
from ckptconv.stores.tensor import DEQUANTISE

MAX_STRING_BYTES = 1 << 16
MAX_TEXT_BYTES = 1 << 24
"""All strings of a pickle together."""
MAX_LONG_BYTES = 10
"""The magic number of torch's older form; an int64 takes 9 at most."""
MAX_GLOBAL_BYTES = 255
NUMBERED = "\0number {}"
"""What stands for a number as a key of a dict; no name of a tensor looks so."""
MARKS = {
    "pytorch-lightning_version": "a Lightning checkpoint",
    "optimizer_states": "a Lightning checkpoint",
    "optimizer_state_dict": "a training checkpoint",
    "optimizer": "a training checkpoint",
    "model_state_dict": "a training checkpoint",
}
"""Text that tells what a script saved -> what it is."""

UNMOVED_DTYPE = "torch._utils _rebuild_tensor_v3"
"""How torch.save writes a tensor whose dtype no class of storages has: 8-bit floats, and integers without a sign."""

_STOP, _PROTO = ord("."), 0x80

_REFUSED_CODES = (*b"012FILPSTUVBCdgilop", *range(0x80, 0x85), *range(0x8B, 0x99))
_REFUSED = dict(
    zip(
        _REFUSED_CODES,
        (
            "POP",
            "POP_MARK",
            "DUP",
            "FLOAT",
            "INT",
            "LONG",
            "PERSID",
            "STRING",
            "BINSTRING",
            "SHORT_BINSTRING",
            "UNICODE",
            "BINBYTES",
            "SHORT_BINBYTES",
            "DICT",
            "GET",
            "INST",
            "LIST",
            "OBJ",
            "PUT",
            "PROTO",
            "NEWOBJ",
            "EXT1",
            "EXT2",
            "EXT4",
            "LONG4",
            "SHORT_BINUNICODE",
            "BINUNICODE8",
            "BINBYTES8",
            "EMPTY_SET",
            "ADDITEMS",
            "FROZENSET",
            "NEWOBJ_EX",
            "STACK_GLOBAL",
            "MEMOIZE",
            "FRAME",
            "BYTEARRAY8",
            "NEXT_BUFFER",
            "READONLY_BUFFER",
        ),
        strict=True,
    )
)
"""Names of opcodes that are not read, only so that a message can give them."""


@dataclass(frozen=True, slots=True)
class Function:
    """What a global stands for that a pickle may call: one of our own functions."""

    call: Callable[[tuple[object, ...]], object]
    """Takes the arguments as they stand in the pickle. Raises Malformed."""


class OrderedDict(dict[str, object]):
    """A dict that the pickle made as collections.OrderedDict; only these may have a state."""

    __slots__ = ()


def _no_persistent(_: object) -> object:
    raise Malformed("a persistent id where there can be none")


class _Machine:
    """Stack, marks and memo of one pickle."""

    __slots__ = (
        "marks",
        "memo",
        "names",
        "persistent",
        "saved_by",
        "stack",
        "stream",
        "text_bytes",
    )

    def __init__(
        self, stream: Stream, names: Mapping[str, object], persistent: Callable[[object], object]
    ) -> None:
        self.stream = stream
        self.names = names
        self.persistent = persistent
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: list[object] = []
        self.text_bytes = 0
        self.saved_by = ""
        """What the file is, where a text has told it."""

    def pop(self) -> object:
        if not self.stack:
            raise Malformed("it takes a value from an empty stack")
        return self.stack.pop()

    def pop_mark(self) -> list[object]:
        if not self.marks:
            raise Malformed("it goes back to a mark that was never set")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def top(self) -> object:
        if not self.stack:
            raise Malformed("it changes a value on an empty stack")
        return self.stack[-1]


def load(
    stream: Stream,
    names: Mapping[str, object],
    persistent: Callable[[object], object] = _no_persistent,
) -> object:
    """Return the value of the one pickle that begins where `stream` stands, and stop behind it.

    `names` gives what each global, "module name", stands for; every other one is refused.
    `persistent` gives what a persistent id stands for, or raises Malformed.

    Raises: SourceError: anything else than the 31 opcodes, the names and the limits allow.
    """
    machine = _Machine(stream, names, persistent)
    try:
        if stream.code() != _PROTO or stream.take(1)[0] not in (2, 3):
            raise Malformed("not a pickle of protocol 2 or 3, as torch.save writes it")
        for _ in range(limits().pickle_operations):
            code = stream.code()
            action = _ACTIONS.get(code)
            if action is not None:
                action(machine)
            elif code == _STOP:
                return _result(machine)
            else:
                raise Malformed(f"opcode {code:#04x} {_REFUSED.get(code, '(unknown)')} is not read")
        raise Malformed(
            f"more than {limits().pickle_operations} opcodes", more("pickle_operations")
        )
    except Malformed as error:
        advice = save_weights_alone(stream.path, machine.saved_by)
        raise refusal(
            stream.path, f"refused pickle: {error}", at=stream.at, advice=advice or error.advice
        ) from None


def _result(machine: _Machine) -> object:
    if machine.marks or len(machine.stack) != 1:
        raise Malformed("it stops with more or less than one value")
    return machine.stack[0]


def _push(value: object, machine: _Machine) -> None:
    machine.stack.append(value)


def _push_int(nbytes: int, machine: _Machine) -> None:
    machine.stack.append(int.from_bytes(machine.stream.take(nbytes), "little"))


def _push_signed(machine: _Machine) -> None:
    machine.stack.append(int.from_bytes(machine.stream.take(4), "little", signed=True))


def _push_long(machine: _Machine) -> None:
    nbytes = machine.stream.take(1)[0]
    if nbytes > MAX_LONG_BYTES:
        raise Malformed(f"an integer of {nbytes} bytes")
    machine.stack.append(int.from_bytes(machine.stream.take(nbytes), "little", signed=True))


def _push_float(machine: _Machine) -> None:
    machine.stack.append(struct.unpack(">d", machine.stream.take(8))[0])


def _push_text(machine: _Machine) -> None:
    nbytes = int.from_bytes(machine.stream.take(4), "little")
    machine.text_bytes += nbytes
    if nbytes > MAX_STRING_BYTES or machine.text_bytes > MAX_TEXT_BYTES:
        raise Malformed(f"a string of {nbytes} bytes is more than any name needs")
    try:
        text = machine.stream.take(nbytes).decode()
    except UnicodeDecodeError:
        raise Malformed("a string that is not UTF-8") from None
    machine.saved_by = machine.saved_by or MARKS.get(text, "")
    machine.stack.append(text)


def _mark(machine: _Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _put(nbytes: int, machine: _Machine) -> None:
    """Picklers number the memo 0, 1, 2 ...: a list holds it, and no index can be forged."""
    index = int.from_bytes(machine.stream.take(nbytes), "little")
    if index != len(machine.memo):
        raise Malformed(f"memo index {index}, expected {len(machine.memo)}")
    machine.memo.append(machine.top())


def _get(nbytes: int, machine: _Machine) -> None:
    index = int.from_bytes(machine.stream.take(nbytes), "little")
    if index >= len(machine.memo):
        raise Malformed(f"memo index {index} of {len(machine.memo)}")
    machine.stack.append(machine.memo[index])


def _short_tuple(length: int, machine: _Machine) -> None:
    if len(machine.stack) < length:
        raise Malformed("it takes a value from an empty stack")
    items = tuple(machine.stack[-length:])
    machine.stack[-length:] = [items]


def _extend(machine: _Machine, items: list[object]) -> None:
    target = machine.top()
    if not isinstance(target, list):
        raise Malformed(f"it appends to {with_article(target)}")
    target.extend(items)


def _set(machine: _Machine, items: list[object]) -> None:
    """Keys are strings, whose hashes are salted, so that nobody can prepare collisions; a number becomes one."""
    target = machine.top()
    if not isinstance(target, dict) or len(items) % 2:
        raise Malformed(f"it sets {len(items)} keys and values of {with_article(target)}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is int:  # an optimizer numbers its parameters
            key = NUMBERED.format(key)
        if not isinstance(key, str):
            raise Malformed(f"a dict key that is neither text nor a number but {with_article(key)}")
        if key in target:
            raise Malformed(f"duplicate dict key {shown(key)}")
        target[key] = value


def _global(machine: _Machine) -> None:
    name = b" ".join([machine.stream.line(MAX_GLOBAL_BYTES), machine.stream.line(MAX_GLOBAL_BYTES)])
    text = name.decode("latin-1")  # compared exactly, so that the encoding cannot matter
    if text == UNMOVED_DTYPE:
        raise Malformed(
            f"the global {shown(text)} has no place in a state_dict: it makes a tensor of a dtype that ckptconv does"
            " not move, such as 8-bit floats, which are codes of quantised weights",
            DEQUANTISE,
        )
    if text not in machine.names:
        raise Malformed(f"the global {shown(text)} has no place in a state_dict")
    machine.stack.append(machine.names[text])


def _reduce(machine: _Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, Function) or not isinstance(arguments, tuple):
        raise Malformed(f"it calls {with_article(function)} with {with_article(arguments)}")
    machine.stack.append(function.call(arguments))


def _build(machine: _Machine) -> None:
    """Discard the one state that occurs: nn.Module's `_metadata`, versions of its layers."""
    state, target = machine.pop(), machine.top()
    if type(state) is not dict or not isinstance(target, OrderedDict):
        raise Malformed(f"it gives {with_article(target)} a state")


_ACTIONS: dict[int, Callable[[_Machine], None]] = {
    ord("("): _mark,
    ord("q"): partial(_put, 1),
    ord("r"): partial(_put, 4),
    ord("h"): partial(_get, 1),
    ord("j"): partial(_get, 4),
    ord("N"): partial(_push, None),
    0x88: partial(_push, True),
    0x89: partial(_push, False),
    ord("J"): _push_signed,
    ord("K"): partial(_push_int, 1),
    ord("M"): partial(_push_int, 2),
    0x8A: _push_long,
    ord("G"): _push_float,
    ord("X"): _push_text,
    ord(")"): partial(_push, ()),
    ord("t"): lambda machine: _push(tuple(machine.pop_mark()), machine),
    0x85: partial(_short_tuple, 1),
    0x86: partial(_short_tuple, 2),
    0x87: partial(_short_tuple, 3),
    ord("]"): lambda machine: machine.stack.append([]),
    ord("}"): lambda machine: machine.stack.append({}),
    ord("a"): lambda machine: _extend(machine, [machine.pop()]),
    ord("e"): lambda machine: _extend(machine, machine.pop_mark()),
    ord("s"): lambda machine: _set(machine, [machine.pop(), machine.pop()][::-1]),
    ord("u"): lambda machine: _set(machine, machine.pop_mark()),
    ord("c"): _global,
    ord("R"): _reduce,
    ord("b"): _build,
    ord("Q"): lambda machine: _push(machine.persistent(machine.pop()), machine),
}
"""Opcode -> what it does; with PROTO and STOP, 31."""
