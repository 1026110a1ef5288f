"""Malformed files of the form before PyTorch 1.6: five pickles, then each storage behind its length."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from ckptconv.trials.corpus._model import case, shapes
from ckptconv.trials.corpus._pickled import (
    MAGIC,
    PROTO,
    data,
    entries,
    number,
    state_dict,
    storage,
    tensor,
    text,
    view,
    with_first,
)

_FIRST = next(iter(shapes().values()))
_NUMEL = _FIRST[0] * _FIRST[1]
_BOMB = b"c" + b"os\nsystem\n" + text("id") + b"\x85R"
_VERSION = PROTO + number(1001) + b"."


def system(version: bytes | None = None, little: bytes = b"\x88") -> bytes:
    """Return the third pickle: how the machine that wrote the file lays out numbers."""
    declared = number(1001) if version is None else version
    sizes = (
        text("type_sizes")
        + b"}("
        + text("short")
        + b"K\2"
        + text("int")
        + b"K\4"
        + text("long")
        + b"K\4u"
    )
    return (
        PROTO
        + b"}("
        + text("protocol_version")
        + declared
        + text("little_endian")
        + little
        + sizes
        + b"u."
    )


def keys(names: Sequence[str]) -> bytes:
    """Return the fifth pickle."""
    return PROTO + b"](" + b"".join(map(text, names)) + b"e."


def records(storages: Mapping[str, bytes], counts: Mapping[str, int] | None = None) -> bytes:
    """Return each storage behind its number of float32 elements; `counts`: other numbers."""
    return b"".join(
        struct.pack("<q", (counts or {}).get(key, len(raw) // 4)) + raw
        for key, raw in storages.items()
    )


def whole(
    *,
    magic: bytes = MAGIC,
    version: bytes = _VERSION,
    machine: bytes | None = None,
    state: bytes | None = None,
    listed: bytes | None = None,
    raw: bytes | None = None,
) -> bytes:
    """Return the whole model in this form, with any of its six parts replaced."""
    machine = system() if machine is None else machine
    state = state_dict(entries(legacy=True)) if state is None else state
    listed = keys(list(data())) if listed is None else listed
    return magic + version + machine + state + listed + (records(data()) if raw is None else raw)


def _first(opcodes: bytes) -> bytes:
    return whole(state=with_first(opcodes, legacy=True))


def _stored(key: str = "0", numel: int = _NUMEL, **changes: str) -> bytes:
    return _first(tensor(storage(key, numel, more=b"N", **changes), view(_FIRST)))


def _counted(count: int) -> bytes:
    return whole(raw=records(data(), {"3": count}))


def _listed(names: Sequence[str]) -> bytes:
    return whole(listed=keys(names))


_KEYS = tuple(data())
_TAR = b"sys_info".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0")
# name, what a reader that does not look would do, what the refusal says, the weights
_TABLE: tuple[tuple[str, str, str, Callable[[], bytes]], ...] = (
    # The head.
    (
        "magic-other",
        "another format",
        "found a pickle",
        lambda: whole(magic=PROTO + number(7) + b"."),
    ),
    (
        "magic-is-a-list",
        "another format",
        "found a pickle",
        lambda: whole(magic=PROTO + b"]."),
    ),
    ("magic-of-protocol-4", "other opcodes", "protocol 2 or 3", lambda: b"\x80\4" + whole()[2:]),
    (
        "magic-runs-code",
        "runs code",
        "'os system' has no place",
        lambda: whole(magic=PROTO + _BOMB + b"."),
    ),
    ("magic-alone", "a download that stopped", "ends too early", lambda: MAGIC),
    ("magic-cut", "a download that stopped", "are announced|ends too early", lambda: MAGIC[:9]),
    (
        "first-byte-alone",
        "a download that stopped",
        "are announced|ends too early",
        lambda: b"\x80",
    ),
    ("tar", "the first releases' form, which runs code", "a tar file", lambda: _TAR),
    (
        "version-other",
        "an unknown order of parts",
        "version is not 1001",
        lambda: whole(version=PROTO + number(1002) + b"."),
    ),
    (
        "version-is-text",
        "an unknown order of parts",
        "version is not 1001",
        lambda: whole(version=PROTO + text("1001") + b"."),
    ),
    (
        "version-runs-code",
        "runs code",
        "'os system' has no place",
        lambda: whole(version=PROTO + _BOMB + b"."),
    ),
    ("version-absent", "parts out of step", "version is not 1001", lambda: whole(version=b"")),
    (
        "system-is-a-list",
        "an unknown machine",
        "does not say version 1001",
        lambda: whole(machine=PROTO + b"]."),
    ),
    (
        "system-empty",
        "an unknown machine",
        "does not say version 1001",
        lambda: whole(machine=PROTO + b"}."),
    ),
    (
        "system-version-other",
        "two versions",
        "does not say version 1001",
        lambda: whole(machine=system(number(7))),
    ),
    (
        "system-big-endian",
        "values with their bytes turned",
        "not little-endian",
        lambda: whole(machine=system(little=b"\x89")),
    ),
    (
        "system-endian-one",
        "a truth that is none",
        "not little-endian",
        lambda: whole(machine=system(little=number(1))),
    ),
    (
        "system-endian-none",
        "a machine that is not said",
        "not little-endian",
        lambda: whole(machine=system(little=b"N")),
    ),
    (
        "system-runs-code",
        "runs code",
        "'os system' has no place",
        lambda: whole(machine=PROTO + _BOMB + b"."),
    ),
    (
        "system-names-a-storage",
        "parts out of step",
        "has no place",
        lambda: whole(machine=PROTO + b"ctorch\nFloatStorage\n."),
    ),
    # The state.
    ("state-runs-code", "runs code", "'os system' has no place", lambda: _first(_BOMB)),
    (
        "state-by-stack-global",
        "runs code",
        "STACK_GLOBAL is not read",
        lambda: _first(text("os") + text("system") + b"\x93"),
    ),
    ("state-is-a-list", "no state_dict", "holds a list", lambda: whole(state=PROTO + b"].")),
    ("state-is-a-number", "no state_dict", "holds an int", lambda: whole(state=PROTO + b"K\1.")),
    (
        "state-cut",
        "a download that stopped",
        "are announced|ends too early|no newline",
        lambda: whole()[:900],
    ),
    (
        "state-twice",
        "a second state_dict",
        "OrderedDict' has no place",
        lambda: whole(state=state_dict(entries(legacy=True)) * 2),
    ),
    (
        "state-memo-bomb",
        "2^200 values",
        "is a tuple, not a tensor",
        lambda: _first(b")" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(200))),
    ),
    (
        "storage-of-the-zip-form",
        "a tuple of another form",
        "not that of a storage",
        lambda: _first(tensor(storage("0", _NUMEL), view(_FIRST))),
    ),
    (
        "storage-with-a-view",
        "a second offset",
        "not that of a storage",
        lambda: _first(
            tensor(storage("0", _NUMEL, more=b"(" + text("9") + b"K\0K\1t"), view(_FIRST))
        ),
    ),
    (
        "storage-of-the-meta-device",
        "memory that was never filled",
        "meta device",
        lambda: _stored(place="meta"),
    ),
    ("storage-key-a-path", "a file outside", "whose key is no number", lambda: _stored("../0")),
    (
        "storage-key-negative",
        "an address that is none",
        "whose key is no number",
        lambda: _stored("-1"),
    ),
    (
        "storage-quantized",
        "a dtype with more than values",
        "QInt8Storage' has no place",
        lambda: _stored(kind="QInt8Storage"),
    ),
    (
        "storage-longer",
        "reads into the next",
        "has 100 elements, expected 101",
        lambda: _stored(numel=_NUMEL + 1),
    ),
    (
        "storage-shorter",
        "bytes that nobody sees",
        "of a storage of 99|has 100 elements",
        lambda: _stored(numel=_NUMEL - 1),
    ),
    (
        "storage-of-4-eib",
        "memory",
        "has 100 elements, expected 4611686018427387904",
        lambda: _stored(numel=1 << 62),
    ),
    (
        "view-past-the-storage",
        "reads into the next",
        "elements 1 to 101",
        lambda: _first(tensor(storage("0", _NUMEL, more=b"N"), view(_FIRST, offset=1))),
    ),
    (
        "view-expanded",
        "5 EiB from one number",
        "is expanded",
        lambda: _first(tensor(storage("0", _NUMEL, more=b"N"), view((1 << 30, 1 << 30), (0, 0)))),
    ),
    # The keys.
    (
        "keys-is-a-dict",
        "no order",
        "no list of distinct storage keys",
        lambda: whole(listed=PROTO + b"}."),
    ),
    (
        "keys-are-numbers",
        "no keys",
        "no list of distinct storage keys",
        lambda: whole(listed=PROTO + b"](K\0K\1e."),
    ),
    (
        "keys-are-tuples",
        "hashes that take for ever",
        "no list of distinct storage keys",
        lambda: whole(listed=PROTO + b"](N\x85e."),
    ),
    (
        "keys-run-code",
        "runs code",
        "'os system' has no place",
        lambda: whole(listed=PROTO + _BOMB + b"."),
    ),
    (
        "keys-twice",
        "data for one storage twice",
        "no list of distinct storage keys",
        lambda: _listed([*_KEYS, "3"]),
    ),
    (
        "keys-one-missing",
        "memory that was never filled",
        "'56' has no data",
        lambda: _listed(_KEYS[:-1]),
    ),
    (
        "keys-one-more",
        "bytes that nobody sees",
        "'999' is in the file but no tensor",
        lambda: _listed([*_KEYS, "999"]),
    ),
    (
        "keys-one-renamed",
        "data for no storage",
        "'56' has no data",
        lambda: _listed([*_KEYS[:-1], "999"]),
    ),
    ("keys-none", "memory that was never filled", "'0' has no data", lambda: _listed([])),
    (
        "keys-exchanged",
        "values of another tensor",
        "elements, expected",
        lambda: _listed([*_KEYS[1:], _KEYS[0]]),
    ),
    # The data.
    ("count-larger", "reads into the next", "has 999 elements, expected", lambda: _counted(999)),
    ("count-smaller", "parts out of step", "has 1 elements, expected", lambda: _counted(1)),
    ("count-zero", "memory that was never filled", "has 0 elements, expected", lambda: _counted(0)),
    ("count-negative", "a negative length", "has -1 elements, expected", lambda: _counted(-1)),
    (
        "count-of-2-to-the-62",
        "memory",
        "has 4611686018427387904 elements, expected",
        lambda: _counted(1 << 62),
    ),
    (
        "count-big-endian",
        "values with their bytes turned",
        "has 144115188075855872 elements, expected",
        lambda: _counted(2 << 56),
    ),
    ("data-absent", "a download that stopped", "cut short", lambda: whole(raw=b"")),
    ("data-cut", "a download that stopped", "the file has", lambda: whole()[:-1]),
    (
        "data-cut-in-a-count",
        "a download that stopped",
        "cut short",
        lambda: whole(raw=records(data())[:3]),
    ),
    (
        "data-and-more",
        "bytes that nobody sees",
        "its storages end at byte",
        lambda: whole() + b"\0",
    ),
    (
        "data-and-a-second-file",
        "bytes that nobody sees",
        "its storages end at byte",
        lambda: whole() * 2,
    ),
    (
        "data-and-a-zip-file",
        "two files in one",
        "its storages end at byte",
        lambda: whole() + b"PK\5\6" + b"\0" * 18,
    ),
)

CASES = tuple(
    case(f"legacy-{name}", threat, says, weights) for name, threat, says, weights in _TABLE
)
