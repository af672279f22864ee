"""Debian's HAProxy in front of the gateway or behind it; TLS passes through."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

from tests.processes import Running
from tests.real.needed import needed

__all__ = ["Haproxy"]

CONFIGURATION = """
global
    maxconn 500
    log stdout format raw local0
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen one
    bind fd@{handle} {bind}
    log-format "from=%ci:%cp"
    server there 127.0.0.1:{target} {server}
"""


class Haproxy:
    """A proxy on a free port of the loopback interface.

    Args:
        test: a test, or a `tests.real.gateway.ForClass`; the proxy ends with it.
        target: the port that it leads to.
        bind: more words of its bind line, as ``accept-proxy``. server: of its server line, as ``send-proxy-v2``.

    Attributes:
        running: its lines. When a connection is over, one says ``from=ADDRESS:PORT``, which is who has connected.
    """

    def __init__(self, test: Any, target: int, *, bind: str = "", server: str = "") -> None:
        program = needed("haproxy", "apt install haproxy")
        folder = tempfile.TemporaryDirectory(prefix="mgate-haproxy-")
        test.addCleanup(folder.cleanup)
        # It inherits what already listens: nobody can take the port away, and nobody has to wait for it.
        with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
            self.port = int(listening.getsockname()[1])
            file = Path(folder.name, "haproxy.cfg")
            file.write_text(
                CONFIGURATION.format(handle=listening.fileno(), bind=bind, target=target, server=server)
            )
            command = [program, "-db", "-f", str(file)]
            self.running = Running(test, command, pass_fds=[listening.fileno()])
