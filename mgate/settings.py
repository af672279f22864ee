"""Where each value of the configuration came from. `Tree` merges the sources of `mgate.config`, later over earlier.

A path is a tuple of keys; the tables of ``[[listener]]`` are kept under their name:
``("listener", "mqtt", "limits", "max_packet_size")``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

__all__ = ["DEFAULT", "NAME", "Origin", "Path", "Tree", "anchored", "numbered", "read_file", "spell"]

Path = tuple[str, ...]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

NUMBER = "#"
"""What stands in front of a number in a path: of a listener whose name cannot be used, or of an item of a list."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A source: its kind (``default``, ``file``, ``environment`` or ``option``) and the name that a user knows."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else self.kind


DEFAULT = Origin("default", "")


def numbered(number: int) -> str:
    """The part of a path that stands for an item of a list, the first being 1. No name and no key looks like it."""
    return f"{NUMBER}{number}"


def spell(path: Path) -> str:
    """Write a path as messages do: ``listener "mqtt".limits.max_packet_size``, ``listener "mqtt".target 2``."""
    if path[:1] == ("listener",) and len(path) > 1 and not path[1].startswith(NUMBER):
        path = (f'listener "{path[1]}"', *path[2:])
    return ".".join(path).replace(f".{NUMBER}", " ")


def anchored(key: str, value: Any, folder: str) -> Any:
    """Make the names of files absolute, as seen from `folder`: strings whose key ends in ``_file``, in tables too."""
    if isinstance(value, Mapping):
        return {inner: anchored(inner, item, folder) for inner, item in value.items()}
    if isinstance(value, list):
        return [anchored(key, item, folder) if isinstance(item, Mapping) else item for item in value]
    named = isinstance(value, str) and value and key.endswith("_file")
    return os.path.join(folder, value) if named else value


class Tree:
    """Nested tables, and the origin of everything in them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._origins: dict[Path, Origin] = {}

    def set(self, path: Path, value: Any, origin: Origin) -> None:
        """Put a value, over what an earlier source said. A table merges with the table that is there."""
        if isinstance(value, Mapping):
            self._table(path, origin)
            for key, item in value.items():
                self.set((*path, key), item, origin)
            return
        table = self._table(path[:-1], origin)
        if table is not None:
            table[path[-1]] = value
            self._origins[path] = origin

    def plant(self, path: Path, table: Mapping[str, Any], origin: Origin) -> None:
        """Put those keys of a table that no source has set yet."""
        for key, value in table.items():
            if self.get((*path, key)) is None:
                self.set((*path, key), value, origin)

    def get(self, path: Path) -> Any:
        """The value at `path`, or None."""
        found: Any = self.values
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def origin(self, path: Path) -> Origin | None:
        """Who set `path`, or the nearest table around it; None for nobody."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._origins:
                return self._origins[path[:end]]
        return None

    def origin_of_value(self, path: Path) -> Origin:
        """Who set exactly this value; what stands in a list is set with all of it."""
        lists = [place for place, key in enumerate(path[2:], 2) if key.startswith(NUMBER)]
        return self._origins.get(path[: lists[0]] if lists else path, DEFAULT)

    @property
    def listeners(self) -> list[str]:
        """The names of all listeners so far, in their order."""
        found = self.values.get("listener")
        return list(found) if isinstance(found, dict) else []

    def _table(self, path: Path, origin: Origin) -> dict[str, Any] | None:
        """The table at `path`, made where there was none; None if a value stands in its way, which the check finds."""
        table: Any = self.values
        for depth, key in enumerate(path):
            if key not in table:
                table[key] = {}
                self._origins[path[: depth + 1]] = origin
            if not isinstance(table[key], dict):
                return None
            table = table[key]
        return table  # type: ignore[no-any-return]


def read_file(file: str, tree: Tree) -> list[str]:
    """Put a TOML file into the tree, its relative folders and files taken from where it stands.

    Returns:
        What is wrong with it, one line each; keys and values are checked later.
    """
    try:
        values = tomllib.loads(FilePath(file).read_bytes().decode("utf-8"))
    except OSError as error:
        return [f"{file}: cannot be read: {error.strerror}"]
    except UnicodeDecodeError as error:
        return [f"{file}: is not UTF-8 text (byte {error.start})"]
    except tomllib.TOMLDecodeError as error:
        return [f"{file}: {_at_line(str(error))}"]
    origin = Origin("file", file)
    here = FilePath(file).resolve().parent
    tables = anchored("listener", values.pop("listener", []), str(here))
    folders = values.get("plugin_dirs")
    if isinstance(folders, list):
        values["plugin_dirs"] = [str(here / folder) if isinstance(folder, str) else folder for folder in folders]
    tree.set((), values, origin)
    return _read_listeners(file, tables, tree, origin)


def _read_listeners(file: str, tables: Any, tree: Tree, origin: Origin) -> list[str]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        return [f"{file}: listener: must be an array of tables: write [[listener]]"]
    problems = []
    seen: set[str] = set()
    for number, table in enumerate(tables, 1):
        name = table.pop("name", None)
        key = numbered(number)  # so that its other keys are examined
        if name is None:
            problems.append(f"{file}: listener {number}: name: missing")
        elif not isinstance(name, str) or not NAME.fullmatch(name):
            problems.append(
                f"{file}: listener {number}: name: must be 1 to 64 letters, digits, dots, dashes or underscores"
            )
        elif name in seen:
            problems.append(f'{file}: listener {number}: name: "{name}" is taken by another listener')
        else:
            seen.add(name)
            key = name
        tree.set(("listener", key), table, origin)
    return problems


def _at_line(message: str) -> str:
    """tomllib's message, with line and column in front, as compilers write them."""
    found = re.search(r" \((at line (\d+), column (\d+)|at end of document)\)$", message)
    if found is None:
        return message
    place = f"line {found[2]}, column {found[3]}" if found[2] else "at its end"
    return f"{place}: {message[: found.start()]}"
