"""Checkpoints behind an address (`s3://`, `gs://`, `az://`, `https://`, ...), read by ranges through fsspec.

An address becomes a directory of sparse files, one for each file there; what is read of them is fetched first, in
blocks, and twice as many while reading goes on in order. So `inspect` of a large pair fetches its headers alone.
"""

from __future__ import annotations

import atexit
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib import import_module
from logging import NullHandler, getLogger
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
MOST_FOLDERS = 64
"""Listed below the one that an address names; one with more holds no checkpoint of its own."""
CONNECT_SECONDS, STALL_SECONDS = 20.0, 60.0
"""What a server may take to be there, and to send the next bytes; the libraries would wait for minutes, or for ever."""
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
DENIED = (
    *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"),
    *("DefaultCredentialsError", "RefreshError", "CredentialUnavailableError"),
    "ClientAuthenticationError",
)
"""What the libraries of S3, Google and Azure raise where they have no credentials, or useless ones."""
MISSING = ("NoSuchBucket", "NoSuchKey")
"""What S3's library raises where s3fs does not translate it."""
LOGGERS = ("fsspec", "s3fs", "gcsfs", "adlfs", "azure", "botocore", "aiobotocore")
"""Whose warnings, and tracebacks, would reach standard error beside our own sentence."""
ABSENT = (403, 404, 410)
"""What a server answers for what is not there; S3 says 403 to whoever may not list."""
_MIRRORS: dict[str, tuple[Path, list[RemoteFile]]] = {}


def mirror(address: str) -> Path:
    """Return the directory here that stands for what lies at an address, until this process ends or it changed there.

    Raises: SourceError: nothing lies there, or not for this user. FrameworkError: fsspec, or what it needs for this
        kind of address, is missing; or nobody answers.
    """
    for name in LOGGERS:
        logger = getLogger(name)
        if not logger.handlers:  # a user's own handlers, also of the root, are asked as before
            logger.addHandler(NullHandler())
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
    keys += ["LastModified", "Last-Modified", "last_modified", "updated", "mtime", "created"]
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
        system, root = fsspec.core.url_to_fs(address, **_timeouts(urlsplit(address).scheme.lower()))
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
    entries = system.ls(start, detail=True)
    folders = [info["name"] for info in entries if info.get("type") == "directory"]
    if len(folders) <= MOST_FOLDERS:
        entries += [info for folder in folders for info in system.ls(folder, detail=True)]
    files = {
        name: (system, info["name"], int(info["size"]))
        for info in entries
        if info.get("type") == "file" and NAME.fullmatch(name := _below(info["name"], start))
    }
    if len(files) > MOST_FILES:
        raise SourceError(f"{root}: {len(files)} files; a checkpoint has at most {MOST_FILES}.")
    yield from files.items()


def _below(path: str, start: str) -> str:
    """Return a path without the folder in which it lies; some stores begin it with a slash, others do not."""
    return path.strip("/").removeprefix(start.strip("/")).lstrip("/")


def _timeouts(scheme: str) -> dict[str, Any]:
    """Return the arguments of a store that bound how long it waits; the user's settings for fsspec come first."""
    kind = EXTRAS.get(scheme)
    chosen: dict[str, Any] = {}
    if scheme in WEB:
        chosen = {"client_kwargs": {"timeout": _patience()}}
    elif kind == "s3":
        waits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": STALL_SECONDS}
        chosen = {"config_kwargs": {**waits, "retries": {"max_attempts": 1}}}  # s3fs tries again
    elif kind == "gs":
        chosen = {"requests_timeout": _patience()}
    elif kind == "az":
        chosen = {"connection_timeout": int(CONNECT_SECONDS), "read_timeout": int(STALL_SECONDS)}
    settings = import_module("fsspec.config").conf.get(scheme, {})
    return {
        name: {**value, **settings.get(name, {})} if isinstance(value, dict) else value
        for name, value in chosen.items()
        if isinstance(value, dict) or name not in settings
    }


def _patience() -> Any:
    """Return how long aiohttp waits: for the next bytes, not for all of them."""
    timeout = import_module("aiohttp").ClientTimeout
    return timeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS)


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
    system = import_module("fsspec").filesystem(
        "https", client_kwargs={"headers": headers, "timeout": _patience()}
    )
    for file, (url, known_size) in addresses.items():
        if NAME.fullmatch(file):
            size = known_size if known_size is not None else system.info(url).get("size")
            if size is not None:
                yield file, (system, url, int(size))


@contextmanager
def _translated(address: str) -> Iterator[None]:
    """Turn what fsspec and its stores raise into our own errors."""
    try:
        yield
    except CkptconvError:
        raise
    except Exception as error:
        raise _own_error(address, error) from None


def _own_error(address: str, error: Exception) -> CkptconvError:
    """Return the error that says what a library raised in one sentence, and what to do."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, FileNotFoundError) and not _is_absent(error):
        cause = error.__cause__
        if isinstance(cause, Exception):
            return _own_error(address, cause)
    if isinstance(error, FileNotFoundError) or name in MISSING:
        return SourceError(f"{address}: nothing lies there.")
    reason = one_line(f"{name}: {text}" if text else name)[:200]
    denied = isinstance(error, PermissionError) or getattr(error, "status", 0) in (401, 403)
    if denied or name in DENIED:
        return SourceError(
            f"{address}: may not be read ({reason}).\n"
            "The store's own settings and variables give access, as for its command line."
        )
    if isinstance(error, ValueError | TypeError | KeyError):
        return SourceError(f"{address}: cannot be read ({reason})")
    return FrameworkError(
        f"{address}: cannot be reached ({reason}).\nCheck the network, and run the command again."
    )
