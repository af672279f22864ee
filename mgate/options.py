"""The options of ``twistd mgate`` and of ``mgate run``, ``check`` and ``config``. They win over all other sources."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from typing import TYPE_CHECKING, Any

from twisted.python import usage

if TYPE_CHECKING:
    from mgate.config import Configuration
    from mgate.settings import Tree

__all__ = ["Options"]

NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)


class Options(usage.Options):
    """Collects what the command line says; `postOptions` reads the other sources and checks everything.

    Attributes:
        configuration: what is to be started, once the options are parsed.
    """

    synopsis = "[options]"
    longdesc = (
        "A gateway in front of an MQTT broker. Every CONNECT, PUBLISH and SUBSCRIBE passes through the handlers that "
        "are named; with none, everything passes. Values of the command line win over MGATE_* variables, and those "
        "over the file."
    )

    optFlags = [
        ["seed-defaults", None, "Start the listeners of the Go mGate: MQTT on :1884 to localhost:1883, and where their "
         "certificates are named, those with TLS on :8883 and :8884"],
    ]  # fmt: skip
    optParameters = [
        ["config", "c", None, "Read this TOML file"],
        ["log-format", None, None, "Write log lines as: text, json"],
        ["log-level", None, None, "Write what is at least: debug, info, warn, error"],
    ]

    configuration: Configuration

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._listens: list[str] = []
        self._targets: list[str] = []
        self._certificates: list[tuple[str, str, str]] = []
        self._handlers: list[str] = []
        self._folders: list[str] = []
        self._sets: list[str] = []

    def opt_listen(self, value: str) -> None:
        """Bind [NAME=]ADDRESS: :1884 (all interfaces), 127.0.0.1:1884, [::1]:1884, or a Twisted endpoint string.
        NAME is the listener, mqtt if there is none yet. Repeatable with different names."""
        self._listens.append(value)

    def opt_target(self, value: str) -> None:
        """Dial [NAME=]ADDRESS, as in mqtt://localhost:1883, or mqtts://broker:8883 (TLS).
        Repeat it to name addresses that are tried in turn."""
        self._targets.append(value)

    def opt_cert(self, value: str) -> None:
        """Listen with TLS, and this certificate (PEM, with its chain): [NAME=]FILE. Needs --key."""
        self._certificates.append(("--cert", "cert_file", value))

    def opt_key(self, value: str) -> None:
        """The key of --cert (PEM): [NAME=]FILE."""
        self._certificates.append(("--key", "key_file", value))

    def opt_client_ca(self, value: str) -> None:
        """Demand certificates of devices, signed by one of these (PEM): [NAME=]FILE. Needs --cert."""
        self._certificates.append(("--client-ca", "client_ca_file", value))

    def opt_handler(self, value: str) -> None:
        """Let NAME[:ARGUMENTS] judge. Repeatable: all must agree, in this order. Replaces those of other sources."""
        self._handlers.append(value)

    def opt_plugin_dir(self, value: str) -> None:
        """Look for handlers in this folder too. Repeatable."""
        self._folders.append(os.path.abspath(value))

    def opt_set(self, value: str) -> None:
        """Set any KEY=VALUE of the file, as in limits.max_packet_size=65536 or listener.mqtt.denied_publish=disconnect.
        Repeatable."""
        self._sets.append(value)

    def opt_version(self) -> None:
        """Print the version and exit."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("mgate")
        except PackageNotFoundError:
            number = "(not installed: run from its source)"
        sys.stdout.write(f"mgate {number}\n")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Called by Twisted when the command line is parsed: nothing is bound yet, and all paths become absolute.

        Raises:
            usage.UsageError: with every mistake of every source; twistd prints it and exits with 1.
        """
        from mgate.errors import ConfigError

        try:
            self.configuration = self.reread()
        except ConfigError as error:
            raise usage.UsageError("\n".join(["the configuration cannot be used:", *error.problems])) from None

    def reread(self) -> Configuration:
        """Read all sources, the file as it is now; called again at each reload.

        Raises:
            ConfigError: with every mistake.
        """
        from mgate.config import load

        return load(self["config"], os.environ, self._overlay, bool(self["seed-defaults"]), _missing_handlers)

    def _overlay(self, tree: Tree) -> list[str]:
        """Put the options over the other sources; returns what is wrong with them, one line each."""
        from mgate.settings import Origin, anchored

        problems: list[str] = []
        targets: dict[str, list[str]] = {}
        for option, values in (("--listen", self._listens), ("--target", self._targets)):
            for value in values:
                name, address = _named(value, tree)
                if name is None:
                    problems.append(f"{option} {value}: say which listener: {option} NAME={address}")
                elif option == "--target":
                    targets.setdefault(name, []).append(address)
                else:
                    tree.set(("listener", name, "listen"), address, Origin("option", option))
        for option, key, value in self._certificates:
            name, file = _named(value, tree)
            if name is None:
                problems.append(f"{option} {value}: say which listener: {option} NAME={file}")
            else:
                tree.set(("listener", name, "tls", key), anchored(key, file, os.getcwd()), Origin("option", option))
        for name, addresses in targets.items():
            tree.set(("listener", name, "target"), addresses, Origin("option", "--target"))
        if self._handlers:
            origin = Origin("option", "--handler")
            tree.set(("handlers",), self._handlers, origin)
            for name in tree.listeners:
                tree.set(("listener", name, "handlers"), self._handlers, origin)
        if self._folders:
            tree.set(("plugin_dirs",), self._folders, Origin("option", "--plugin-dir"))
        for option, key in (("log-format", "format"), ("log-level", "level")):
            if self[option] is not None:
                tree.set(("log", key), self[option], Origin("option", f"--{option}"))
        for text in self._sets:
            key, equals, raw = text.partition("=")
            path = tuple(key.strip().split("."))
            if not equals or not all(path):
                problems.append(f"--set {key}: write --set KEY=VALUE")
            else:
                value = anchored(path[-1], _value(raw), os.getcwd())
                tree.set(path, value, Origin("option", f"--set {key.strip()}"))
        if self["seed-defaults"]:
            tree.set(("seed_defaults",), True, Origin("option", "--seed-defaults"))
        return problems


def _missing_handlers(tree: Tree) -> list[str]:
    """What cannot be had of folders and handlers; those that are no strings are a mistake that is known already."""
    from mgate.dropins import unavailable

    paths = [("handlers",), *(("listener", name, "handlers") for name in tree.listeners)]
    folders, *lists = ([*filter(_is_named, value)] if isinstance(value, list) else [] for value in (
        tree.get(("plugin_dirs",)), *map(tree.get, paths)
    ))  # fmt: skip
    return unavailable(folders, dict.fromkeys(spec for specs in lists for spec in specs))


def _is_named(value: Any) -> bool:
    return isinstance(value, str) and bool(value.partition(":")[0].strip())


def _named(value: str, tree: Tree) -> tuple[str | None, str]:
    """Split ``NAME=ADDRESS``; without a name it is the only listener, or a new one. None if there are several."""
    found = NAMED.fullmatch(value)
    if found is not None:
        return found[1], found[2]
    names = tree.listeners
    return ("mqtt" if not names else names[0] if len(names) == 1 else None), value


def _value(raw: str) -> Any:
    """A value as TOML writes it; what is none is taken as a string, so that quotes can be left out in a shell."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw.strip()
