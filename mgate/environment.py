"""The environment as a source of configuration. ``MGATE_*`` names are parsed here and nowhere else.

Listeners have the names of both Go generations: ``<prefix><section>_ADDRESS`` and ``_TARGET``, or ``_HOST``, ``_PORT``,
``_TARGET_HOST``, ``_TARGET_PORT``, ``_TARGET_PROTOCOL`` and ``_TARGET_PATH``; the prefix is ``MGATE_`` or ``MPROXY_``.
What they mean: `mgate.sections`.
Everything else is ours: ``MGATE_CONFIG``, ``MGATE_LIMITS_...``, ``MGATE_LOG_...``. An empty value counts as not set.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from mgate.limits import Limits
from mgate.sections import ADDRESS_KEYS, KEYS, SECTIONS, Variables, boolean, whole
from mgate.settings import Origin, Path, Tree

__all__ = ["Environment"]

OURS = "MGATE_"
PREFIXES = (OURS, "MPROXY_")


class Environment:
    """What the variables say.

    Args:
        environ: the environment of the process.

    Attributes:
        file: the configuration file that ``MGATE_CONFIG`` names.
        seed_defaults: ``MGATE_SEED_DEFAULTS``, None where it is not set.
        problems: variables that cannot be used, one line each.
        warnings: names that nobody knows, and values without effect, one line each.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._general: dict[str, Any] = {}
        self._sections: dict[str, Variables] = {}
        for name in sorted(environ):
            if name.startswith(PREFIXES) and environ[name].strip():
                self._read(name, environ[name].strip())
        self.file: str | None = self._general.pop("MGATE_CONFIG", None)
        self.seed_defaults: bool | None = self._general.get("MGATE_SEED_DEFAULTS")

    @property
    def listeners(self) -> list[str]:
        """The listeners that variables speak of."""
        return [SECTIONS[section].listener for section in self._sections]

    def apply(self, tree: Tree) -> list[str]:
        """Put everything over what the file says.

        Returns:
            What is wrong with variables that belong together, one line each.
        """
        for name, value in self._general.items():
            tree.set(_GENERAL[name].path, value, Origin("environment", name))
        problems: list[str] = []
        for variables in self._sections.values():
            variables.apply(tree, problems, self.warnings)
        return problems

    def _read(self, name: str, value: str) -> None:
        if name in _GENERAL:
            try:
                self._general[name] = _GENERAL[name].convert(value)
            except ValueError as error:
                self.problems.append(f"{name}: {error}")
            return
        prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
        for section in SECTIONS:
            end = name.removeprefix(f"{prefix}{section}_")
            if end in ADDRESS_KEYS or end in KEYS:
                problem = self._sections.setdefault(section, Variables(section)).add(end, name, value)
                self.problems += [problem] if problem is not None else []
                return
        found = get_close_matches(name, _known_names(prefix), 1, 0.8)
        hint = f" (did you mean {found[0]}?)" if found else ""
        self.warnings.append(f"{name}: nothing knows this variable{hint}")


def _known_names(prefix: str) -> list[str]:
    names = [f"{prefix}{section}_{key}" for section in SECTIONS for key in (*ADDRESS_KEYS, *KEYS)]
    return [*names, *_GENERAL] if prefix == OURS else names


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _folders(text: str) -> list[str]:
    return [os.path.abspath(folder) for folder in text.split(os.pathsep) if folder]


@dataclass(frozen=True, slots=True)
class _General:
    path: Path
    convert: Callable[[str], Any]


_GENERAL = {
    "MGATE_CONFIG": _General((), str),
    "MGATE_SEED_DEFAULTS": _General(("seed_defaults",), boolean),
    "MGATE_PLUGIN_DIRS": _General(("plugin_dirs",), _folders),
    "MGATE_HANDLERS": _General(("handlers",), shlex.split),
    "MGATE_LOG_FORMAT": _General(("log", "format"), str),
    "MGATE_LOG_LEVEL": _General(("log", "level"), str),
    "MGATE_LOG_LINES_PER_SECOND": _General(("log", "lines_per_second"), whole),
} | {
    f"MGATE_LIMITS_{field.name.upper()}": _General(
        ("limits", field.name), whole if str(field.type) == "int" else _number
    )
    for field in fields(Limits)
}
