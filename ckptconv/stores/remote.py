"""Checkpoints behind an address (`s3://`, `gs://`, `az://`, `https://`, ...), read by ranges through fsspec.

An address becomes a directory of sparse files, one for each file there; what is read of them is fetched first, in
blocks, and twice as many while reading goes on in order. So `inspect` of a large pair fetches its headers alone.
"""

from __future__ import annotations

import atexit
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ckptconv.base.environment import install_advice
from ckptconv.base.errors import CkptconvError, FrameworkError, SourceError, one_line
from ckptconv.base.files import FileIdentity, limits, more, register_lazy, register_mirror
from ckptconv.base.strict_json import parse_json
from ckptconv.stores.companions import GENERATION, PROCESSOR, TOKENIZER
from ckptconv.stores.hub.download import Hub
from ckptconv.stores.hub.names import HubName, hub_name
from ckptconv.stores.layouts.huggingface import every_name

BLOCK_BYTES = 1 << 16
MOST_BLOCKS = 256
"""Fetched at once at most: 16 MiB."""
NAME = re.compile(r"(?!\.)[A-Za-z0-9._+-]{1,200}(/(?!\.)[A-Za-z0-9._+-]{1,200})?")
"""A file that a checkpoint may have: in the folder, or one below."""
MOST_FILES = 10_000
WEB = ("http", "https")
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""Kind of address -> the extra that reads it; all others need `remote`, and what fsspec says."""
WEB_NAMES = (
    "config.json",
    GENERATION,
    *TOKENIZER,
    *PROCESSOR,
    "README.md",
    *("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE"),
    *every_name(),
)
"""What a web server is asked for, since it lists nothing."""
ABSENT = (403, 404, 410)
"""What a server answers for what is not there; S3 says 403 to whoever may not list."""
_MIRRORS: dict[str, tuple[Path, list[RemoteFile]]] = {}


def mirror(address: str) -> Path:
    """Return the directory here that stands for what lies at an address, until this process ends or it changed there.

    Raises: SourceError: nothing lies there, or not for this user. FrameworkError: fsspec, or what it needs for this
        kind of address, is missing; or nobody answers.
    """
    if address not in _MIRRORS or any(file.has_changed() for file in _MIRRORS[address][1]):
        _MIRRORS[address] = _mirrored(address.rstrip("/"))
    return _MIRRORS[address][0]


def _mirrored(address: str) -> tuple[Path, list[RemoteFile]]:
    with _translated(address):
        files = dict(_listed(address))
    if not files:
        raise SourceError(f"{address}: nothing lies there that a checkpoint could have.")
    root = Path(mkdtemp(prefix="ckptconv-remote-")).resolve()  # holes are found by the real name
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    folder = root / (re.sub(r"[^A-Za-z0-9._-]", "_", unquote(address.rpartition("/")[2])) or "root")
    folder.mkdir()
    register_mirror(folder, address)
    remote_files = []
    for name, (system, path, size) in files.items():
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        with place.open("xb") as file:
            file.truncate(size)
        remote_files.append(RemoteFile(place, f"{address}/{name}", system, path, size))
        register_lazy(place, remote_files[-1])
    return folder, remote_files


class RemoteFile:
    """One file behind an address, and the blocks of it that are here."""

    def __init__(self, place: Path, address: str, system: Any, path: str, size: int) -> None:
        """Take an empty sparse file of the right size."""
        self.size, self.fetched = size, 0
        self._place, self._address, self._system, self._path = place, address, system, path
        self._here = bytearray(-(-size // BLOCK_BYTES))
        self._streams: dict[int, int] = {}
        """Block after a fetch -> how many blocks it had: several threads read on, each from its own place."""
        self._first: FileIdentity | None = None
        self._lock, self._looking = Lock(), Lock()

    def ensure(self, offset: int, nbytes: int) -> None:
        """Fetch the blocks of some bytes that are not here. Raises SourceError, FrameworkError."""
        if nbytes <= 0 or offset >= self.size:
            return
        first, last = offset // BLOCK_BYTES, (min(offset + nbytes, self.size) - 1) // BLOCK_BYTES
        if self._here.find(0, first, last + 1) < 0:  # a block counts as here once it is written
            return
        with self._lock:
            while (start := self._here.find(0, first, last + 1)) >= 0:
                self._fetch(start, last)

    def first(self) -> FileIdentity:
        """Return the state of the file before anything was read of it; asked for once."""
        with self._looking:
            if self._first is None:
                self._first = self.identity()
            return self._first

    def identity(self) -> FileIdentity:
        """Return what stands for the state of the file where it lies, now."""
        with _translated(self._address):
            mark = str(_mark(self._system, self._path))
        return 0, int(sha256(mark.encode()).hexdigest()[:15], 16), self.size, 0, 0

    def has_changed(self) -> bool:
        """Tell whether the file is another one than was read."""
        return self._first is not None and self._first != self.identity()

    def _fetch(self, start: int, last: int) -> None:
        """Fetch blocks from `start`: what is asked for, and more ahead of it where reading goes on in order."""
        self.first()
        ahead = min(2 * self._streams.pop(start, 0) or 1, MOST_BLOCKS)
        stop = start + min(max(last + 1 - start, ahead), MOST_BLOCKS)
        here = self._here.find(1, start, stop)
        stop = min(stop if here < 0 else here, len(self._here))
        begin, end = start * BLOCK_BYTES, min(stop * BLOCK_BYTES, self.size)
        with _translated(self._address):
            data = self._system.cat_file(self._path, start=begin, end=end)
        if len(data) == self.size:  # the server knows no ranges, and gave all of it
            begin, end, start, stop = 0, self.size, 0, len(self._here)
        if len(data) != end - begin:
            raise SourceError(
                f"{self._address}: {len(data)} bytes came for {end - begin} from byte {begin}; "
                "it is not what it was. Run the command again."
            )
        with self._place.open("r+b") as file:
            file.seek(begin)
            file.write(data)
        self.fetched += len(data)
        self._here[start:stop] = b"\1" * (stop - start)
        self._streams[stop] = ahead


def _mark(system: Any, path: str) -> object:
    """Return what a store says of the state of a file: its tag, its time, its size."""
    system.invalidate_cache()
    info = system.info(path)
    keys = ["ETag", "etag", "md5Hash", "content_md5", "generation", "size"]
    keys += ["LastModified", "Last-Modified", "mtime", "created"]
    return [str(info[key]) for key in keys if info.get(key) is not None]


def _listed(address: str) -> Iterator[tuple[str, tuple[Any, str, int]]]:
    """Return name -> file system, path and size of what lies at an address."""
    web = urlsplit(address).scheme.lower() in WEB
    name = _hub_name(address) if web else None
    if name is not None:
        yield from _on_the_hub(name)
        return
    try:
        fsspec = import_module("fsspec")
        system, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        extra = EXTRAS.get(urlsplit(address).scheme.lower(), "remote")
        raise FrameworkError(
            f"{address}: reading it needs a library that is not installed here ({one_line(str(error))}).\n"
            f"{install_advice(extra)}"
        ) from None
    except ValueError as error:
        raise SourceError(f"{address}: {one_line(str(error))}") from None
    yield from _on_the_web(system, root) if web else _in_a_store(system, root)


def _in_a_store(system: Any, root: str) -> Iterator[tuple[str, tuple[Any, str, int]]]:
    start = root.rstrip("/")
    entries = system.find(start, maxdepth=2, detail=True)
    files = {
        path[len(start) :].lstrip("/"): (system, path, int(info["size"]))
        for path, info in entries.items()
        if info.get("type") == "file" and NAME.fullmatch(path[len(start) :].lstrip("/"))
    }
    if len(files) > MOST_FILES:
        raise SourceError(f"{root}: {len(files)} files; a checkpoint has at most {MOST_FILES}.")
    yield from files.items()


def _on_the_web(system: Any, root: str) -> Iterator[tuple[str, tuple[Any, str, int]]]:
    """A web server lists nothing that one could rely on: ask for every name that a checkpoint may have."""
    for name in _with_shards(system, root, WEB_NAMES):
        path = f"{root}/{quote(name)}"
        try:
            size = system.info(path).get("size")
        except FileNotFoundError as error:
            if not _is_absent(error):
                raise
            continue
        if size is None:
            raise SourceError(f"{path}: the server does not say how long it is.")
        yield name, (system, path, int(size))


def _is_absent(error: FileNotFoundError) -> bool:
    """Tell whether a server says that a file is not there: fsspec says so of every failure, and names its cause."""
    return error.__cause__ is None or getattr(error.__cause__, "status", 0) in ABSENT


def _with_shards(system: Any, root: str, names: tuple[str, ...]) -> Iterator[str]:
    """Return names, and after each index of shards the files that it names."""
    for name in names:
        yield name
        if name.endswith(".index.json"):
            yield from sorted(_shards(system, f"{root}/{name}"))


def _shards(system: Any, path: str) -> set[str]:
    """Return the files that an index names; none where it is absent, or malformed, which its reader says."""
    most = limits().json_bytes
    try:
        text = system.cat_file(path, start=0, end=most + 1)
    except FileNotFoundError as error:
        if not _is_absent(error):
            raise
        return set()
    if len(text) > most:
        raise SourceError(f"{path}: more than {most} bytes of JSON; {more('json_bytes')}")
    try:
        names = parse_json(text, path).get("weight_map")
    except SourceError:
        return set()
    shards = {str(shard) for shard in names.values()} if isinstance(names, dict) else set()
    if len(shards) > MOST_FILES:
        raise SourceError(
            f"{path}: names {len(shards)} files; a checkpoint has at most {MOST_FILES}."
        )
    return {shard for shard in shards if NAME.fullmatch(shard)}


def _hub_name(address: str) -> HubName | None:
    """Return the model that an address of the hub's pages names: `https://HOST/org/name[/tree/REVISION]`."""
    constants = None
    with suppress(ImportError):
        constants = import_module("huggingface_hub.constants")
    endpoint = str(getattr(constants, "ENDPOINT", "https://huggingface.co"))
    hosts = {urlsplit(endpoint).netloc, "huggingface.co"}
    parts = urlsplit(address)
    if parts.netloc not in hosts:
        return None
    names = parts.path.strip("/").split("/")
    revision = "@" + "/".join(names[3:]) if len(names) > 3 and names[2] in ("tree", "blob") else ""
    if len(names) < 2 or (len(names) > 2 and not revision):
        return None
    return hub_name(f"{names[0]}/{names[1]}{revision}")


def _on_the_hub(name: HubName) -> Iterator[tuple[str, tuple[Any, str, int]]]:
    """Return the files of one commit of a model; the hub lists them, and serves ranges of each."""
    addresses, headers = Hub(name).addresses()
    system = import_module("fsspec").filesystem("https", client_kwargs={"headers": headers})
    for file, (url, known_size) in addresses.items():
        if NAME.fullmatch(file):
            size = known_size if known_size is not None else system.info(url).get("size")
            if size is not None:
                yield file, (system, url, int(size))


class _translated:  # a context manager
    """Turns what fsspec and its stores raise into our own errors."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, CkptconvError):
            return
        if isinstance(error, FileNotFoundError):
            if not _is_absent(error) and isinstance(error.__cause__, Exception):
                self.__exit__(type(error.__cause__), error.__cause__, None)
            raise SourceError(f"{self._address}: nothing lies there.") from None
        reason = one_line(f"{type(error).__name__}: {error}")[:200]
        status = getattr(error, "status", 0)
        if isinstance(error, PermissionError) or status in (401, 403):
            raise SourceError(
                f"{self._address}: may not be read ({reason}).\n"
                "The store's own settings and variables give access, as for its command line."
            ) from None
        if isinstance(error, ValueError | TypeError | KeyError):
            raise SourceError(f"{self._address}: cannot be read ({reason})") from None
        raise FrameworkError(f"{self._address}: cannot be reached ({reason})") from None
