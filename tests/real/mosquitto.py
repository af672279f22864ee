"""Debian's mosquitto as the broker behind the gateway, and its command line clients."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.processes import Running, free_port
from tests.real.certificates import Certificates
from tests.real.needed import needed

__all__ = ["Mosquitto", "command"]

PATIENCE = 30
ATTEMPTS = 3
"""Somebody else may take a free port before the broker does."""


class Mosquitto:
    """A broker without persistence, on a free port of the loopback interface.

    Args:
        test: a test, or a test class behind `tests.real.gateway.ForClass`; the broker ends with it.
        settings: lines of mosquitto.conf beside the listener.
        certificates: listen with TLS, and demand a certificate of whoever connects.
        name: which of these certificates is the broker's.
    """

    def __init__(
        self, test: Any, *settings: str, certificates: Certificates | None = None, name: str = "server"
    ) -> None:
        if certificates is not None:
            settings = (*settings, *_tls(certificates, name))
        program = needed("mosquitto", "apt install mosquitto")
        folder = tempfile.TemporaryDirectory(prefix="mgate-broker-")
        test.addCleanup(folder.cleanup)
        for attempt in range(ATTEMPTS):
            self.port = free_port()
            file = Path(folder.name, "mosquitto.conf")
            lines = [f"listener {self.port} 127.0.0.1", "persistence false", "set_tcp_nodelay true", *settings]
            if not any(line.startswith("allow_anonymous ") for line in settings):
                lines.append("allow_anonymous true")
            file.write_text("\n".join(lines) + "\n")
            # Started by root it becomes another user, who has to find the files that the settings name.
            os.chmod(folder.name, 0o755)
            self.running = Running(test, [program, "-c", str(file)])
            try:
                # To connect is not enough: whoever has taken the port answers too.
                self.running.expect(" running")
                socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
                return
            except AssertionError:
                if attempt + 1 == ATTEMPTS or "in use" not in "".join(self.running.lines):
                    raise


def _tls(certificates: Certificates, name: str) -> list[str]:
    return [
        f"cafile {certificates.root}",
        f"certfile {certificates.file(name, 'pem')}",
        f"keyfile {certificates.file(name, 'key')}",
        "require_certificate true",
        "user root",  # if it was started by root: only who has made the key may read it
    ]


def command(name: str, *arguments: str, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Run mosquitto_pub, mosquitto_sub or mosquitto_rr to its end."""
    program = needed(name, "apt install mosquitto-clients")
    return subprocess.run(
        [program, "-h", "127.0.0.1", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
