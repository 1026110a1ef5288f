"""The process that lets the HDF5 library read a stranger's file: run as a script, it imports nothing of ckptconv.

The library is 300,000 lines of C that hostile files crash and hang. So every file gets a fork of its own, with
bounds on memory and time, without the right to open another file or to write one. It answers with where the
data sets lie; if it dies instead, that is the answer. The parent reads the bytes itself.

stdin, one line a file: {"path", "bytes", "seconds", "tensors", "text"}.
stdout, for each: the fork's wait status [4 bytes], the length of the answer [8 bytes], the answer (JSON).
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any

MAX_ANSWER = 256 << 20
"""No list of places is anywhere near this long [bytes]."""
MAX_DEPTH = 32
TYPES = {
    "float64": "IEEE_F64LE",
    "float32": "IEEE_F32LE",
    "float16": "IEEE_F16LE",
    "int64": "STD_I64LE",
    "int32": "STD_I32LE",
    "int16": "STD_I16LE",
    "int8": "STD_I8LE",
    "uint8": "STD_U8LE",
}
"""Canonical dtype -> the one HDF5 type that stores it as it lies in memory."""
CLASSES = (
    "INTEGER",
    "FLOAT",
    "STRING",
    "BITFIELD",
    "OPAQUE",
    "COMPOUND",
    "REFERENCE",
    "ENUM",
    "VLEN",
    "ARRAY",
)
GRACE = {resource.RLIMIT_CPU: 1}
"""The soft limit on time ends a process with a signal of its own, the hard one with that of an empty memory [s]."""
SAVE_ANEW = "load it with its class and save it anew"


class Refused(Exception):
    """The file is not one that ckptconv reads; the text is for the user."""


def shown(name: str) -> str:
    """Return an untrusted name as a message may carry it."""
    return ascii(name)[:200]


class Walk:
    """Everything that hard links lead to, each object once, and the lists that name the weights."""

    def __init__(self, file: Any, request: dict[str, Any]) -> None:
        """`file`: an open `h5py.h5f.FileID`."""
        import h5py

        self.h5, self.file, self.request = h5py, file, request
        self.groups: set[str] = set()
        self.datasets: dict[str, list[Any] | Exception] = {}
        """Path -> [dtype, shape, offset, bytes], or what is wrong, which only counts where a list has the name.

        They are closed again: an open data set takes 10 kB.
        """
        self._seen: set[int] = set()
        self._visits = 0
        self._visit(h5py.h5g.open(file, b"/"), "", -1)

    def _collect(self, group: Any, above: str, depth: int) -> None:
        """Remember what lies in a group and below it."""
        self.groups.add(above)
        if depth > MAX_DEPTH:
            raise Refused(f"groups deeper than {MAX_DEPTH} levels")
        links: list[bytes] = []
        group.links.iterate(links.append)  # not `for raw in group`, which begins anew for each
        for raw in links:
            name = f"{above}/{raw.decode()}".lstrip("/")
            if group.links.get_info(raw).type != self.h5.h5l.TYPE_HARD:
                raise Refused(f"{shown(name)} is behind a link that ckptconv does not follow")
            self._visit(self.h5.h5o.open(group, raw), name, depth)

    def _visit(self, node: Any, name: str, depth: int) -> None:
        place = self.h5.h5o.get_info(node).addr
        again = place in self._seen
        self._seen.add(place)
        self._visits += 1
        if self._visits > 2 * self.request["tensors"]:
            raise Refused(
                f"more than {self._visits - 1} groups and data sets; --limit tensors=N allows more"
            )
        if isinstance(node, self.h5.h5g.GroupID):
            if (
                again
            ):  # it may lead back to itself; of a data set, one tensor may lie in several groups
                raise Refused(f"{shown(name)} is a second name of something else in the file")
            self._collect(node, name, depth + 1)
        elif isinstance(node, self.h5.h5d.DatasetID):
            try:
                self.datasets[name] = self._values(node)
            except Exception as error:  # h5py raises whatever the library thinks of
                self.datasets[name] = error.with_traceback(None)
        else:
            raise Refused(f"{shown(name)} is neither a group nor a data set")

    def tensors(self) -> Iterator[tuple[str, str, list[Any] | Exception]]:
        """Follow `layer_names` to data sets (a shard) or to groups with `weight_names` (a whole model).

        Returns: layer, or "" in a shard; name as it is listed there; what is known of the data set.
        """
        left = dict(self.datasets)
        for layer in self._names("", "layer_names"):
            if layer in self.datasets:
                yield "", layer, self._take(left, layer)
                continue
            if layer not in self.groups:
                raise Refused(f"{shown(layer)} is in layer_names, but not in the file")
            for weight in self._names(layer, "weight_names"):
                yield layer, weight, self._take(left, f"{layer}/{weight}")
        if left:
            raise Refused(f"{shown(min(left))} is in no list of names")

    def _take(self, left: dict[str, list[Any] | Exception], path: str) -> list[Any] | Exception:
        if path not in self.datasets:
            raise Refused(f"{shown(path)} is in a list of names, but is no data set of the file")
        if path not in left:
            raise Refused(f"duplicate name {shown(path)} in the lists of names")
        return left.pop(path)

    def _names(self, group: str, key: str) -> list[str]:
        """Return a list of names, joined where Keras had to cut it."""
        exists = self.h5.h5a.exists
        node = self.h5.h5g.open(self.file, f"/{group}".encode())
        if exists(node, key.encode()):
            return self._list(node, key)
        count = next(
            number for number in range(1 << 20) if not exists(node, f"{key}{number}".encode())
        )
        if not count:
            raise Refused(f"no {key} in /{ascii(group)[1:-1]}")
        return [name for number in range(count) for name in self._list(node, f"{key}{number}")]

    def _list(self, node: Any, key: str) -> list[str]:
        """Return one attribute of names: text of a fixed length or, from newer versions of Keras, of any."""
        import numpy as np

        attribute = self.h5.h5a.open(node, key.encode())
        kind, shape = attribute.get_type(), attribute.shape
        if attribute.get_space().get_simple_extent_type() != self.h5.h5s.SIMPLE or len(shape) != 1:
            raise Refused(f"{key} is not a list")
        if shape == (0,):
            return []
        if kind.get_class() != self.h5.h5t.STRING:
            raise Refused(f"{key} is not of text; {SAVE_ANEW}")
        if (
            attribute.get_storage_size() > self.request["text"]
            or shape[0] > self.request["tensors"]
        ):
            raise Refused(f"{key} is too long; --limit header_bytes=N or tensors=N allows more")
        values = np.zeros(shape, attribute.dtype)
        attribute.read(values)
        return [
            value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()
        ]

    def place(self, layer: str, name: str, values: list[Any] | Exception) -> list[Any]:
        """Return [layer, name, dtype, shape, offset, bytes] of a data set that lies plainly in the file."""
        if isinstance(values, Refused):
            raise Refused(f"{shown(name)}: {values}")
        if isinstance(values, Exception):
            raise values
        return [layer, name, *values]

    def _values(self, dataset: Any) -> list[Any]:
        """Return [dtype, shape, offset, bytes]. Raises Refused: without the name of the data set."""
        h5, plan = self.h5, dataset.get_create_plist()
        if plan.get_layout() == h5.h5d.CHUNKED:
            raise Refused(f"is cut into chunks, or compressed; {SAVE_ANEW}")
        if plan.get_layout() != h5.h5d.CONTIGUOUS:
            raise Refused(f"is not stored as one run of bytes (compact or virtual); {SAVE_ANEW}")
        if plan.get_external_count() or plan.get_nfilters():
            raise Refused(f"its bytes are in another file, or filtered; {SAVE_ANEW}")
        space = dataset.get_space()
        if space.get_simple_extent_type() == h5.h5s.NULL:
            raise Refused("has no shape and no values")
        dtype, shape = self._dtype(dataset.get_type()), list(space.get_simple_extent_dims())
        offset, stored = dataset.get_offset(), dataset.get_storage_size()
        if offset is None and 0 not in shape:
            raise Refused("its values were never written")
        return [dtype, shape, offset or 0, stored if offset is not None else 0]

    def _dtype(self, kind: Any) -> str:
        if kind.committed():
            raise Refused(f"a type that is stored apart; {SAVE_ANEW}")
        for dtype, standard in TYPES.items():
            if kind.equal(getattr(self.h5.h5t, standard)):
                return dtype
        classes = {getattr(self.h5.h5t, name): name.lower() for name in CLASSES}
        called = classes.get(kind.get_class(), "unknown")
        if called in ("integer", "float") and kind.get_order() == self.h5.h5t.ORDER_BE:
            called = f"big-endian {called}"
        raise Refused(
            f"its type ({called}, {kind.get_size()} bytes) is not one that ckptconv moves"
        )


def bound(request: dict[str, Any]) -> None:
    """Bound what this process may spend, for good."""
    for what, most in (
        (resource.RLIMIT_AS, request["bytes"]),
        (resource.RLIMIT_CPU, request["seconds"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        bounds = (soft, soft + GRACE.get(what, 0) if hard == resource.RLIM_INFINITY else hard)
        try:
            resource.setrlimit(what, bounds)
        except (OSError, ValueError):
            # macOS refuses every bound on the address space; those on time and files hold there.
            if what != resource.RLIMIT_AS or sys.platform != "darwin":
                raise


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the places of every weight, or why not."""
    import h5py

    try:
        bound(request)
        fd = os.open(os.fsencode(request["path"]), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        status = os.fstat(fd)
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
        file = h5py.h5f.open(f"/dev/fd/{fd}".encode(), h5py.h5f.ACC_RDONLY, access)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (0, 0)
        )  # from here on nothing else can be opened
        if file.get_create_plist().get_userblock():
            raise Refused("something lies before the HDF5 data (a user block)")
        walk = Walk(file, request)
        places = [walk.place(*listed) for listed in walk.tensors()]
        return {"file": [status.st_dev, status.st_ino], "tensors": places}
    except Refused as error:
        return {"refused": str(error)}
    except (MemoryError, RecursionError):
        return {
            "refused": f"needs more than {request['bytes']} bytes to read; --limit hdf5_bytes=N allows more"
        }
    except Exception as error:  # h5py raises whatever the library thinks of
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return {"refused": f"not a readable HDF5 file of weights ({ascii(reason)[1:-1][:200]})"}


def warm_up() -> None:
    """Import once, for all forks, what h5py and the walk import late: they may open no file then."""
    import h5py
    import numpy as np

    with h5py.File("warm-up", "w", driver="core", backing_store=False) as file:
        file.attrs["layer_names"] = np.asarray([b"x"])
        file["x"] = np.zeros(1, np.float32)
        walk = Walk(file.id, {"tensors": 9, "text": 99})
        assert [walk.place(*listed)[:4] for listed in walk.tensors()] == [["", "x", "float32", [1]]]


def serve() -> None:
    """Answer until stdin closes."""
    warm_up()
    for line in sys.stdin.buffer:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            data = json.dumps(answer(json.loads(line))).encode()
            with open(writer, "wb") as pipe:  # noqa: PTH123  # a descriptor
                pipe.write(data)
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as pipe:  # noqa: PTH123
            data = pipe.read(MAX_ANSWER)
        _, status = os.waitpid(child, 0)
        sys.stdout.buffer.write(status.to_bytes(4, "big") + len(data).to_bytes(8, "big") + data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.path[:0] = sys.argv[
        1:
    ]  # where h5py and numpy are: this Python was started with no other place
    serve()
