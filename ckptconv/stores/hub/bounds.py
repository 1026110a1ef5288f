"""What the hub may answer: a list of files is small, a file is no longer than announced, and bytes keep coming.

huggingface_hub reads an answer to its end, however long that takes; until 0.36 through requests, from 1 on through
httpx. Both let a caller put the transport in, and that is where bytes and time are counted here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from ckptconv.base.files import limits, more

GRACE_SECONDS = 60.0
"""A slow start is allowed for so long."""
MIN_RATE = 1000.0
"""After that, the mean since the start must not be lower [bytes a second]."""
BLOCK_BYTES = 1 << 16
"""Taken from the network at a time, so that the clock is looked at even where little comes."""
LISTING = "/api/"
"""How the path of a request for facts begins, not for a file."""


class BoundExceeded(OSError):
    """An answer that is too long or too slow; `strerror` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, reason)


class Meter:
    """Counts one answer."""

    def __init__(
        self, most: int | None, why: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the most bytes that may come, None for any number, and what a refusal says of more."""
        self._most, self._why, self._clock = most, why, clock
        self._start = clock()
        self._count = 0

    def metered(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass blocks on. Raises BoundExceeded."""
        for block in blocks:
            self._count += len(block)
            if self._most is not None and self._count > self._most:
                raise BoundExceeded(self._why)
            seconds = self._clock() - self._start
            if seconds > GRACE_SECONDS and self._count < MIN_RATE * seconds:
                raise BoundExceeded(
                    f"{self._count} bytes came in {seconds:.0f} s, which is too slow"
                )
            yield block


class Bounds:
    """The sizes that were announced, and a meter for each answer."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def meter(self, method: str, url: str, headers: Any) -> Meter:
        """Return the meter of an answer; that of a HEAD tells how long a file is."""
        path = urlsplit(url).path
        if path.startswith(LISTING):
            most = limits().json_bytes
            return Meter(most, f"an answer of more than {most} bytes; {more('json_bytes')}")
        if method == "HEAD":
            size = headers.get("x-linked-size") or headers.get("content-length")
            if size and str(size).isdecimal():
                self._sizes[path] = int(size)
        most_of_file = self._sizes.get(path)
        return Meter(most_of_file, f"more bytes than the {most_of_file} that were announced")


@contextmanager
def bounded() -> Iterator[None]:
    """Bound what huggingface_hub reads within the block."""
    http = import_module("huggingface_hub.utils._http")
    if hasattr(http, "configure_http_backend"):
        before = http._GLOBAL_BACKEND_FACTORY
        install, factory = http.configure_http_backend, _requests_factory(before, Bounds())
    else:
        before = http._GLOBAL_CLIENT_FACTORY
        install, factory = http.set_client_factory, _httpx_factory(before, Bounds())
    constants: Any = import_module("huggingface_hub.constants")
    xet = getattr(constants, "HF_HUB_DISABLE_XET", None)
    constants.HF_HUB_DISABLE_XET = (
        True  # hf_xet fetches by itself, past every transport; the plain way serves as well
    )
    install(factory)
    try:
        yield
    finally:
        install(before)
        constants.HF_HUB_DISABLE_XET = xet


def _requests_factory(before: Callable[[], Any], bounds: Bounds) -> Callable[[], Any]:
    """Return what makes a session of requests whose answers are counted."""

    def session() -> Any:
        opened = before()
        for adapter in opened.adapters.values():
            adapter.send = _counting_send(adapter.send, bounds)
        return opened

    return session


def _counting_send(send: Callable[..., Any], bounds: Bounds) -> Callable[..., Any]:
    def counted(request: Any, *args: Any, **options: Any) -> Any:
        response = send(request, *args, **options)
        raw, meter = response.raw, bounds.meter(request.method, request.url, response.headers)

        def stream(amt: int = BLOCK_BYTES, decode_content: bool | None = None) -> Iterator[bytes]:
            def block() -> bytes:
                data: bytes = raw.read1(min(amt, BLOCK_BYTES), decode_content=decode_content)
                return data

            return meter.metered(iter(block, b""))

        if hasattr(raw, "read1"):
            raw.stream = stream
        return response

    return counted


def _httpx_factory(before: Callable[[], Any], bounds: Bounds) -> Callable[[], Any]:
    """Return what makes a client of httpx whose answers are counted."""

    def client() -> Any:
        opened = before()
        transports = [opened._transport, *filter(None, opened._mounts.values())]
        for transport in transports:
            transport.handle_request = _counting_handler(transport.handle_request, bounds)
        return opened

    return client


def _counting_handler(handle: Callable[[Any], Any], bounds: Bounds) -> Callable[[Any], Any]:
    def counted(request: Any) -> Any:
        response = handle(request)
        meter = bounds.meter(request.method, str(request.url), response.headers)
        inner = response.stream
        kind = next(base for base in type(inner).__mro__ if base.__name__ == "SyncByteStream")

        class Counted(kind):  # type: ignore[misc, valid-type]
            """The answer's bytes, counted."""

            def __iter__(self) -> Iterator[bytes]:
                return meter.metered(inner)

            def close(self) -> None:
                inner.close()

        response.stream = Counted()
        return response

    return counted
