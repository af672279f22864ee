"""What can be configured, and how all of it is read: defaults < file < environment < options.

`load` is called when the options of twistd or of the `mgate` command are parsed. It finds all mistakes at once, one
line each, and raises them together. Every class here is a table of the TOML file, every attribute a key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, Literal

import attrs
from cattrs.errors import ClassValidationError

from mgate.addresses import ListenAddress, TargetAddress, parse_listen, parse_target
from mgate.environment import Environment
from mgate.errors import ConfigError
from mgate.limits import Limits
from mgate.settings import Origin, Path, Tree, read_file, spell
from mgate.structure import mistakes, strict_converter

__all__ = ["AVAILABLE", "Configuration", "Listener", "Log", "Tables", "load", "plugin_folders"]

AVAILABLE = ("mqtt",)
LATER_PROTOCOLS = ("ws", "http", "coap")
LATER_KEYS = ("tls", "path_prefix", "origins", "proxy_protocol")
MAX_PACKET_SIZE = 268_435_460  # MQTT 5.0, 2.1.4: a Remaining Length of 268,435,455 and the five bytes up to its end
SEED = Origin("default", "of the seed")
SEED_LISTENER = {"protocol": "mqtt", "listen": ":1884", "target": ["mqtt://localhost:1883"]}
SEED_LATER = "MQTT with TLS 8883 and 8884, WebSocket 8083 to 8085, HTTP 8086 to 8088, CoAP 5682 and 5684"
NOTHING = (
    "nothing is configured, so nothing would be started: name a file with --config FILE, "
    "or try --listen :1884 --target localhost:1883, or --seed-defaults"
)


class Targets(tuple[TargetAddress, ...]):
    """The addresses of one target, tried in turn at each dial; a single string in the file is a list of one."""


class Handlers(tuple[str, ...]):
    """Handlers in the order in which they judge, each ``"name"`` or ``"name:arguments"``."""


class Folders(tuple[str, ...]):
    """Absolute paths."""


class Versions(frozenset[int]):
    """MQTT protocol levels: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0."""


class ProtocolName(str):
    """One of `AVAILABLE`."""


@attrs.frozen
class Log:
    """``[log]``: what is written, for all listeners."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warn", "error"] = "info"
    lines_per_second: int = 10
    """Refusals that are written for each reason; more are counted."""


@attrs.frozen
class Listener:
    """``[[listener]]``: one bound address, its protocol, its target and who judges."""

    listen: ListenAddress
    target: Targets
    protocol: ProtocolName = ProtocolName("mqtt")
    handlers: Handlers | None = None
    versions: Versions = Versions({3, 4, 5})
    denied_publish: Literal["drop", "disconnect"] = "drop"
    denied_delivery: Literal["drop", "disconnect"] = "drop"
    denied_subscribe_31: Literal["disconnect", "grant"] = "disconnect"
    denied_will: Literal["refuse", "strip"] = "refuse"
    limits: Limits = Limits()


@attrs.frozen
class Tables:
    """The whole file, and what the other sources put over it."""

    log: Log = Log()
    limits: Limits = Limits()
    plugin_dirs: Folders = Folders()
    handlers: Handlers = Handlers()
    """Of every listener that names none itself."""
    seed_defaults: bool = False
    listener: dict[str, Listener] = attrs.Factory(dict)


@attrs.frozen
class Configuration:
    """What `load` found, checked and ready to start."""

    log: Log
    plugin_dirs: Folders
    listeners: Mapping[str, Listener]
    """By name; what they leave to the file's ``handlers`` and ``[limits]`` is filled in."""
    directory: str
    """Where relative paths of handlers' arguments start: the folder of the file, else the working directory."""
    notes: Sequence[str]
    """What is no mistake, but worth a line at the start."""
    tables: Tables
    tree: Tree
    """Who set what."""

    def source_of_handlers(self, listener: str) -> str:
        """The file, the variable or the option that names the handlers of a listener."""
        path = ("listener", listener, "handlers")
        return self.tree.origin_of_value(("handlers",) if self.tree.get(path) is None else path).name


def load(
    file: str | None,
    environ: Mapping[str, str],
    overlay: Callable[[Tree], list[str]] | None = None,
    seed_defaults: bool = False,
    examine: Callable[[Tree], list[str]] | None = None,
) -> Configuration:
    """Read all sources, merge and check them.

    Args:
        file: a TOML file, or None to see what ``MGATE_CONFIG`` says.
        environ: the environment of the process.
        overlay: puts the options of the command line over the rest, and returns what is wrong with them.
        seed_defaults: the command line asked for them.
        examine: what else may be wrong; called only if something is, so that nothing waits for the next attempt.

    Raises:
        ConfigError: with every mistake that was found.
    """
    tree = Tree()
    environment = Environment(environ)
    file = file or environment.file
    problems = list(environment.problems)
    notes: list[str] = []
    if file is not None:
        problems += read_file(file, tree)
    switches = (seed_defaults or None, environment.seed_defaults, tree.get(("seed_defaults",)))
    if next((switch for switch in switches if switch is not None), False) is True:
        tree.plant(("listener", "mqtt"), SEED_LISTENER, SEED)
        notes.append(f"seed defaults: not available in this version: {SEED_LATER}")
    problems += environment.apply(tree)
    if overlay is not None:
        problems += overlay(tree)
    problems += _spelt(_conflicts(tree), tree)
    try:
        tables = _CONVERTER.structure(tree.values, Tables)
    except ClassValidationError as error:
        problems += _spelt(mistakes(error), tree)
        tables = Tables()
    if not problems and not tables.listener:
        problems.append(NOTHING if file is None else f"{file}: no listener: add [[listener]] with listen and target")
    if problems:
        problems += examine(tree) if examine is not None else []
        raise ConfigError(_unique([*problems, *environment.warnings]))
    return Configuration(
        log=tables.log,
        plugin_dirs=tables.plugin_dirs,
        listeners={name: _filled_in(tables, name, tree) for name in tables.listener},
        directory=str(FilePath(file).resolve().parent) if file is not None else os.getcwd(),
        notes=(*environment.warnings, *notes),
        tables=tables,
        tree=tree,
    )


def plugin_folders(file: str | None, environ: Mapping[str, str], folders: Sequence[str]) -> list[str]:
    """Where ``mgate handlers`` looks, without a listener to start: `folders`, or what the environment or a file says.

    Raises:
        ConfigError: the file or a variable cannot be read.
    """
    tree = Tree()
    environment = Environment(environ)
    file = file or environment.file
    problems = [*environment.problems, *(read_file(file, tree) if file is not None else ())]
    environment.apply(tree)
    if problems:
        raise ConfigError(problems)
    try:
        return [*(folders or _folders(tree.get(("plugin_dirs",)) or []))]
    except TypeError as error:
        raise ConfigError(_spelt(iter([(("plugin_dirs",), str(error))]), tree)) from None


def _unique(problems: list[str]) -> list[str]:
    return list(dict.fromkeys(problems))


def _spelt(found: Iterator[tuple[Path, str]], tree: Tree) -> list[str]:
    """Say of each mistake who made it: the file with the key, or the name of the variable or the option."""
    lines = []
    for path, message in found:
        origin = tree.origin(path)
        if origin is None or origin.kind == "default":
            lines.append(f"{spell(path)}: {message}")
        elif origin.kind == "file" or message == "missing":
            lines.append(f"{origin.name}: {spell(path)}: {message}")
        else:
            lines.append(f"{origin.name}: {message}")
    return lines


def _filled_in(tables: Tables, name: str, tree: Tree) -> Listener:
    """The listener, with what it leaves to the keys of the whole file."""
    listener = tables.listener[name]
    own = {key: getattr(listener.limits, key) for key in tree.get(("listener", name, "limits")) or ()}
    handlers = tables.handlers if listener.handlers is None else listener.handlers
    return attrs.evolve(listener, limits=replace(tables.limits, **own), handlers=handlers)


def _conflicts(tree: Tree) -> Iterator[tuple[Path, str]]:
    """Listeners and limits that are in each other's way. Works on raw values: others may be broken."""
    taken: dict[str, ListenAddress] = {}
    for name in tree.listeners:
        path = ("listener", name, "listen")
        try:
            address = parse_listen(tree.get(path) or "")
        except (ValueError, AttributeError):
            continue  # which the converter reports
        for other, neighbour in taken.items():
            if address.overlaps(neighbour):
                yield path, f"{address} is taken by {spell(('listener', other))}"
        taken[name] = address
        with suppress(ValueError, TypeError, AttributeError):
            for target in _targets(tree.get(("listener", name, "target"))):
                if address.serves(target):
                    yield ("listener", name, "target"), f"{target} is this listener itself"


def _bad_limits(values: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for key, value in values.items():
        if type(value) not in (int, float):
            continue
        if value <= 0:
            yield (key,), "must be above 0"
        if key in ("max_packet_size", "max_connect_size") and value > MAX_PACKET_SIZE:
            yield (key,), f"must be at most {MAX_PACKET_SIZE}, the largest that MQTT knows"


def _bad_log(values: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    lines = values.get("lines_per_second")
    if type(lines) is int and lines < 1:
        yield ("lines_per_second",), "must be above 0"


def _protocol(value: Any) -> ProtocolName:
    if value in LATER_PROTOCOLS:
        raise ValueError(f"protocol {value!r} is not available in this version")
    if value not in AVAILABLE:
        raise ValueError(f"must be one of {', '.join(AVAILABLE)}")
    return ProtocolName(value)


def _listen(value: Any) -> ListenAddress:
    if not isinstance(value, str):
        raise TypeError("must be a string such as \":1884\"")
    return parse_listen(value)


def _targets(value: Any) -> Targets:
    addresses = [value] if isinstance(value, str) else value
    if not isinstance(addresses, list) or not addresses or not all(isinstance(item, str) for item in addresses):
        raise TypeError("must be a string such as \"mqtt://localhost:1883\", or a list of them")
    return Targets(parse_target(address) for address in addresses)


def _handlers(value: Any) -> Handlers:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("must be a list of \"name\" or \"name:arguments\"")
    if not all(item.partition(":")[0].strip() for item in value):
        raise ValueError("a handler has no name: write \"name\" or \"name:arguments\"")
    return Handlers(value)


def _versions(value: Any) -> Versions:
    levels = value if isinstance(value, list) else []
    if not levels or any(type(level) is not int or level not in (3, 4, 5) for level in levels):
        raise ValueError("must be a list of protocol levels: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0")
    return Versions(levels)


def _folders(value: Any) -> Folders:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise TypeError("must be a list of folders")
    return Folders(os.path.abspath(item) for item in value)


_CONVERTER = strict_converter(
    {Log: _bad_log, Limits: _bad_limits, Listener: None, Tables: None},
    {
        ListenAddress: _listen, Targets: _targets, Handlers: _handlers, Versions: _versions, Folders: _folders,
        ProtocolName: _protocol,
    },
    later=LATER_KEYS,
)  # fmt: skip
