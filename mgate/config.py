"""What can be configured, and how all of it is read: defaults < file < environment < options.

`load` is called when the options of twistd or of the `mgate` command are parsed. It finds all mistakes at once, one
line each, and raises them together. What there is to configure: `mgate.tables`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path as FilePath

import attrs
from cattrs.errors import ClassValidationError

from mgate.addresses import ListenAddress, TargetAddress, parse_listen
from mgate.encryption import target_conflicts, without_effect
from mgate.environment import Environment
from mgate.errors import ConfigError
from mgate.sections import SECTIONS, variable
from mgate.seed import plant
from mgate.settings import Origin, Path, Tree, read_file, spell
from mgate.structure import mistakes
from mgate.tables import AVAILABLE, CONVERTER, Folders, Listener, Log, Tables, read_folders, read_targets
from mgate.tls.settings import TargetTls

__all__ = ["AVAILABLE", "Configuration", "Listener", "Log", "Tables", "load", "plugin_folders"]

NOTHING = (
    "nothing is configured, so nothing would be started: name a file with --config FILE, "
    "or try --listen :1884 --target localhost:1883, or --seed-defaults"
)


OPTIONS = {
    ("listen",): "--listen", ("target",): "--target", ("tls", "cert_file"): "--cert", ("tls", "key_file"): "--key",
}  # fmt: skip
"""The options of the command line that set what a listener cannot do without."""


@attrs.frozen
class Configuration:
    """What `load` found, checked and ready to start."""

    log: Log
    plugin_dirs: Folders
    listeners: Mapping[str, Listener]
    """By name; what they leave to the file's ``handlers`` and ``[limits]`` is filled in. `target_tls` is there where a
    target has TLS, and nowhere else."""
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
    seeded = next((switch for switch in switches if switch is not None), False) is True
    if seeded:
        plant(tree, environment.listeners)
    problems += environment.apply(tree)
    if overlay is not None:
        problems += overlay(tree)
    if seeded:
        notes += plant(tree, environment.listeners)  # for listeners that only the command line names
    mutual = _mutual(tree, environment.listeners if not seeded else tree.listeners)
    problems += _spelt(chain(mutual, _conflicts(tree), _target_conflicts(tree)), tree)
    try:
        tables = CONVERTER.structure(tree.values, Tables)
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
        notes=(*environment.warnings, *notes, *_spelt(_without_effect(tables, tree), tree)),
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
        return [*(folders or read_folders(tree.get(("plugin_dirs",)) or []))]
    except TypeError as error:
        raise ConfigError(_spelt(iter([(("plugin_dirs",), str(error))]), tree)) from None


def _unique(problems: list[str]) -> list[str]:
    return list(dict.fromkeys(problems))


def _spelt(found: Iterator[tuple[Path, str]], tree: Tree) -> list[str]:
    """Say of each mistake who made it: the file with the key, or the name of the variable or the option."""
    lines = []
    for path, message in found:
        origin = tree.origin(path)
        who = f"{origin.name}: " if origin is not None and origin.kind != "default" else ""
        if message == "missing":
            lines.append(f"{who}{spell(path)}: missing{_remedy(path, origin)}")
        elif origin is None or origin.kind in ("default", "file"):
            lines.append(f"{who}{spell(path)}: {message}")
        else:
            lines.append(f"{origin.name}: {message}")
    return lines


def _remedy(path: Path, origin: Origin | None) -> str:
    """What to set, in the words of the source that made the listener; a file needs no more than the key."""
    if origin is None or origin.kind == "file":
        return ""
    if origin.kind == "option":
        return f": add {OPTIONS[path[2:]]}" if path[2:] in OPTIONS else ""
    name = variable(path)
    return f": set {name}" if name else ""


def _filled_in(tables: Tables, name: str, tree: Tree) -> Listener:
    """The listener, with what it leaves to the keys of the whole file."""
    listener = tables.listener[name]
    own = {key: getattr(listener.limits, key) for key in tree.get(("listener", name, "limits")) or ()}
    handlers = tables.handlers if listener.handlers is None else listener.handlers
    target_tls = listener.target_tls or TargetTls() if any(target.tls for target in listener.target) else None
    limits = replace(tables.limits, **own)
    return attrs.evolve(listener, limits=limits, handlers=handlers, target_tls=target_tls)


def _mutual(tree: Tree, names: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Listeners that by their name ask devices for certificates, and have nothing to verify them with."""
    for section in SECTIONS.values():
        path = ("listener", section.listener, "tls")
        demanded = section.mutual and not section.missing and section.listener in names
        if demanded and not tree.get((*path, "client_ca_file")):
            yield (*path, "client_ca_file"), "missing"


def _without_effect(tables: Tables, tree: Tree) -> Iterator[tuple[Path, str]]:
    for name, listener in tables.listener.items():
        yield from without_effect(tree, name, listener.target)


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
        for target in _targets(tree, name):
            if address.serves(target):
                yield ("listener", name, "target"), f"{target} is this listener itself"


def _targets(tree: Tree, name: str) -> tuple[TargetAddress, ...]:
    """The targets of a listener; none if they are broken, which the converter reports."""
    try:
        return read_targets(tree.get(("listener", name, "target")))
    except (ValueError, TypeError):
        return ()


def _target_conflicts(tree: Tree) -> Iterator[tuple[Path, str]]:
    for name in tree.listeners:
        targets = _targets(tree, name)
        if targets:
            yield from target_conflicts(tree, name, targets)
