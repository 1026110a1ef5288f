"""A web server on loopback that serves a directory by ranges, and counts the bytes of its answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import unquote


@dataclass(slots=True)
class Web:
    """What is served, how it misbehaves, and what was sent."""

    folder: Path
    sent: int = 0
    """Bytes of files."""
    asked: list[str] = field(default_factory=list)
    forbidden: bool = False
    broken: str = ""
    """File that the server cannot give just now."""
    ranges: bool = True
    changes: bool = False
    """Whether every answer says that the file is another one by now."""
    cuts: bool = False
    """Whether the connection ends in the midst of every range."""
    stalls: bool = False
    """Whether nothing comes after the headers of a range."""
    ended: Event = field(default_factory=Event)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with content."""
        self._answer(True)

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self._answer(False)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, with_body: bool) -> None:
        web, path = self.web, self.web.folder / unquote(self.path).lstrip("/")
        web.asked.append(f"{self.command} {self.path}")
        if path.name == web.broken:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if web.forbidden or not path.is_file():
            self.send_response(403 if web.forbidden else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size = path.stat().st_size
        asked = re.match(r"bytes=(\d+)-(\d+)?", self.headers.get("Range", "") if web.ranges else "")
        start, stop = 0, size
        if asked:
            start, stop = int(asked[1]), min(int(asked[2] or size - 1) + 1, size)
        self.send_response(206 if asked else 200)
        tag = len(web.asked) if web.changes else path.stat().st_mtime_ns
        self.send_header("ETag", f'"{tag}"')
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if with_body:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(stop - start)
            if asked and web.stalls:
                web.ended.wait()
                return
            if asked and web.cuts:
                data = data[: len(data) // 2]
                self.close_connection = True
            web.sent += len(data)
            self.wfile.write(data)


@contextmanager
def served(folder: Path) -> Iterator[Web]:
    """Serve a directory on a free port of loopback until the block ends."""
    web = Web(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        web.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
