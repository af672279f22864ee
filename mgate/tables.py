"""The tables of the configuration: every class is one of the TOML file, every attribute a key; and how they are read.

`mgate.config` reads them with `CONVERTER`. Those of TLS are values of `mgate.tls.settings`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

import attrs

from mgate.addresses import ListenAddress, TargetAddress, parse_listen, parse_target
from mgate.encryption import bad_proxies, bad_revocation, bad_server_name, bad_server_tls, bad_target_tls
from mgate.limits import Limits
from mgate.settings import Path
from mgate.structure import strict_converter
from mgate.tls.settings import Revocation, ServerName, ServerTls, TargetTls

__all__ = [
    "AVAILABLE", "CONVERTER", "Folders", "Handlers", "Listener", "Log", "Tables", "Targets", "read_folders",
    "read_targets",
]  # fmt: skip

AVAILABLE = ("mqtt",)
LATER_PROTOCOLS = ("ws", "http", "coap")
LATER_KEYS = ("path_prefix", "origins")
MAX_PACKET_SIZE = 268_435_460  # MQTT 5.0, 2.1.4: a Remaining Length of 268,435,455 and the five bytes up to its end


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
    tls: ServerTls | None = None
    target_tls: TargetTls | None = None
    trusted_proxies: tuple[str, ...] = ()
    send_proxy_protocol: bool = False
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


def read_targets(value: Any) -> Targets:
    """Read the `target` key of a listener. Raises ValueError or TypeError."""
    addresses = [value] if isinstance(value, str) else value
    if not isinstance(addresses, list) or not addresses or not all(isinstance(item, str) for item in addresses):
        raise TypeError("must be a string such as \"mqtt://localhost:1883\", or a list of them")
    found = Targets(parse_target(address) for address in addresses)
    secure = [target for target in found if target.tls]
    plain = [target for target in found if not target.tls and not target.path]
    if secure and plain:
        raise ValueError(
            f"{plain[0]} would stand in for {secure[0]} in plain text: write mqtts:// for all or for none"
        )
    return found


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


def read_folders(value: Any) -> Folders:
    """Read the `plugin_dirs` key. Raises TypeError."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise TypeError("must be a list of folders")
    return Folders(os.path.abspath(item) for item in value)


CONVERTER = strict_converter(
    {
        Log: _bad_log, Limits: _bad_limits, Revocation: bad_revocation, ServerName: bad_server_name,
        ServerTls: bad_server_tls, TargetTls: bad_target_tls, Listener: bad_proxies, Tables: None,
    },
    {
        ListenAddress: _listen, Targets: read_targets, Handlers: _handlers, Versions: _versions, Folders: read_folders,
        ProtocolName: _protocol,
    },
    later=LATER_KEYS,
)  # fmt: skip
