"""`mgate demo` in a process of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from mgate.demo.narration import HEADINGS

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATIENCE = 30
"""Seconds after which a demo that says nothing is ended."""


class Demo:
    """A running `mgate demo`.

    Args:
        arguments: of the command.
        environment: more than `ENVIRONMENT`.

    Attributes:
        banner: what it printed before the first decision, line by line; a command that goes on in the next is one.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str] = ENVIRONMENT) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mgate", "demo", *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**ENVIRONMENT, **environment}, preexec_fn=_hear_interrupts,
        )  # fmt: skip
        self._deadline = threading.Timer(PATIENCE, self.process.kill)
        self._deadline.start()
        self.banner = "\n".join(self.read_to(HEADINGS)).replace(" \\\n", " ").split("\n")

    def read_to(self, text: str) -> list[str]:
        """The lines that it prints up to the one that holds `text`."""
        lines: list[str] = []
        assert self.process.stdout is not None
        while not lines or text not in lines[-1]:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(f"no {text!r} in {lines}, {self.process.communicate()}")
            lines.append(line.rstrip("\n"))
        return lines

    def commands(self, program: str) -> list[list[str]]:
        """What it says to type, in order, for Mosquitto's clients or for ours."""
        found = [shlex.split(line) for line in self.banner if line.startswith("    ") and " -p " in line]
        foreign = program == "mosquitto"
        return [words for words in found if os.path.basename(words[0]).startswith("mosquitto") == foreign]

    def interrupt(self, by: signal.Signals = signal.SIGINT) -> tuple[str, str, int]:
        """Press Ctrl-C, or end it by another signal; (rest of the output, errors, exit code)."""
        self.process.send_signal(by)
        out, err = self.process.communicate()
        self.close()
        return out, err, self.process.returncode

    def close(self) -> None:
        """It has ended."""
        self._deadline.cancel()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def _hear_interrupts() -> None:
    """A process started in the background of a shell ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
