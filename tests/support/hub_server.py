"""A small hub on loopback: what huggingface_hub asks a real one, answered from memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<revision>.+))?")
FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")

POSTED = re.compile(
    r"/(?:api/models/)?(?P<repo>[^/]+/[^/.]+)(?:\.git/info/lfs/objects/batch|/(?:preupload|commit)/main)"
)
LARGE = (".h5", ".msgpack", ".safetensors", ".html")
"""What the hub keeps apart from git."""


def commit(name: str) -> str:
    """Return a commit hash for a name."""
    return hashlib.sha1(name.encode()).hexdigest()


def folder_files(folder: Path) -> dict[str, bytes]:
    """Return name -> bytes of the files in a directory."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@dataclass(slots=True)
class Hub:
    """The repositories of one small hub, how it misbehaves, and what it was asked."""

    repos: dict[str, dict[str, Mapping[str, bytes]]] = field(default_factory=dict)
    """`org/name` -> branch or tag -> file name -> bytes."""
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    """Repositories that exist for the bearer of the token `secret` alone."""
    cut: dict[str, int] = field(default_factory=dict)
    """File name -> bytes of it after which the connection is closed."""
    endless: bool = False
    """Whether the list of files never ends."""
    longer: dict[str, int] = field(default_factory=dict)
    """File name -> bytes that follow it beyond what was announced."""
    sha: str = ""
    """What the hub names as its commit, in place of a true one."""
    asked: list[str] = field(default_factory=list)
    """`METHOD path` of every request."""
    url: str = ""
    pushed: list[dict[str, Any]] = field(default_factory=list)
    """What every commit was: `header` as sent, `files` with their bytes, `request`: whether it is a pull request."""
    read_only: bool = False
    """Whether every commit is refused."""
    unanswered: int | None = None
    """HTTP status that a commit gets which was taken nevertheless; 0: the connection ends without an answer."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Large files that were uploaded, by their sha256."""

    def downloaded(self) -> list[str]:
        """Return the names of the files that were asked for, in order, each once."""
        result = [
            FILE.fullmatch(line.partition(" ")[2]) for line in self.asked if line.startswith("GET ")
        ]
        return list(dict.fromkeys(item["file"] for item in result if item))

    def revision(self, repo: str, revision: str) -> str | None:
        """Return the branch or tag that a branch, tag or commit means."""
        return next(
            (name for name in self.repos[repo] if revision in (name, commit(repo + name))), None
        )


class _Handler(BaseHTTPRequestHandler):
    """Answers from `hub`, which each server puts into a class of its own."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with content."""
        self._answer(True)

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self._answer(False)

    def do_PUT(self) -> None:
        """Take a large file."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.asked.append(f"PUT {self.path}")
        self.hub.blobs[hashlib.sha256(body).hexdigest()] = body
        self._send(200, b"", {}, True)

    def do_POST(self) -> None:
        """Take a commit, and what the library asks before it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path, _, query = self.path.partition("?")
        self.hub.asked.append(f"POST {path}")
        match = POSTED.fullmatch(path)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if match is None or match["repo"] not in self.hub.repos:
            return self._send(401, b"", {"X-Error-Code": "RepoNotFound"}, True)
        if self.hub.read_only and "/commit/" in path:
            return self._send(403, b"{}", {"Content-Type": "application/json"}, True)
        if "/preupload/" in path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if path.endswith("/objects/batch"):
            objects = [
                {
                    **item,
                    "actions": {
                        "upload": {"href": f"{self.hub.url}/blob/{item['oid']}", "header": {}}
                    },
                }
                for item in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        return self._commit(match["repo"], body, "create_pr=1" in query)

    def _commit(self, repo: str, body: bytes, request: bool) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        self.hub.pushed.append({"header": lines[0]["value"], "files": files, "request": request})
        if not request:
            self.hub.repos[repo]["main"] = {**self.hub.repos[repo]["main"], **files}
        if self.hub.unanswered == 0:
            self.close_connection = True
            return None
        if self.hub.unanswered:
            return self._send(self.hub.unanswered, b"", {}, True)
        answer = {
            "commitUrl": f"{self.hub.url}/{repo}/commit/{commit('new')}",
            "commitOid": commit("new"),
            "commitMessage": "",
            "commitDescription": "",
            "hookOutput": "",
            "success": True,
        }
        if request:
            answer["pullRequestUrl"] = f"{self.hub.url}/{repo}/discussions/1"
        return self._json(answer)

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._send(200, body, {"Content-Type": "application/json"}, True)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0].replace("%2F", "/")
        self.hub.asked.append(f"{self.command} {path}")
        match = API.fullmatch(path) or FILE.fullmatch(path)
        repo = match["repo"] if match else ""
        hidden = repo in self.hub.private and self.headers.get("Authorization") != "Bearer secret"
        if match is None or repo not in self.hub.repos or hidden:
            return self._send(401, b"", {"X-Error-Code": "RepoNotFound"}, with_body)
        revision = self.hub.revision(repo, match["revision"] or "main")
        if revision is None:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, with_body)
        sha, files = commit(repo + revision), self.hub.repos[repo][revision]
        if path.startswith("/api/"):
            if self.hub.endless and with_body:
                return self._endless()
            siblings = [{"rfilename": name} for name in files]
            body = json.dumps(
                {
                    "id": repo,
                    "modelId": repo,
                    "sha": self.hub.sha or sha,
                    "siblings": siblings,
                    "tags": [],
                }
            ).encode()
            return self._send(200, body, {"Content-Type": "application/json"}, with_body)
        if repo in self.hub.gated:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"}, with_body)
        if match["file"] not in files:
            return self._send(
                404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha}, with_body
            )
        return self._file(match["file"], files[match["file"]], sha, with_body)

    def _endless(self) -> None:
        """Send a list of files until the other side hangs up."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(b'{"siblings": [')
            while True:
                self.wfile.write(b'{"rfilename": "a"},' * 50_000)
        except OSError:
            return

    def _file(self, name: str, data: bytes, sha: str, with_body: bool) -> None:
        """Send a file, or the rest of it that a Range asks for."""
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = int(asked[1]) if asked else 0, len(data)
        if asked and asked[2]:
            stop = min(int(asked[2]) + 1, stop)
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": sha,
            "Accept-Ranges": "bytes",
        }
        if asked:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        if with_body and name in self.hub.longer:  # without a length, so that the client reads on
            self.send_response(200)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.close_connection = True
            with suppress(OSError):
                self.wfile.write(data)
                for _ in range(0, self.hub.longer[name], 1 << 16):
                    self.wfile.write(bytes(1 << 16))
            return
        status = 206 if asked else 200
        self._send(status, data[start:stop], headers, with_body, self.hub.cut.get(name))

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        with_body: bool,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body[:cut])
            self.close_connection = (
                cut is not None
            )  # not after a HEAD: the client may be about to use the connection


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a free port of loopback until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
