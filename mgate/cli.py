"""The `mgate` command, for those who have no twistd at hand, and for looking before starting."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING

from twisted.python import usage

if TYPE_CHECKING:
    from mgate.options import Options

__all__ = ["main"]

USAGE = """\
Usage: mgate COMMAND [options]

Commands:
  run       start the gateway in the foreground: twistd -n --pidfile= mgate ...
  check     say whether the configuration can be started, or all that is wrong with it
  config    print every value in effect and where it came from; secrets are masked
  handlers  list the handlers that can be named, and what became of every plugin file
  demo      start a broker, a gateway and example handlers to play with
  pub       publish a message, and say what became of it
  sub       print messages as they come

mgate COMMAND --help lists the options of a command; --version prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what stands behind ``mgate`` on the command line; that of this process if left out.

    Returns:
        The exit code: 0, or 1 where the configuration or the command line cannot be used.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        _print(USAGE.rstrip(), sys.stdout if given else sys.stderr)
        return 0 if given else 1
    command, rest = given[0], given[1:]
    if command == "--version":
        command, rest = "run", ["--version"]
    if command not in _COMMANDS:
        from mgate.structure import nearest

        _print(f"mgate: no command is called {command!r}{nearest(command, tuple(_COMMANDS))}", sys.stderr)
        return 1
    try:
        return _COMMANDS[command](rest)
    except usage.UsageError as error:
        _print(f"mgate {command}: {error}", sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    _parsed("run", arguments)  # a mistake is told without the options of twistd around it
    from twisted.scripts import twistd

    sys.argv = ["twistd", "-n", "--pidfile=", "mgate", *arguments]
    twistd.run()
    return 0


def _check(arguments: list[str]) -> int:
    configuration = _parsed("check", arguments).configuration
    from twisted.internet import reactor

    from mgate.errors import ConfigError
    from mgate.journal import Journal
    from mgate.service import GatewayService

    try:
        service = GatewayService(configuration, reactor, Journal(), lambda: configuration)
        for note in service.notes:
            _print(f"note: {note}")
        service.check()
    except ConfigError as error:
        for problem in error.problems:
            _print(problem, sys.stderr)
        return 1
    _print("Configuration is valid")
    return 0


def _config(arguments: list[str]) -> int:
    from mgate.effective import rows

    found = rows(_parsed("config", arguments).configuration)
    width = max(len(f"{key} = {value}") for key, value, _ in found if len(value) < 60)
    for key, value, source in found:
        _print(f"{f'{key} = {value}':<{width}}  # {source}")
    return 0


def _handlers(arguments: list[str]) -> int:
    options = _HandlersOptions()
    options.parseOptions(arguments)  # type: ignore[no-untyped-call]
    from mgate.config import plugin_folders
    from mgate.dropins import discover
    from mgate.errors import ConfigError

    try:
        found = discover(plugin_folders(options["config"], os.environ, options.folders))
    except ConfigError as error:
        raise usage.UsageError("\n".join(error.problems)) from None
    table = [("NAME", "FILE", "STATUS"), *((each.name, each.source, each.status) for each in found)]
    widths = [max(len(row[column]) for row in table) for column in (0, 1)]
    for name, source, status in table:
        _print(f"{name:<{widths[0]}}  {source:<{widths[1]}}  {status}")
    return 0


def _demo(arguments: list[str]) -> int:
    from mgate import demo

    return int(demo.main(arguments) or 0)


def _client(command: str, arguments: list[str]) -> int:
    from mgate.demo import client

    return client.main([command, *arguments], "mgate")


class _HandlersOptions(usage.Options):
    synopsis = "Usage: mgate handlers [options]"
    optParameters = [["config", "c", None, "Read plugin_dirs of this TOML file"]]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.folders: list[str] = []

    def opt_plugin_dir(self, value: str) -> None:
        """Look for handlers in this folder too. Repeatable."""
        self.folders.append(value)


def _parsed(command: str, arguments: list[str]) -> Options:
    from mgate.options import Options

    options = Options()
    options.synopsis = f"Usage: mgate {command} [options]"
    options.parseOptions(arguments)  # type: ignore[no-untyped-call]
    return options


def _print(text: str, stream: IO[str] | None = None) -> None:
    (stream or sys.stdout).write(text + "\n")


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "check": _check,
    "config": _config,
    "handlers": _handlers,
    "demo": _demo,
    "pub": partial(_client, "pub"),
    "sub": partial(_client, "sub"),
}
