"""A proxy on loopback that passes bytes on until it has passed so many, and then cuts the connection or stalls."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread


class CuttingProxy:
    """Passes connections on to a server."""

    def __init__(self, server: tuple[str, int], most: int, *, stalls: bool) -> None:
        """Take the most bytes of an answer that are passed on, and whether the rest is waited for in vain."""
        self._server, self._most, self._stalls, self._ended = server, most, stalls, Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        """Accept no more, and let go of what stalls."""
        self._ended.set()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                Thread(target=self._ask, args=(client, server), daemon=True).start()
                Thread(target=self._answer, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        room = self._most
        with suppress(OSError), client, server:
            while data := server.recv(1 << 16):
                client.sendall(data[:room])
                room -= len(data)
                if room <= 0:
                    if self._stalls:
                        self._ended.wait()
                    client.shutdown(socket.SHUT_RDWR)
                    return


@contextmanager
def cutting(port: int, most: int, *, stalls: bool) -> Iterator[int]:
    """Give the port of a proxy to a port of loopback."""
    proxy = CuttingProxy(("127.0.0.1", port), most, stalls=stalls)
    try:
        yield proxy.port
    finally:
        proxy.end()
