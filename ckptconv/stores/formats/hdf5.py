"""TF's HDF5 weights: one group a layer, or flat data sets in a shard.

A layer lists its weights, and some weights belong to several layers: the class looks for the weights of a layer in the
list of that layer alone, by their names without the model's own level. h5py lays a new file out with room for every
data set; the bytes then flow through the same positioned writes as in every other format. Reading takes a process of
its own (`parsers/hdf5_child.py`), one for all files of a run, started when the first is read.

Source: tf-keras 2.21.0, saving/legacy/hdf5_format.py, and transformers 4.57.6, modeling_tf_utils.py
(`load_tf_weights_from_h5`, `load_tf_shard`).
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from ckptconv.base.errors import SourceError
from ckptconv.base.files import (
    START_BYTES,
    FileReader,
    ensure_whole,
    limits,
    more,
    real_path,
    wrong_file,
)
from ckptconv.base.processes import signal_name
from ckptconv.schema.namings.tf import NAMING, flat, unflat
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.formats import Contents, Format, TensorPlaces
from ckptconv.stores.tensor import MAX_RANK, Extent, Stored, TensorSpec, is_size, require_name

if TYPE_CHECKING:
    import subprocess

    import h5py


SCRIPT = Path(__file__).parents[1] / "parsers" / "hdf5_child.py"
HEAD_BYTES = 12
"""Wait status and length of an answer."""
NONSENSE = "the process that reads HDF5 answered something else than places; do not use this file"
"""Only a file that took the process over can make it do so."""
START_SECONDS = 30
"""More than a start and an import of h5py take on any machine, beside what the limits give."""
PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "TMPDIR")
ENVIRONMENT = {
    "HDF5_PLUGIN_PRELOAD": "::",  # no filter is loaded from a file
    "HDF5_USE_FILE_LOCKING": "FALSE",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class Died(Exception):
    """The process ended, or had to be ended, before it answered."""


@dataclass(slots=True)
class _Server:
    """The running process, if there is one."""

    process: subprocess.Popen[bytes] | None = None
    owner: int = 0
    """Who started it: a fork of this process must not answer for it, nor end it."""
    lock: Lock = field(default_factory=Lock)
    """One question at a time."""

    def start(self) -> subprocess.Popen[bytes]:
        """Return the process, a new one where there is none, or the last one ended, or it is another's."""
        import subprocess  # here, since few commands that ask what the format is read a file in it

        if self.process is None or self.owner != os.getpid() or self.process.poll() is not None:
            self.stop()
            self.owner = os.getpid()
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SCRIPT), *_homes()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={key: os.environ[key] for key in PASSED_ON if key in os.environ} | ENVIRONMENT,
                process_group=0,
            )
        return self.process

    def stop(self) -> None:
        """End the process and whatever it forked, and reap it."""
        process, self.process = self.process, None
        if process is None:
            return
        if self.owner != os.getpid():
            process.returncode = (
                0  # so that Python does not look for it as for a child of this process
            )
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


_SERVER = _Server()
atexit.register(_SERVER.stop)


def _homes() -> list[str]:
    """Return the folders that hold h5py and numpy; the child has no other path, and no `site`."""
    specs = (find_spec(name) for name in ("h5py", "numpy"))
    return list(
        dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin)
    )


def start() -> None:
    """Start the process ahead of its first file, so that its import runs beside other work."""
    _SERVER.start()


def ask(path: Path) -> dict[str, Any]:
    """Return what the child says of a file: `file` and `tensors`, or `refused`.

    Raises: SourceError: it died, took too long or too much memory, or answered something else.
    """
    ensure_whole(path)
    now = limits()
    request = {
        "path": os.fsdecode(real_path(path)),
        "bytes": now.hdf5_bytes,
        "seconds": now.hdf5_seconds,
        "tensors": now.tensors,
        "text": now.header_bytes,
    }
    try:
        with _SERVER.lock:
            status, answer = _exchange(_SERVER.start(), json.dumps(request).encode() + b"\n")
    except (Died, OSError) as error:
        _SERVER.stop()
        raise SourceError(
            f"{path}: the process that reads HDF5 stopped ({error}); the file may be damaged"
        ) from None
    except (
        BaseException
    ):  # a signal in the midst of an answer: the next one would be taken for the rest of this
        _SERVER.stop()
        raise
    if status:
        raise SourceError(
            f"{path}: the HDF5 library failed on it ({_death(status)}).\nFetch or save it again."
        )
    try:
        reply = json.loads(answer)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        raise SourceError(f"{path}: {NONSENSE}")
    return reply


def _exchange(process: subprocess.Popen[bytes], request: bytes) -> tuple[int, bytes]:
    """Send a request; return the fork's wait status and its answer. Raises Died, OSError."""
    assert process.stdin
    assert process.stdout
    until = time.monotonic() + START_SECONDS + limits().hdf5_seconds
    process.stdin.write(request)
    process.stdin.flush()
    head = _receive(process.stdout, HEAD_BYTES, until)
    return int.from_bytes(head[:4], "big"), _receive(
        process.stdout, int.from_bytes(head[4:], "big"), until
    )


def _receive(pipe: IO[bytes], nbytes: int, until: float) -> bytes:
    """Return exactly `nbytes` bytes. Raises Died: the pipe ends, or the time does."""
    parts = []
    while nbytes:
        if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            raise Died(f"no answer in time; {more('hdf5_seconds')}")
        part = os.read(pipe.fileno(), min(nbytes, 1 << 20))
        if not part:
            raise Died("it ended")
        parts.append(part)
        nbytes -= len(part)
    return b"".join(parts)


def _death(status: int) -> str:
    """Say how a fork ended that gave no answer."""
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU:
        return f"more than {limits().hdf5_seconds} s of CPU time; {more('hdf5_seconds')}"
    return signal_name(-code) if code < 0 else f"exit code {code}"


CROSS_ATTENTION = ("crossattention", "cross_attention", "crossattention_", "encoder_attn")
"""What the levels of a cross-attention are called in TF's classes."""
SIDES = ("encoder", "decoder", "enc_to_dec_proj")
"""Layers of the composite class."""
BLOCK_BYTES = 1 << 20
"""Compared at a time."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A weight as a layer lists it."""

    layer: str
    """Empty in a shard, which has no layers."""
    weight: str
    """As it is listed, with the model's own level before it."""
    stored: Stored
    """Under its name without that level."""

    @property
    def path(self) -> str:
        """Where it lies in the file."""
        return f"{self.layer}/{self.weight}" if self.layer else self.weight

    @property
    def top(self) -> str:
        """The first level of its name: the layer that it belongs to."""
        return self.stored.spec.name.split("/", 1)[0]


def by_name(
    listed: Sequence[Listed], file: FileReader
) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """Return each tensor once, under its name, and what a user should know of it.

    Raises: SourceError: one is listed where the class would not look for it, or two of one name differ.
    """
    notices: tuple[str, ...] = ()
    sides = _two_models(listed)
    if sides:
        listed = [_below(sides[weight.layer], weight) for weight in listed]
        names = ", ".join(f"{layer!a:.80} as the {side}" for layer, side in sides.items())
        notices = (f"{file.path.name}: two models that were built apart: {names}",)
    _require_in_place(listed, file)
    tensors: dict[str, Listed] = {}
    for weight in listed:
        name = weight.stored.spec.name
        first = tensors.setdefault(name, weight)
        if first is weight:
            continue
        if not _same(first.stored, weight.stored, file):
            raise SourceError(
                f"{file.path}: {first.path!a:.200} and {weight.path!a:.200} have one name, {name!a:.200},"
                " and different values.\nLoad it with its class and save it anew."
            )
        if weight.layer == weight.top:
            tensors[name] = weight
    return {name: weight.stored for name, weight in tensors.items()}, notices


def _two_models(listed: Sequence[Listed]) -> dict[str, str] | None:
    """Return layer -> side where a file holds two whole models as its layers, one of which reads an encoder.

    `TFEncoderDecoderModel(encoder=..., decoder=...)` saves two models that were built before so.
    """
    layers = list(dict.fromkeys(weight.layer for weight in listed))
    whole = all(weight.weight.startswith(f"{weight.layer}/") for weight in listed)
    if len(layers) != 2 or not whole or set(layers) & {*SIDES, ""}:
        return None
    readers = {weight.layer for weight in listed if _reads_encoder(weight.weight)}
    if len(readers) != 1:
        return None
    return {layer: "decoder" if layer in readers else "encoder" for layer in layers}


def _reads_encoder(name: str) -> bool:
    return any(level in CROSS_ATTENTION for level in name.split("/"))


def _below(side: str, weight: Listed) -> Listed:
    """Return a weight of a model that was built apart under its name in the composite class."""
    spec = weight.stored.spec
    return replace(weight, stored=replace(weight.stored, spec=spec.renamed(f"{side}/{spec.name}")))


def _require_in_place(listed: Sequence[Listed], file: FileReader) -> None:
    """Refuse a weight that stands only in the list of another layer: the class would leave its own as it was drawn.

    A layer none of whose weights has its name is a whole model inside another one, and lists what it likes.
    """
    own = {weight.layer for weight in listed if weight.layer == weight.top}
    layers = {*SIDES, *(weight.layer for weight in listed)}
    in_place = {weight.stored.spec.name for weight in listed if weight.layer == weight.top}
    strays = [
        weight
        for weight in listed
        if weight.layer in own
        and weight.layer != weight.top
        and weight.stored.spec.name not in in_place
        and weight.top in layers
    ]
    if strays:
        more = f" and {len(strays) - 1} more" if len(strays) > 1 else ""
        raise SourceError(
            f"{file.path}: {strays[0].stored.spec.name!a:.200}{more} in the list of layer"
            f" {strays[0].layer!a:.80}: TF's class looks for it in that of {strays[0].top!a:.80}, and would not"
            " load it.\nLoad the model that it was saved from, and save it anew."
        )


def _same(first: Stored, second: Stored, file: FileReader) -> bool:
    """Tell whether two tensors of a file are the same, byte for byte."""
    left, right = first.chunks[0], second.chunks[0]
    if (first.spec.dtype, first.spec.shape) != (second.spec.dtype, second.spec.shape):
        return False
    return all(
        file.read(left.offset + at, min(BLOCK_BYTES, left.nbytes - at))
        == file.read(right.offset + at, min(BLOCK_BYTES, left.nbytes - at))
        for at in range(0, left.nbytes, BLOCK_BYTES)
    )


DTYPES = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
}
"""bfloat16 and bool have no HDF5 type that TF reads back."""
SUPERBLOCK_BYTES = 48
"""What stands first in every file, at least."""
SIGNATURE = b"\x89HDF\r\n\x1a\n"

KERAS_VERSION = "2.21.0"
"""Without this attribute Keras takes the file for one of Keras 1."""
MODEL = "tf_encoder_decoder_model"
"""The level that TF puts before every variable of the composite class, and ignores when it loads."""
MAX_ATTRIBUTE_BYTES = 64512
"""Keras splits lists of names above this size: HDF5 limits an object header to 64 KiB."""


def create(
    path: Path, specs: Sequence[TensorSpec], _naming: NamingName, shard: bool
) -> TensorPlaces:
    """Lay the file out, data sets allocated but not written; see `Format.create`."""
    import h5py

    start()  # it will read this file back, and takes a while to start
    try:
        with h5py.File(path, "x") as file:
            return _lay_out(file, specs, shard)
    except (OSError, RuntimeError) as error:
        raise _system_error(error) from None


def _lay_out(file: h5py.File, specs: Sequence[TensorSpec], shard: bool) -> TensorPlaces:
    """Make groups, lists of names and data sets, and return where the data goes."""
    import h5py

    if shard:
        paths = {spec.name: [flat(spec.name)] for spec in specs}
        _set_names(file, "layer_names", [path for path, *_ in paths.values()])
    else:
        paths = _set_layers(file, [spec.name for spec in specs])
    allocation = _Allocation(file)
    places: dict[str, tuple[Extent, ...]] = {}
    repeated: dict[str, h5py.h5d.DatasetID] = {}
    for spec in specs:  # an open data set takes 12 kB, so that few are kept
        dataset = allocation.dataset(paths[spec.name][0], spec)
        places[spec.name] = (Extent(dataset.get_offset() or 0, spec.nbytes),)
        if len(paths[spec.name]) > 1:
            repeated[spec.name] = dataset
    for name, dataset in repeated.items():
        for path in paths[name][1:]:  # one data set, where the class saves a copy in each group
            file[path] = h5py.Dataset(dataset)
    file.flush()
    return places


def _system_error(error: BaseException) -> OSError:
    """Return what the system said: HDF5 wraps it in texts, and what fails next in closing hides it."""
    chain: BaseException | None = error
    while chain is not None:
        if match := re.search(r"errno = (\d+)", str(chain)):
            return OSError(int(match[1]), os.strerror(int(match[1])))
        chain = chain.__context__
    return OSError(errno.EIO, os.strerror(errno.EIO))


def place(name: str, names: Collection[str]) -> tuple[tuple[str, ...], str | None]:
    """Return the HDF5 groups that a class saves a tensor in, and the level that it has in place of the model's.

    T5's shared table lies in the group of each layer that uses it; a name of one level has no other before it.
    """
    first, _, rest = name.partition("/")
    if not rest:
        return (name.removesuffix(NAMING.suffix),), None
    if first == "shared":
        groups = {tensor.partition("/")[0] for tensor in names}
        return tuple(group for group in ("shared", "encoder", "decoder") if group in groups), first
    return ((first.partition(".")[0],), first) if first.endswith(".shared") else ((first,), None)


def _set_layers(file: h5py.File, names: Sequence[str]) -> dict[str, list[str]]:
    """Write the groups and lists of names that Keras reads a model by; return the paths of each tensor."""
    layers: dict[str, list[str]] = {}
    paths: dict[str, list[str]] = {}
    for name in names:
        groups, level = place(name, names)
        listed = f"{level or MODEL}/{name}" if "/" in name else name
        paths[name] = [f"{group}/{listed}" for group in groups]
        for group in groups:
            layers.setdefault(group, []).append(listed)
    _set_names(file, "layer_names", list(layers))
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = KERAS_VERSION.encode()
    for layer in sorted(layers):
        _set_names(file.create_group(layer), "weight_names", layers[layer])
    _set_names(file.create_group("top_level_model_weights"), "weight_names", [])
    return paths


def _set_names(group: h5py.Group, key: str, names: Sequence[str]) -> None:
    """Write a list of names as an attribute, cut into equal parts where it is too long for one."""
    import numpy as np

    encoded = np.asarray([name.encode() for name in names])
    count = 1
    while any(part.nbytes > MAX_ATTRIBUTE_BYTES for part in np.array_split(encoded, count)):
        count += 1
    for index, chunk in enumerate(np.array_split(encoded, count)):
        group.attrs[f"{key}{index}" if count > 1 else key] = chunk


class _Allocation:
    """Makes data sets whose bytes have their place in the file, and are not filled.

    By the library's plain calls: h5py's own ask the file again and again for what is known here, and take three times
    as long (measured, 521 data sets); and its `create_dataset` forgets the property list of a scalar.
    """

    def __init__(self, file: h5py.File) -> None:
        """Take a file with its layers' groups, or an empty one."""
        import h5py

        self._file = file
        self._properties = plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.CONTIGUOUS)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plist.set_obj_track_times(False)
        self._above = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        self._above.set_create_intermediate_group(True)
        self._kinds: dict[str, h5py.h5t.TypeID] = {}
        self._spaces: dict[tuple[int, ...], h5py.h5s.SpaceID] = {}
        self._group: h5py.h5g.GroupID = file.id
        """Where the last data set lies: the next one often lies there too, and one that is open takes memory."""
        self._path = ""
        self._paths = set(file)
        """Of all groups."""

    def dataset(self, path: str, spec: TensorSpec) -> h5py.h5d.DatasetID:
        """Make a data set, and the groups above it."""
        import h5py
        import numpy as np

        above, _, leaf = path.rpartition("/")
        if above != self._path:
            self._path, self._group = above, self._opened(above)
        if spec.dtype not in self._kinds:
            self._kinds[spec.dtype] = h5py.h5t.py_create(np.dtype(DTYPES[spec.dtype]))
        if spec.shape not in self._spaces:
            scalar = h5py.h5s.create(h5py.h5s.SCALAR)
            self._spaces[spec.shape] = h5py.h5s.create_simple(spec.shape) if spec.shape else scalar
        return h5py.h5d.create(
            self._group,
            leaf.encode(),
            self._kinds[spec.dtype],
            self._spaces[spec.shape],
            self._properties,
        )

    def _opened(self, path: str) -> h5py.h5g.GroupID:
        import h5py

        if not path:
            return self._file.id
        if path in self._paths:
            return h5py.h5g.open(self._file.id, path.encode())
        group = h5py.h5g.create(self._file.id, path.encode(), self._above)
        while path and path not in self._paths:
            self._paths.add(path)
            path = path.rpartition("/")[0]
        return group


def read(path: Path) -> Contents:
    """Read names and places of every data set that the lists of names lead to; see `Format.read`.

    The HDF5 library reads in a process of its own, and nothing that it says is taken on trust.
    """
    with FileReader(path) as file:
        start = file.read(0, min(START_BYTES, file.size))
        if not start.startswith(SIGNATURE):
            raise wrong_file(path, "HDF5", start, "hdf5") or SourceError(
                f"{path}: not an HDF5 file: it does not begin as one (it may have a user block)"
            )
        answer = ask(path)
        if "refused" in answer:
            raise SourceError(
                f"{path}: {str(answer['refused']).encode('ascii', 'backslashreplace').decode()}"
            )
        try:
            inode = tuple(answer["file"])
            listed = [_listed(path, file.size, *place) for place in answer["tensors"]]
        except (KeyError, TypeError, AttributeError):
            raise SourceError(f"{path}: {NONSENSE}") from None
        if inode != file.inode:
            raise SourceError(f"{path}: was replaced while it was read")
        _check_apart(path, [tensor.stored for tensor in listed])
        tensors, notices = by_name(listed, file)
        return Contents(tensors, notices=notices)


def _listed(
    path: Path,
    size: int,
    layer: str,
    weight: str,
    dtype: str,
    shape: list[int],
    offset: int,
    nbytes: int,
) -> Listed:
    """Turn one line of the answer into a place. Raises SourceError where it does not lie plainly in the file."""
    require_name(f"{layer}/{weight}" if layer else weight, str(path))
    # In a layer, the first level is the model's own name, which differs from save to save.
    name = weight.split("/", 1)[-1] if layer else unflat(weight)
    require_name(name, str(path))
    where = f"{path}: {ascii(name)[:200]}"
    if len(shape) > MAX_RANK or not all(map(is_size, (*shape, offset, nbytes))):
        raise SourceError(f"{where}: invalid shape or offset")
    spec = TensorSpec(name, dtype, tuple(shape))
    if nbytes != spec.nbytes:
        raise SourceError(
            f"{where}: {dtype} {shape} takes {spec.nbytes} bytes, the file gives {nbytes}"
        )
    if offset + nbytes > size:
        raise SourceError(
            f"{where}: cut short: its data ends at byte {offset + nbytes}, the file has {size}"
        )
    return Listed(layer, weight, Stored.in_file(spec, path, (Extent(offset, nbytes),)))


def _check_apart(path: Path, tensors: Sequence[Stored]) -> None:
    """Refuse data sets that share bytes, but for one tensor that lies in several groups."""
    places = {(stored.chunks[0].offset, stored.spec) for stored in tensors if stored.spec.nbytes}
    ordered = sorted(places, key=itemgetter(0))
    end = SUPERBLOCK_BYTES
    for offset, spec in ordered:
        if offset < end:
            raise SourceError(
                f"{path}: {ascii(spec.name)[:200]} shares bytes with something else in the file"
            )
        end = offset + spec.nbytes


FORMAT = Format("hdf5", ("tf",), read, create, widened={"bfloat16": "float32"})
