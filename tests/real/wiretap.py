"""A TCP relay that writes down what the gateway says to its target."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

__all__ = ["Wiretap", "records"]

APPLICATION_DATA = 23
CONTENT_TYPES = (20, 21, 22, APPLICATION_DATA)


class Wiretap:
    """Listens on `port`, and hands every connection on.

    Args:
        test: it ends with it.
        target: a port of the loopback interface.

    Attributes:
        said: what was said on each connection so far, towards the target.
    """

    def __init__(self, test: Any, target: int) -> None:
        self.said: list[bytearray] = []
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.port = int(self._listening.getsockname()[1])
        test.addCleanup(self._close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._ends += [near, far]
            said = bytearray()
            self.said.append(said)
            threading.Thread(target=_pump, args=(near, far, said), daemon=True).start()
            threading.Thread(target=_pump, args=(far, near, bytearray()), daemon=True).start()

    def _close(self) -> None:
        for end in (self._listening, *self._ends):
            with suppress(OSError):  # it is over already
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _pump(source: socket.socket, sink: socket.socket, said: bytearray) -> None:
    with suppress(OSError):  # either end may be gone at any time
        while data := source.recv(65536):
            said += data
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def records(said: bytes | bytearray) -> list[int]:
    """The content types of the TLS records that `said` consists of, the last of which may not be whole yet.

    Raises:
        AssertionError: it is something else than TLS.
    """
    types: list[int] = []
    at = 0
    while at < len(said):
        head = said[at : at + 5]
        assert head[0] in CONTENT_TYPES and head[1:2] in (b"\x03", b""), f"no TLS at {at}: {said[at:at + 64]!r}"
        types.append(head[0])
        at += 5 + int.from_bytes(head[3:5], "big")
    return types
