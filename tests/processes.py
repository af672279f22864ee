"""Real processes of `twistd mgate` and of the `mgate` command, for tests of what only they show: exit codes, the last
lines of standard error, signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, Queue
from typing import Any

__all__ = ["DAEMON", "MGATE", "PATIENCE", "TWISTD", "Running", "busy_port", "free_port", "free_ports", "run"]

ROOT = str(Path(__file__).resolve().parent.parent)
MGATE = [sys.executable, "-m", "mgate"]
DAEMON = [sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"]
TWISTD = [*DAEMON, "-n", "--pidfile=", "mgate"]
PATIENCE = 60


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback interface that nobody listens on."""
    with ExitStack() as held:  # all at once: a port that is given back may be the next that the kernel offers
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def busy_port(test: Any) -> int:
    """A port that somebody listens on until the test ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    test.addCleanup(listening.close)
    return int(listening.getsockname()[1])


def _environment(extra: dict[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MGATE_", "MPROXY_"))}
    path = os.pathsep.join(filter(None, (ROOT, kept.get("PYTHONPATH", ""))))
    return kept | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | (extra or {})


def _interruptible() -> None:
    """Called in each child: one that a script starts in the background would inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(
    command: list[str], *, directory: str | None = None, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command,
        cwd=directory,
        env=_environment(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        preexec_fn=_interruptible,
    )


class Running:
    """A process that serves until it is told to stop; its lines are read as they come."""

    def __init__(self, test: Any, command: list[str], *, environ: dict[str, str] | None = None, **options: Any) -> None:
        self.process = subprocess.Popen(
            command,
            env=_environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_interruptible,
            **options,
        )
        self.lines: list[str] = []
        self._queue: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        test.addCleanup(self._end)

    def expect(self, text: str) -> str:
        """Wait for a line that holds `text`, and return it."""
        while True:
            try:
                line = self._queue.get(timeout=PATIENCE)
            except Empty:
                raise AssertionError(f"no line with {text!r} in {self.lines}") from None
            self.lines.append(line)
            if text in line:
                return line
            if not line:
                raise AssertionError(f"it ended without {text!r}: {''.join(self.lines)}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code, below 0 for a signal."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put("")

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
