"""The gateway as operators run it: `mgate run --config FILE`, with handlers dropped into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.processes import MGATE, Running, free_ports

__all__ = ["HANDLERS", "ForClass", "Gateway", "Serve"]

HANDLERS = Path(__file__).parent / "handlers"
"""Plugin files for the tests; each test class names those it wants."""

LOG = {"lines_per_second": 10_000}
"""Tests wait for the line of each refusal."""

ATTEMPTS = 3
"""Somebody else may take a free port before the gateway does."""


class ForClass:
    """Lets what lives as long as a test class be made in setUpClass."""

    def __init__(self, test_class: Any) -> None:
        self.addCleanup: Callable[..., Any] = test_class.addClassCleanup


class Serve(NamedTuple):
    """One listener: who judges, and keys of its table in the file; a table, as of TLS, is a dict.

    Args:
        target: a port of the loopback interface, or an address as the file has it; the first argument of `Gateway` if
            None.
    """

    handlers: Sequence[str] = ()
    target: int | str | None = None
    keys: dict[str, Any] = {}  # noqa: RUF012


class Gateway:
    """A gateway process with one listener on a free port for each `Serve`.

    Args:
        test: a test, or a `ForClass`; the process ends with it.
        target: the port of the broker, or its address.
        listeners: by name; a single one without handlers if left out.

    Attributes:
        ports: the port of each listener by name. port: that of the first one.
    """

    def __init__(self, test: Any, target: int | str, **listeners: Serve) -> None:
        listeners = listeners or {"plain": Serve()}
        folder = tempfile.TemporaryDirectory(prefix="mgate-real-")
        test.addCleanup(folder.cleanup)
        plugins = Path(folder.name, "handlers")
        # Copied, because a checkout may be writable for the group, and then its handlers are rightly refused.
        plugins.mkdir(0o700)
        for file in HANDLERS.glob("*.py"):
            shutil.copy(file, plugins)
            (plugins / file.name).chmod(0o600)
        for attempt in range(ATTEMPTS):
            self.ports = dict(zip(listeners, free_ports(len(listeners)), strict=True))
            lines = [f"plugin_dirs = {_toml([str(plugins)])}", f"log = {_toml(LOG)}"]
            for name, serve in listeners.items():
                lines += [
                    "[[listener]]",
                    f"name = {_toml(name)}",
                    f'listen = "127.0.0.1:{self.ports[name]}"',
                    f"target = {_toml(_address(serve.target or target))}",
                    f"handlers = {_toml(list(serve.handlers))}",
                    *(f"{key} = {_toml(value)}" for key, value in serve.keys.items()),
                ]
            file = Path(folder.name, "mgate.toml")
            file.write_text("\n".join(lines) + "\n")
            self.running = Running(test, [*MGATE, "run", "--config", str(file)])
            try:
                self.running.expect("ready:")
                break
            except AssertionError:
                if attempt + 1 == ATTEMPTS or "cannot listen" not in "".join(self.running.lines):
                    raise
        self.port = next(iter(self.ports.values()))


def _address(target: int | str) -> str:
    return target if isinstance(target, str) else f"127.0.0.1:{target}"


def _toml(value: Any) -> str:
    """A value as TOML writes it; but for tables, that is what JSON does."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
