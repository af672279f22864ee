"""Who stands between load and sink: nobody, HAProxy, mgate with one handler or another. `PEERS` has them by name."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, create_connection, socket
from typing import IO

from programs import HERE

__all__ = ["PEERS", "HAProxy", "Mgate", "Peer", "PeerError"]

START_SECONDS = 20.0

# `handlers` are modules of the folder that plugin_dirs names. The limits on connections are raised because a thousand
# devices at one address are an attack elsewhere and the generator here; all others stay as they are for every user.
MGATE_TOML = """\
plugin_dirs = ["handlers"]

[limits]
max_connections_per_address = 1000000
max_connection_rate = 1000000

[[listener]]
name = "mqtt"
protocol = "mqtt"
listen = "127.0.0.1:{port}"
target = "mqtt://127.0.0.1:{target}"
handlers = ["{handler}"]
"""


class PeerError(Exception):
    """A peer cannot be started; the text says why."""


class Peer:
    """No gateway: load speaks to the sink. What a relay or a gateway costs is seen against this."""

    title = "no gateway"

    def missing(self) -> str:
        """Why this peer cannot run here, or "" if it can."""
        return ""

    def start(self, folder: Path, target: int, cores: Sequence[int]) -> Running:
        """Start it in front of port `target`, on `cores` only, with an empty `folder` of its own.

        Raises: PeerError, if it does not listen in time.
        """
        return Running(None, target)


class Running:
    """A peer that listens on `port`; `process` is None for no gateway."""

    def __init__(self, process: subprocess.Popen[bytes] | None, port: int, log: IO[bytes] | None = None) -> None:
        self.process = process
        self.port = port
        self._log = log

    def stop(self) -> None:
        """End the process, at once if it does not go by itself."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._log is not None:
            self._log.close()


class HAProxy(Peer):
    """A relay which looks at nothing; the floor for everything that moves bytes from one socket to another."""

    title = "HAProxy, TCP mode"

    def missing(self) -> str:
        return "" if self._program() else "there is no haproxy (Debian: apt install haproxy; or name it in HAPROXY)"

    def _program(self) -> str | None:
        asked = os.environ.get("HAPROXY", "haproxy")
        return shutil.which(asked, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

    def start(self, folder: Path, target: int, cores: Sequence[int]) -> Running:
        port = free_port()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        most = 20_000 if files == resource.RLIM_INFINITY else min(20_000, (files - 100) // 2)
        variables = {"BENCH_LISTEN": str(port), "BENCH_TARGET": str(target), "BENCH_MAXCONN": str(most)}
        return launch([str(self._program()), "-db", "-f", str(HERE / "haproxy.cfg")], variables, folder, port, cores)


class Mgate(Peer):
    """This checkout, started as a user would, with one handler of benchmarks/handlers."""

    def __init__(self, handler: str) -> None:
        self.handler = handler
        self.title = f"mgate, handler {handler}"

    def start(self, folder: Path, target: int, cores: Sequence[int]) -> Running:
        port = free_port()
        # A copy: mgate loads no plugin from a folder that others may write to, and a checkout often is one.
        (folder / "handlers").mkdir(mode=0o700)
        shutil.copy(HERE / "handlers" / f"{self.handler}.py", folder / "handlers")
        (folder / "mgate.toml").write_text(MGATE_TOML.format(port=port, target=target, handler=self.handler))
        os.chmod(folder / "handlers" / f"{self.handler}.py", 0o600)
        path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "mgate", "run", "--config", str(folder / "mgate.toml")]
        return launch(command, {"PYTHONPATH": path}, folder, port, cores)


def launch(
    command: list[str], variables: dict[str, str], folder: Path, port: int, cores: Sequence[int]
) -> Running:
    """Start `command` and wait until it accepts connections on `port`.

    Raises: PeerError, with the end of what it wrote.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MGATE_")} | variables
    log = open(folder / "log", "wb")  # noqa: SIM115, it stays open as long as the process
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )  # fmt: skip
    running = Running(process, port, log)
    patience = time.monotonic() + START_SECONDS
    while time.monotonic() < patience and process.poll() is None:
        with suppress(OSError), create_connection(("127.0.0.1", port), 1):
            return running
        time.sleep(0.05)
    running.stop()
    tail = (folder / "log").read_text(errors="replace").strip()[-1500:]
    raise PeerError(f"{Path(command[0]).name} does not listen on 127.0.0.1:{port}; it wrote:\n{tail or '(nothing)'}")


def free_port() -> int:
    """A port of the loopback that nobody has bound now."""
    with socket(AF_INET, SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PEERS: dict[str, Peer] = {
    "direct": Peer(),
    "haproxy": HAProxy(),
    "mgate-agree": Mgate("agree"),
    "mgate-unwatched": Mgate("unwatched"),
}
