"""Who stands between load and sink: nobody, HAProxy, mgate with one handler or another. `PEERS` has them by name."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, create_connection, socket
from typing import IO

from programs import HERE

__all__ = ["PEERS", "HAProxy", "Mgate", "Peer", "PeerError", "Running", "Tls", "mgate_variables"]

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

MGATE_TLS_TOML = """\

[listener.tls]
cert_file = "{tls.certificate}"
key_file = "{tls.certificate}.key"
client_ca_file = "{client_ca_file}"
"""


@dataclass(frozen=True, slots=True)
class Tls:
    """What a peer ends TLS with: files in PEM, the key in ``<certificate>.key``.

    Attributes:
        certificate: with its chain.
        authorities: who signed the certificates of devices.
        mutual: whether devices must have one.
    """

    certificate: Path
    authorities: Path
    mutual: bool


class PeerError(Exception):
    """A peer cannot be started; the text says why."""


class Peer:
    """No gateway: load speaks to the sink. What a relay or a gateway costs is seen against this."""

    title = "no gateway"

    def missing(self) -> str:
        """Why this peer cannot run here, or "" if it can."""
        return ""

    def openssl(self) -> str:
        """The version of OpenSSL that it runs with, or "" for none."""
        return ""

    def start(self, folder: Path, target: int, cores: Sequence[int], tls: Tls | None) -> Running:
        """Start it in front of port `target`, on `cores` only, with an empty `folder` of its own; it ends TLS, if
        there is any.

        Raises: PeerError, if it does not listen in time.
        """
        if tls is not None:
            raise PeerError("the sink speaks no TLS")
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

    def openssl(self) -> str:
        return first_match(r"Running on OpenSSL version : (OpenSSL \S+)", [str(self._program()), "-vv"], {})

    def start(self, folder: Path, target: int, cores: Sequence[int], tls: Tls | None) -> Running:
        port = free_port()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        most = 20_000 if files == resource.RLIM_INFINITY else min(20_000, (files - 100) // 2)
        variables = {"BENCH_LISTEN": str(port), "BENCH_TARGET": str(target), "BENCH_MAXCONN": str(most)}
        if tls is not None:
            variables["BENCH_CERTIFICATE"] = str(tls.certificate)
            variables["BENCH_CA"] = str(tls.authorities)
            variables["BENCH_VERIFY"] = "required" if tls.mutual else "none"
        file = HERE / ("haproxy.cfg" if tls is None else "haproxy-tls.cfg")
        return launch([str(self._program()), "-db", "-f", str(file)], variables, folder, port, cores)


class Mgate(Peer):
    """This checkout, started as a user would, with one handler of benchmarks/handlers."""

    def __init__(self, handler: str) -> None:
        self.handler = handler
        self.title = f"mgate, handler {handler}"

    def openssl(self) -> str:
        program = "from OpenSSL import SSL; print(SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode())"
        return first_match(r"(OpenSSL \S+)", [sys.executable, "-c", program], mgate_variables())

    def start(self, folder: Path, target: int, cores: Sequence[int], tls: Tls | None) -> Running:
        port = free_port()
        # A copy: mgate loads no plugin from a folder that others may write to, and a checkout often is one.
        (folder / "handlers").mkdir(mode=0o700)
        shutil.copy(HERE / "handlers" / f"{self.handler}.py", folder / "handlers")
        text = MGATE_TOML.format(port=port, target=target, handler=self.handler)
        if tls is not None:
            text += MGATE_TLS_TOML.format(tls=tls, client_ca_file=tls.authorities if tls.mutual else "")
        (folder / "mgate.toml").write_text(text)
        os.chmod(folder / "handlers" / f"{self.handler}.py", 0o600)
        command = [sys.executable, "-m", "mgate", "run", "--config", str(folder / "mgate.toml")]
        return launch(command, mgate_variables(), folder, port, cores)


def mgate_variables() -> dict[str, str]:
    """What a Python process needs to import the mgate of this checkout."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))}


def first_match(pattern: str, command: list[str], variables: dict[str, str]) -> str:
    """What the first group of `pattern` matches in the output of `command`; "" if it does not."""
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
    found = re.search(pattern, done.stdout)
    return found.group(1) if found else ""


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
