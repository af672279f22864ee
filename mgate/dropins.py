"""Finds handlers by name: in `mgate.plugins`, in folders of --plugin-dir, and in installed wheels.

Rules:

1. What is found is what `twisted.plugin.getPlugins` would find in `mgate.plugins`, but we import the modules ourselves:
   `getPlugins` only logs a module that will not import, says nothing of one that hides another, and unpickles a cache.
2. A folder joins the search path only if nobody else can write to it (`mgate.ownership`).
3. Every file is accounted for: it is loaded, or `Found.status` says in one line why not.
4. A handler that is asked for and cannot be had raises `ConfigError`: the gateway does not start without it.
5. This is the plugin boundary: whatever a plugin raises while it is imported or made ends here.

The service calls `discover` once and `find_handler` for each name in the configuration; ``mgate handlers`` lists what
`discover` found.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.machinery import all_suffixes
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import mgate.plugins
from mgate.errors import ConfigError
from mgate.handler import MakerContext
from mgate.hooks import mistakes_in_hooks
from mgate.interfaces import IHandler, IHandlerMaker, IInterceptor
from mgate.journal import escape
from mgate.ownership import why_untrusted

__all__ = [
    "ENTRY_POINTS", "Found", "discover", "discover_usable", "find_handler", "find_maker", "join_folders", "unavailable",
]  # fmt: skip

ENTRY_POINTS = "mgate.handlers"
"""The entry point group in which wheels offer their makers; an entry point bears the name of its maker."""

LINE = 240
"""The longest reason that a status gives, in characters."""


@dataclass(slots=True)
class Found:
    """A handler that can be configured, or a file that offers none.

    Attributes:
        name: what the configuration calls it; of a file that was not loaded, the name of its module.
        source: its file; or distribution, version and object of an installed wheel.
        status: ``"loaded"``; ``"installed"`` (a wheel, not imported yet); or ``"failed: ..."``, ``"shadowed by ..."``,
            ``"ignored: ..."``.
        maker: the `IHandlerMaker`, if it is loaded.
        entry_point: where an installed one is imported from.
    """

    name: str
    source: str
    status: str = "loaded"
    maker: Any = None
    entry_point: EntryPoint | None = None

    @property
    def usable(self) -> bool:
        """Whether a configuration may name it. What is not usable deserves a warning."""
        return self.status in ("loaded", "installed")

    def load(self) -> None:
        """Import the maker of an installed wheel, if that has not happened; afterwards it is loaded or failed."""
        if self.entry_point is None or self.status != "installed":
            return
        maker = _guarded(self.entry_point.load)
        if isinstance(maker, _Failed):
            self.status = f"failed: {maker.why}"
        elif not IHandlerMaker.providedBy(maker):
            self.status = f"failed: {self.entry_point.value} is no IHandlerMaker; mgate.handler.plugin makes one"
        elif maker.name != self.name:
            self.status = f"failed: the entry point is called {self.name!r}, but its maker {maker.name!r}"
        else:
            self.status, self.maker = "loaded", maker


def join_folders(folders: Iterable[str]) -> None:
    """Let handlers be found in `folders`, after those that are already found. Joining twice is joining once.

    Raises:
        ConfigError: one is no folder, or others could change its code; with each path and its mode.
    """
    problems = []
    for folder in map(os.path.abspath, folders):
        if folder in mgate.plugins.__path__:
            continue
        if not os.path.isdir(folder):
            problems.append(f"--plugin-dir {folder}: there is no such folder")
            continue
        try:
            reasons = why_untrusted(folder)
        except OSError as error:
            reasons = [f"{error.filename} cannot be read: {error.strerror}"]
        if reasons:
            problems += [f"--plugin-dir {folder}: {reason}" for reason in reasons]
        else:
            mgate.plugins.__path__.append(folder)
    if problems:
        raise ConfigError(problems)


def discover(folders: Iterable[str] = (), *, load_installed: bool = True) -> list[Found]:
    """Find every handler, and every file that should have been one.

    Args:
        folders: those of --plugin-dir, which join first.
        load_installed: also import what wheels offer; else their names are read from metadata alone.

    Raises:
        ConfigError: as `join_folders`.
    """
    join_folders(folders)
    importlib.invalidate_caches()
    found = [*_drop_ins(), *_installed()]
    if load_installed:
        for each in found:
            each.load()
    _refuse_doubles(found)
    return found


def find_maker(name: str, found: list[Found] | None = None) -> Any:
    """The `IHandlerMaker` that the configuration calls `name`.

    Args:
        found: what `discover` returned; it is called if left out.

    Raises:
        ConfigError: there is none, or it cannot be loaded; says why, and which name is near.
    """
    if found is None:
        found = discover(load_installed=False)
    namesakes = [each for each in found if each.name == name]
    for each in namesakes:
        each.load()
        if each.usable:
            return each.maker
    if namesakes:
        raise ConfigError([f"handler {name!r}: {each.source} {each.status}" for each in namesakes])
    raise ConfigError([_unknown(name, found)])


def find_handler(spec: str, context: MakerContext, found: list[Found] | None = None) -> Any:
    """Make the handler that ``handlers = ["name:arguments"]`` asks for.

    Args:
        spec: ``"name"`` or ``"name:arguments"``.
        context: handed to the maker.
        found: as for `find_maker`.

    Returns: a provider of IHandler, IInterceptor or both.
    Raises: ConfigError, if it cannot be found, will not be made, or has misspelt hooks. Never repeats the arguments:
        they may be a secret.
    """
    name, _, arguments = spec.partition(":")
    maker = find_maker(name, found)
    try:
        handler = maker.make(arguments, context)
    except ConfigError as error:
        raise ConfigError([f"handler {name!r}: {problem}" for problem in error.problems]) from error
    except ValueError as error:
        raise ConfigError([f"handler {name!r}: {escape(str(error), LINE)}"]) from error
    except Exception as error:
        raise ConfigError([f"handler {name!r}: {_one_line(error)}"]) from error
    if not (IHandler.providedBy(handler) or IInterceptor.providedBy(handler)):
        kind = type(handler).__name__
        raise ConfigError([f"handler {name!r}: its maker made {kind}, which is neither a Handler nor an Interceptor"])
    mistakes = [f"handler {name!r}: {mistake}" for mistake in mistakes_in_hooks(handler)]
    if mistakes:
        raise ConfigError(mistakes)
    return handler


def unavailable(folders: Iterable[str], specs: Iterable[str]) -> list[str]:
    """What is wrong with folders of plugins and with the names of handlers, one line each; no handler is made."""
    problems: list[str] = []
    found = discover_usable(folders, problems)
    for spec in specs:
        try:
            find_maker(spec.partition(":")[0], found)
        except ConfigError as error:
            problems += error.problems
    return problems


def discover_usable(folders: Iterable[str], problems: list[str]) -> list[Found]:
    """As `discover`, but a folder that cannot be used is left out, and goes to `problems`."""
    try:
        join_folders(folders)
    except ConfigError as error:
        problems += error.problems
    return discover(load_installed=False)


class _Failed:
    """Why plugin code could not be run."""

    def __init__(self, why: str) -> None:
        self.why = why


def _guarded(run: Any, *arguments: Any) -> Any:
    """Run code of a plugin: its value, or `_Failed`. A plugin may even call sys.exit while it is imported."""
    try:
        return run(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _Failed(_one_line(error))


def _one_line(error: BaseException) -> str:
    """The exception and the line of code that it came from, leaving out our own frames and those of importlib."""
    where = ""
    if isinstance(error, SyntaxError):
        text = f"{error.msg}"
        where = f" ({os.path.basename(error.filename or '?')}, line {error.lineno})"
    else:
        text = str(error)
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename != __file__ and not frame.filename.startswith("<frozen "):
                where = f" ({os.path.basename(frame.filename)}, line {frame.lineno})"
    return escape(f"{type(error).__name__}: {text}{where}", LINE)


def _drop_ins() -> Iterator[Found]:
    """What the modules of `mgate.plugins` offer, and what became of each of its files."""
    files: dict[str, list[str]] = {}
    for folder in dict.fromkeys(mgate.plugins.__path__):
        for name, path in _modules_in(folder):
            files.setdefault(name, []).append(path)
    makers: set[int] = set()
    for name, paths in files.items():
        if name.startswith("_") or not name.isidentifier():
            why = "starts with _: a module for others to import" if name.startswith("_") else _unimportable(name)
            yield from (Found(name, path, f"ignored: {name!r} {why}") for path in paths)
            continue
        first, offered = _import(f"mgate.plugins.{name}", paths[0])
        yield from (Found(name, path, f"shadowed by {first}") for path in paths if path != first)
        if isinstance(offered, _Failed):
            yield Found(name, first, f"failed: {offered.why}")
            continue
        if not offered:
            yield Found(name, first, 'ignored: it offers no handler; did you forget x = plugin("name", X)?')
        for maker in offered:
            if id(maker) not in makers:  # else it was only imported from a module that we have seen
                makers.add(id(maker))
                yield Found(maker.name, first, maker=maker)


def _unimportable(name: str) -> str:
    """Why Python cannot import a module of this name, and which name it can."""
    better = re.sub(r"\W", "_", name)
    return f"is no name of a module: rename the file to {better if better.isidentifier() else f'm_{better}'}.py"


def _modules_in(folder: str) -> list[tuple[str, str]]:
    """The names and files of the modules and packages in a folder; nothing if there is no such folder."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    modules = []
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            inits = (os.path.join(path, "__init__" + suffix) for suffix in all_suffixes())
            modules += [(name, init) for init in inits if os.path.exists(init)][:1]
        elif name != "__init__.py":
            stem = min((name.removesuffix(suffix) for suffix in all_suffixes()), key=len)  # of .abi3.so, not of .so
            modules += [(stem, path)] if stem != name else []
    return modules


def _import(module_name: str, path: str) -> tuple[str, list[Any] | _Failed]:
    """Import a module that `path` should hold. Returns the file that Python chose for it, and the makers in it, or why
    it has none."""
    spec = _guarded(importlib.util.find_spec, module_name)
    if spec is None:
        spec = _Failed("Python cannot import it")
    if isinstance(spec, _Failed):
        return path, spec
    return spec.origin, _guarded(lambda: _makers(importlib.import_module(module_name)))


def _makers(module: ModuleType) -> list[Any]:
    makers = [value for value in vars(module).values() if IHandlerMaker.providedBy(value)]
    for maker in makers:
        if not isinstance(maker.name, str) or not maker.name or ":" in maker.name:
            raise ValueError(f"a handler's name may not be empty or hold a colon: {maker.name!r}")
    return list({id(maker): maker for maker in makers}.values())


def _installed() -> Iterator[Found]:
    """What wheels offer, by their metadata alone."""
    for entry_point in sorted(entry_points(group=ENTRY_POINTS), key=lambda each: each.name):
        wheel = entry_point.dist
        origin = f"{wheel.name} {wheel.version}" if wheel is not None else "unknown"
        yield Found(entry_point.name, f"{origin} ({entry_point.value})", "installed", entry_point=entry_point)


def _refuse_doubles(found: list[Found]) -> None:
    """A name that two offer is nobody's: which of them would judge may not depend on the order of folders."""
    owners: dict[str, list[Found]] = {}
    for each in found:
        if each.usable:
            owners.setdefault(each.name, []).append(each)
    for name, rivals in owners.items():
        if len(rivals) == 1:
            continue
        makers: dict[int, Found] = {}
        for each in rivals:
            each.load()
            if each.usable and makers.setdefault(id(each.maker), each) is not each:
                found.remove(each)  # a wheel may offer one maker both as a module here and as an entry point
        for each in makers.values() if len(makers) > 1 else ():
            others = ", ".join(rival.source for rival in makers.values() if rival is not each)
            each.status = f"failed: the name {name!r} is also offered by {others}"
            each.maker = None


def _unknown(name: str, found: list[Found]) -> str:
    names = sorted({each.name for each in found if each.usable})
    near = get_close_matches(name, names, 1)
    text = f"no handler is called {name!r}"
    text += f" (did you mean {near[0]!r}?)" if near else f"; there are: {', '.join(names) or 'none'}"
    failed = [f"{each.source} {each.status}" for each in found if each.status.startswith("failed")]
    return "; ".join([text, *failed])
