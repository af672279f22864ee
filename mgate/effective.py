"""Every value in effect and where it came from, for ``mgate config``. Secrets are masked."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import attrs

from mgate.config import Configuration, Listener
from mgate.limits import Limits
from mgate.settings import DEFAULT, Path, spell

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
    found += _limits(("limits",), tables.limits)
    for name, listener in configuration.listeners.items():
        path = ("listener", name)
        names = [field.name for field in attrs.fields(Listener) if field.name != "limits"]
        found += [((*path, key), getattr(listener, key)) for key in names]
        own = configuration.tree.get((*path, "limits")) or ()
        found += [(limit, value) for limit, value in _limits((*path, "limits"), listener.limits) if limit[-1] in own]
    return found


def _limits(path: Path, limits: Limits) -> list[tuple[Path, Any]]:
    return [((*path, field.name), getattr(limits, field.name)) for field in fields(limits)]


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, frozenset):
        return str(sorted(value))
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(mask(str(value)), ensure_ascii=False)
