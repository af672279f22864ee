"""Every value in effect and where it came from, for ``mgate config``. Secrets are masked."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from typing import Any

import attrs

from mgate.addresses import ListenAddress
from mgate.config import Configuration, Listener
from mgate.settings import DEFAULT, Path, numbered, spell
from mgate.tls.settings import ServerName

__all__ = ["mask", "rows"]

# Handlers' arguments are their own affair: anything that looks like a secret in one is hidden.
NAMED_SECRET = re.compile(
    r"(?i)([\w-]*(?:passw|passphrase|secret|token|credential|api[_-]?key|private[_-]?key)[\w-]*\s*[=:]\s*)[^,;&]+"
)
USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")


def mask(text: str) -> str:
    """Hide what stands behind words such as ``password=``, and credentials in addresses."""
    return USER_INFO.sub("***@", NAMED_SECRET.sub(r"\1***", text))


def rows(configuration: Configuration) -> list[tuple[str, str, str]]:
    """Key, value as TOML writes it, and source, of every key of every table; of listeners' limits, their own."""
    found = []
    for path, value in _values(configuration):
        origin = configuration.tree.origin_of_value(path)
        if origin is DEFAULT and path[0] == "listener" and path[2] == "handlers":
            origin = configuration.tree.origin_of_value(("handlers",))  # what it leaves to the whole file
        found.append((spell(path), _toml(value), str(origin)))
    return found


def _values(configuration: Configuration) -> list[tuple[Path, Any]]:
    tables = configuration.tables
    found: list[tuple[Path, Any]] = [
        (("plugin_dirs",), tables.plugin_dirs),
        (("handlers",), tables.handlers),
        (("seed_defaults",), tables.seed_defaults),
    ]
    found += [(("log", field.name), getattr(tables.log, field.name)) for field in attrs.fields(type(tables.log))]
    found += _flat(("limits",), tables.limits)
    for name, listener in configuration.listeners.items():
        path = ("listener", name)
        for field in attrs.fields(Listener):
            if field.name != "limits":
                found += _flat((*path, field.name), getattr(listener, field.name))
        own = configuration.tree.get((*path, "limits")) or ()
        found += [(limit, value) for limit, value in _flat((*path, "limits"), listener.limits) if limit[-1] in own]
    return found


def _flat(path: Path, value: Any) -> list[tuple[Path, Any]]:
    """A value, or those of a table or of a list of tables; nothing for a table that is not in use."""
    if is_dataclass(value) and not isinstance(value, ListenAddress):
        return [row for field in fields(value) for row in _flat((*path, field.name), getattr(value, field.name))]
    if isinstance(value, tuple) and value and isinstance(value[0], ServerName):
        return [row for number, item in enumerate(value, 1) for row in _flat((*path, numbered(number)), item)]
    return [] if value is None else [(path, value)]


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, frozenset):
        return str(sorted(value))
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(mask(str(value)), ensure_ascii=False)
